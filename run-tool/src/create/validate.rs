//! Checks of a configuration: whatever would fail halfway, or weaken the host, is refused before anything is set up.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use libcontainer::oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, LinuxSchedulerPolicy, Process, Spec};

use super::netdev;
use crate::cgroup::rdt::{self, Resctrl};
use crate::kernel::error::Fails;
use crate::spec::{self, Items, Namespaces as _};

/// Checks a whole configuration.
pub(super) fn validate(spec: &Spec, rootless: bool) -> Result<()> {
    let none = Vec::new();
    let linux = spec.linux().as_ref();
    let namespaces = spec::namespaces(spec);
    let mut seen = BTreeSet::new();
    for namespace in namespaces {
        if !seen.insert(namespace.typ() as u32) {
            let path = namespace.path().as_deref().unwrap_or(Path::new(""));
            bail!("malformed spec file: duplicated ns {{{:?} {path:?}}}", namespace.typ().to_string());
        }
    }
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if set(spec.hostname()) && !namespaces.has(LinuxNamespaceType::Uts) {
        bail!("unable to set hostname without a private UTS namespace");
    }
    if set(spec.domainname()) && !namespaces.has(LinuxNamespaceType::Uts) {
        bail!("unable to set domainname without a private UTS namespace");
    }
    let masked = linux.map_or(&none, |linux| linux.masked_paths().as_ref().unwrap_or(&none));
    let readonly = linux.map_or(&none, |linux| linux.readonly_paths().as_ref().unwrap_or(&none));
    let restricted = !masked.is_empty() || !readonly.is_empty();
    if restricted && !namespaces.has(LinuxNamespaceType::Mount) {
        bail!("unable to restrict sys entries without a private MNT namespace");
    }
    let Some(linux) = linux else { return Ok(()) };
    let mapped = !linux.uid_mappings().items().is_empty() || !linux.gid_mappings().items().is_empty();
    if namespaces.has(LinuxNamespaceType::User) {
        let joined = namespaces.path(LinuxNamespaceType::User).is_some();
        if !joined && !mapped {
            bail!("user namespaces enabled, but no namespace path to join nor mappings to apply specified");
        }
    } else if mapped {
        bail!("user namespace mappings specified, but user namespace isn't enabled in the config");
    }
    let offsets = linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty());
    if offsets && !namespaces.has(LinuxNamespaceType::Time) {
        bail!("time namespace offsets specified, but time namespace isn't enabled in the config");
    }
    if offsets && namespaces.path(LinuxNamespaceType::Time).is_some() {
        bail!("time namespace enabled, but both namespace path and time offsets specified -- you may only provide one");
    }
    if let Some(devices) = linux.net_devices() {
        netdev::check(devices, namespaces.has(LinuxNamespaceType::Network), rootless)?;
    }
    for name in linux.sysctl().iter().flatten().map(|(name, _)| name) {
        check_sysctl(&spec::dotted(name), namespaces)?;
    }
    if let Some(rdt) = linux.intel_rdt() {
        rdt::check(&rdt.into(), Resctrl::find().as_ref())?;
    }
    if let Some(process) = spec.process() {
        check_scheduling(process)?;
    }
    Ok(())
}

fn check_scheduling(process: &Process) -> Result<()> {
    if let Some(scheduler) = process.scheduler() {
        let policy = *scheduler.policy();
        let nice = scheduler.nice().unwrap_or(0);
        if matches!(policy, LinuxSchedulerPolicy::SchedOther | LinuxSchedulerPolicy::SchedBatch)
            && !(-20..=19).contains(&nice)
        {
            bail!("invalid scheduler.nice: {nice} when scheduler.policy is {policy}");
        }
        let real_time = matches!(policy, LinuxSchedulerPolicy::SchedFifo | LinuxSchedulerPolicy::SchedRr);
        if scheduler.priority().unwrap_or(0) != 0 && !real_time {
            bail!("scheduler.priority can only be specified for SchedFIFO or SchedRR policy");
        }
        let timed =
            [scheduler.runtime(), scheduler.deadline(), scheduler.period()].iter().any(|time| time.unwrap_or(0) != 0);
        if timed && policy != LinuxSchedulerPolicy::SchedDeadline {
            bail!("scheduler runtime/deadline/period can only be specified for SchedDeadline policy");
        }
    }
    if let Some(priority) = process.io_priority()
        && !(0..=7).contains(&priority.priority())
    {
        bail!("invalid ioPriority.Priority: {}", priority.priority());
    }
    Ok(())
}

/// Permits only sysctls of the container's own namespaces. All others belong to the host.
fn check_sysctl(name: &str, namespaces: &[LinuxNamespace]) -> Result<()> {
    // In the form with dots a slash stands for a dot: `net.//.kernel.x` would be `net/../kernel/x`, which belongs to the host.
    if name.split('.').any(|part| matches!(part, "" | "/" | "//")) {
        bail!("invalid sysctl name {name:?}");
    }
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        if namespaces.has(LinuxNamespaceType::Ipc) {
            return Ok(());
        }
        bail!("sysctl {name:?} is not allowed in the hosts ipc namespace");
    }
    if name.starts_with("net.") {
        let host = match (namespaces.has(LinuxNamespaceType::Network), namespaces.path(LinuxNamespaceType::Network)) {
            (false, _) => true,
            (true, None) => false,
            (true, Some(path)) => is_current_network(path).context("invalid netns path")?,
        };
        if host {
            bail!("sysctl {name:?} not allowed in host network namespace");
        }
        return Ok(());
    }
    if namespaces.has(LinuxNamespaceType::Uts) {
        match name {
            "kernel.domainname" => return Ok(()),
            "kernel.hostname" => {
                bail!("sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field")
            }
            _ => {}
        }
    }
    if name.starts_with("user.") {
        if namespaces.has(LinuxNamespaceType::User) {
            return Ok(());
        }
        bail!("setting ucounts without a user namespace not allowed: {name}");
    }
    Err(anyhow!("sysctl {name:?} is not in a separate kernel namespace"))
}

fn is_current_network(path: &Path) -> Result<bool> {
    let own = rustix::fs::stat("/proc/self/ns/net").fails(|| "stat /proc/self/ns/net")?;
    let other = rustix::fs::stat(path).fails(|| format!("stat {}", path.display()))?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_configurations_are_refused_in_runcs_words() {
        let cases = [
            (r#"{"hostname":"x"}"#, "unable to set hostname without a private UTS namespace"),
            (
                r#"{"linux":{"namespaces":[{"type":"ipc"},{"type":"ipc"}]}}"#,
                "malformed spec file: duplicated ns {\"ipc\" \"\"}",
            ),
            (
                r#"{"linux":{"sysctl":{"net.ipv4.ip_forward":"1"}}}"#,
                "sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace",
            ),
            (
                r#"{"linux":{"sysctl":{"vm.swappiness":"1"}}}"#,
                "sysctl \"vm.swappiness\" is not in a separate kernel namespace",
            ),
            (
                r#"{"linux":{"namespaces":[{"type":"user"}]}}"#,
                "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
            ),
        ];
        for (text, message) in cases {
            let spec = spec::parse(text.as_bytes()).unwrap();
            assert_eq!(validate(&spec, false).unwrap_err().to_string(), message, "{text}");
        }
    }
}
