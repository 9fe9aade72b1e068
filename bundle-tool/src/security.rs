//! What a container is kept from: `--privileged` and `--security-opt`, capabilities, the seccomp policy.
//!
//! This room decides; the runtime enforces. It knows `option` alone.

pub mod capability;
pub mod seccomp;

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::option::Refused;

/// One `--security-opt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityOption {
    /// `seccomp=unconfined`: no filter.
    SeccompUnconfined,
    /// `seccomp=builtin`: docker's default policy, even if privileged.
    SeccompBuiltin,
    /// `seccomp=FILE`: a profile in docker's format.
    Seccomp(PathBuf),
    /// `apparmor=PROFILE`.
    AppArmor(String),
    /// `label=…`.
    Label(String),
    /// `no-new-privileges`.
    NoNewPrivileges(bool),
    /// `systempaths=unconfined`: nothing masked, nothing made read-only.
    SystemPathsUnconfined,
    /// `writable-cgroups`.
    WritableCgroups(bool),
}

impl FromStr for SecurityOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Docker still takes the colon of its first years.
        let (key, value) = match text.find(['=', ':']) {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, ""),
        };
        let boolean = || match value {
            "" | "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("{other:?} is neither true nor false")),
        };
        match (key, value) {
            ("seccomp", "unconfined") => Ok(Self::SeccompUnconfined),
            ("seccomp", "builtin") => Ok(Self::SeccompBuiltin),
            ("apparmor", profile) if !profile.is_empty() => Ok(Self::AppArmor(profile.into())),
            ("label", label) if !label.is_empty() => Ok(Self::Label(label.into())),
            ("seccomp", file) if !file.is_empty() => Ok(Self::Seccomp(file.into())),
            ("no-new-privileges", _) => boolean().map(Self::NoNewPrivileges),
            ("systempaths", "unconfined") => Ok(Self::SystemPathsUnconfined),
            ("writable-cgroups", _) => boolean().map(Self::WritableCgroups),
            _ => Err(format!(
                "{text:?} is none of seccomp=FILE|builtin|unconfined, apparmor=PROFILE, label=disable, no-new-privileges, systempaths=unconfined, writable-cgroups"
            )),
        }
    }
}

/// What the options come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// The filter.
    pub seccomp: Seccomp,
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// Whether set-id programs gain nothing.
    pub no_new_privileges: bool,
    /// Whether /proc and /sys are masked and read-only in part.
    pub system_paths: bool,
    /// Whether /sys is read-only.
    pub readonly_sysfs: bool,
    /// Whether /sys/fs/cgroup is read-only.
    pub readonly_cgroups: bool,
}

/// Which seccomp filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// None.
    Unconfined,
    /// Docker's default policy.
    Builtin,
    /// The profile in a file.
    File(PathBuf),
}

impl Confinement {
    /// Puts the options together, for this host.
    pub fn new(privileged: bool, options: &[SecurityOption]) -> Result<Self, Refused> {
        let mut all = Self {
            seccomp: if privileged { Seccomp::Unconfined } else { Seccomp::Builtin },
            apparmor: if privileged { None } else { default_profile() },
            no_new_privileges: false,
            system_paths: !privileged,
            readonly_sysfs: !privileged,
            readonly_cgroups: !privileged,
        };
        for option in options {
            match option {
                SecurityOption::SeccompUnconfined => all.seccomp = Seccomp::Unconfined,
                SecurityOption::SeccompBuiltin => all.seccomp = Seccomp::Builtin,
                SecurityOption::Seccomp(file) => all.seccomp = Seccomp::File(file.clone()),
                SecurityOption::AppArmor(profile) => all.apparmor = apparmor(profile)?,
                // Without labels on the host there is nothing to disable; with them, this tool sets none.
                SecurityOption::Label(label) if label == "disable" => {}
                SecurityOption::Label(label) => {
                    let reason = if Path::new("/sys/fs/selinux/enforce").exists() {
                        format!("label={label}: only label=disable is supported")
                    } else {
                        format!("label={label}: this host has no SELinux")
                    };
                    return Err(Refused::new("--security-opt", reason));
                }
                SecurityOption::NoNewPrivileges(on) => all.no_new_privileges = *on,
                SecurityOption::SystemPathsUnconfined => all.system_paths = false,
                SecurityOption::WritableCgroups(on) => all.readonly_cgroups = !on,
            }
        }
        Ok(all)
    }
}

fn apparmor_enabled() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn loaded(profile: &str) -> bool {
    // A line is `NAME (MODE)`.
    fs::read_to_string("/sys/kernel/security/apparmor/profiles")
        .is_ok_and(|text| text.lines().any(|line| line.rsplit_once(" (").is_some_and(|(name, _)| name == profile)))
}

/// Docker's own profile, on hosts where somebody loaded it.
fn default_profile() -> Option<String> {
    (apparmor_enabled() && loaded("docker-default")).then(|| "docker-default".to_owned())
}

fn apparmor(profile: &str) -> Result<Option<String>, Refused> {
    let refused = |reason: String| Refused::new("--security-opt", format!("apparmor={profile}: {reason}"));
    match profile {
        "unconfined" => Ok(None),
        _ if !apparmor_enabled() => Err(refused("this host has no AppArmor".into())),
        _ if !loaded(profile) => Err(refused("no such profile is loaded (apparmor_parser -r FILE loads one)".into())),
        _ => Ok(Some(profile.into())),
    }
}

/// Paths that a container sees nothing in: they tell about the host, or do things to it.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that a container may only read.
pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_both_spellings() {
        let cases = [
            ("seccomp=unconfined", SecurityOption::SeccompUnconfined),
            ("seccomp:unconfined", SecurityOption::SeccompUnconfined),
            ("seccomp=/etc/a.json", SecurityOption::Seccomp("/etc/a.json".into())),
            ("apparmor=docker-default", SecurityOption::AppArmor("docker-default".into())),
            ("no-new-privileges", SecurityOption::NoNewPrivileges(true)),
            ("no-new-privileges:false", SecurityOption::NoNewPrivileges(false)),
            ("label=type:svirt_t", SecurityOption::Label("type:svirt_t".into())),
            ("systempaths=unconfined", SecurityOption::SystemPathsUnconfined),
        ];
        for (text, option) in cases {
            assert_eq!(text.parse(), Ok(option));
        }
        for text in ["", "seccomp", "seccomp=", "bogus=1", "no-new-privileges=maybe", "systempaths=x", "apparmor"] {
            assert!(text.parse::<SecurityOption>().is_err(), "{text}");
        }
    }

    #[test]
    fn privileged_takes_everything_off_but_what_is_asked_for() {
        let all = Confinement::new(true, &[SecurityOption::SeccompBuiltin]).unwrap();
        assert_eq!(
            (all.seccomp, all.system_paths, all.readonly_sysfs, all.readonly_cgroups),
            (Seccomp::Builtin, false, false, false)
        );
        let plain = Confinement::new(false, &[SecurityOption::WritableCgroups(true)]).unwrap();
        assert_eq!(
            (plain.seccomp, plain.system_paths, plain.readonly_sysfs, plain.readonly_cgroups),
            (Seccomp::Builtin, true, true, false)
        );
    }
}
