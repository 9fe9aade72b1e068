//! Capability sets of a container's process, from the names in the configuration to the kernel's bits.

use anyhow::Result;
use libcontainer::capabilities::CapabilityExt;
use libcontainer::oci_spec::runtime::{Capabilities, LinuxCapabilities};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::kernel::error::Fails;
use crate::kernel::log;

/// The capabilities without `CAP_`; the index is the kernel's number.
pub(crate) const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The five capability sets as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
}

fn bits(names: Option<&Capabilities>) -> u64 {
    names.into_iter().flatten().fold(0, |bits, capability| bits | capability.to_cap().bitmask())
}

/// The names of a set in the kernel's order, as the configuration spells them.
fn names(bits: u64) -> String {
    let there = NAMES.iter().enumerate().filter(|(number, _)| bits & 1 << number != 0);
    there.map(|(_, name)| format!("CAP_{name}")).collect::<Vec<_>>().join(" ")
}

impl Sets {
    /// Converts `process.capabilities`. A set that is missing is empty.
    pub(crate) fn from_spec(spec: &LinuxCapabilities) -> Self {
        Self {
            bounding: bits(spec.bounding().as_ref()),
            effective: bits(spec.effective().as_ref()),
            permitted: bits(spec.permitted().as_ref()),
            inheritable: bits(spec.inheritable().as_ref()),
            ambient: bits(spec.ambient().as_ref()),
        }
    }

    /// Drops everything else from the bounding set, for good. It must be done before the user changes.
    pub(crate) fn drop_bounding(&self) -> Result<()> {
        for number in 0..64 {
            if self.bounding & 1 << number != 0 {
                continue;
            }
            match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
                // Past the last capability that this kernel knows.
                Err(rustix::io::Errno::INVAL) => break,
                result => result.fails(|| "unable to apply bounding set: prctl")?,
            }
        }
        Ok(())
    }

    /// Leaves out what cannot be granted, with a warning (runtime-spec config.md, "capabilities"): what run-tool itself lacks, in a
    /// container or on a hardened host, and what this kernel does not know.
    pub(crate) fn limit_to_own(&mut self) -> Result<()> {
        let own = rustix::thread::capabilities(None).fails(|| "unable to apply caps: capget")?.permitted.bits();
        let missing = (self.effective | self.permitted | self.inheritable) & !own;
        if missing != 0 {
            log::warn(&format!("ignoring unknown or unavailable capabilities: [{}]", names(missing)));
        }
        for set in [&mut self.effective, &mut self.permitted, &mut self.inheritable] {
            *set &= own;
        }
        Ok(())
    }

    /// Sets the effective, permitted, inheritable and ambient sets.
    pub(crate) fn apply(&self) -> Result<()> {
        let set = CapabilitySet::from_bits_retain;
        let sets = CapabilitySets {
            effective: set(self.effective & self.permitted),
            permitted: set(self.permitted),
            inheritable: set(self.inheritable),
        };
        rustix::thread::set_capabilities(None, sets)
            .fails(|| "unable to apply caps: can't apply capabilities: capset")?;
        // EINVAL: a kernel without ambient capabilities.
        match rustix::thread::clear_ambient_capability_set() {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            result => result.fails(|| "unable to apply caps: prctl(PR_CAP_AMBIENT_CLEAR_ALL)")?,
        }
        for (number, name) in NAMES.iter().enumerate().filter(|(number, _)| self.ambient & 1 << number != 0) {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if let Err(error) = rustix::thread::configure_capability_in_ambient_set(one, true) {
                let said = || {
                    format!(
                        "can't raise ambient capability CAP_{name}: {}",
                        crate::kernel::error::reason(&error.into())
                    )
                };
                // Without an inheritable set the ambient set is left over: since CVE-2022-27651 buildah empties only the former. A
                // warning for each capability would spoil the output of every RUN.
                if self.inheritable == 0 {
                    log::debug(said);
                } else {
                    log::warn(&said());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_the_kernels_bits() {
        let spec: LinuxCapabilities =
            serde_json::from_str(r#"{"bounding":["CAP_CHOWN","CAP_CHECKPOINT_RESTORE"]}"#).unwrap();
        assert_eq!(Sets::from_spec(&spec).bounding, 1 | 1 << 40);
        assert_eq!(NAMES.iter().position(|name| *name == "SYS_ADMIN"), Some(21));
        assert_eq!(names(1 | 1 << 40), "CAP_CHOWN CAP_CHECKPOINT_RESTORE");
    }
}
