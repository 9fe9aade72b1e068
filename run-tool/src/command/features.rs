//! `features`: the features document of the runtime spec, by which engines learn what this runtime supports.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::stdout::print;
use crate::kernel::syscall;
use crate::program::capability;
use crate::rootfs::option;
use crate::spec::{SPEC_VERSION, memory_policy};

/// Show the enabled features as JSON.
///
/// The output is the features document of the runtime spec.
#[derive(Debug, Args)]
pub(crate) struct Features {}

impl Features {
    pub(super) fn run(self) -> Result<()> {
        let mut text = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
        document().serialize(&mut serializer)?;
        text.push(b'\n');
        print(&String::from_utf8(text)?)
    }
}

/// The version of runc that run-tool behaves as. Engines read it in the annotation of runc's own version, to learn what to expect.
const RUNC_VERSION: &str = "1.5.1";

const SECCOMP_FLAGS: [(&str, u64); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", libc::SECCOMP_FILTER_FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_LOG", libc::SECCOMP_FILTER_FLAG_LOG),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV),
];

/// The version of the libseccomp in use.
pub(super) fn libseccomp() -> String {
    libseccomp::ScmpVersion::current().map_or_else(
        |_| "unknown".to_owned(),
        |version| format!("{}.{}.{}", version.major, version.minor, version.micro),
    )
}

/// The features document (runtime-spec features.md).
fn document() -> Value {
    let mut modes = memory_policy::MODES;
    modes.sort_unstable();
    let capabilities: Vec<String> = capability::NAMES.iter().map(|name| format!("CAP_{name}")).collect();
    // The kernel rejects WAIT_KILLABLE_RECV without a listener before it looks at the filter, so ask for both.
    let supports = |flag: u64| {
        let with = if flag == libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV {
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        } else {
            0
        };
        syscall::seccomp_knows(flag | with)
    };
    let known: Vec<&str> = SECCOMP_FLAGS.iter().map(|(name, _)| *name).collect();
    let supported: Vec<&str> =
        SECCOMP_FLAGS.iter().filter(|(_, flag)| supports(*flag)).map(|(name, _)| *name).collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": option::known(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"
                ],
                "archs": [
                    "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",
                    "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",
                    "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64",
                    "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64",
                    "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB", "SCMP_ARCH_X32",
                    "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"
                ],
                "knownFlags": known,
                "supportedFlags": supported
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "memoryPolicy": {"modes": modes, "flags": memory_policy::FLAGS},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true}
        },
        "annotations": {
            "io.github.seccomp.libseccomp.version": libseccomp(),
            "org.opencontainers.runc.checkpoint.enabled": "true",
            "org.opencontainers.runc.version": RUNC_VERSION,
            "org.oci-tools.run-tool.version": env!("CARGO_PKG_VERSION")
        },
        "potentiallyUnsafeConfigAnnotations": ["bundle", "org.systemd.property.", "org.criu.config", "run.oci."]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_read_the_version_of_runc_that_they_may_expect() {
        let annotations = &document()["annotations"];
        assert_eq!(annotations["org.opencontainers.runc.version"], "1.5.1");
        assert_eq!(annotations["org.oci-tools.run-tool.version"], env!("CARGO_PKG_VERSION"));
    }
}
