//! The confinement of a container: `--privileged` and `--security-opt`, capabilities, the seccomp policy.
//!
//! This room writes down what a runtime enforces. It knows `option` alone.

pub mod capability;
pub mod seccomp;

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::LazyLock;

use crate::option::Refused;
use crate::option::boolean;

/// A `--security-opt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityOption {
    /// `seccomp=unconfined`: no filter.
    SeccompUnconfined,
    /// `seccomp=builtin`: docker's default policy, even for a privileged container.
    SeccompBuiltin,
    /// `seccomp=FILE`: a profile in docker's format.
    Seccomp(PathBuf),
    /// `apparmor=PROFILE`: a profile that is loaded on the host, or `unconfined`.
    AppArmor(String),
    /// `label=…`: an SELinux label; where the host has SELinux, only `disable` is supported.
    Label(String),
    /// `no-new-privileges[=false]`: set-user-ID programs gain nothing.
    NoNewPrivileges(bool),
    /// `systempaths=unconfined`: no path is masked or made read-only.
    SystemPathsUnconfined,
    /// `writable-cgroups[=false]`: /sys/fs/cgroup is writable.
    WritableCgroups(bool),
}

impl FromStr for SecurityOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Docker still accepts a colon.
        let (key, value) = match text.find(['=', ':']) {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, ""),
        };
        let boolean = || match value {
            "" => Ok(true),
            value => boolean::parse(value).map_err(|error| error.to_string()),
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
                "{text:?} is not a security option (seccomp=FILE|builtin|unconfined, apparmor=PROFILE, label=disable, no-new-privileges, systempaths=unconfined or writable-cgroups)"
            )),
        }
    }
}

/// The confinement that follows from all options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// The seccomp filter.
    pub seccomp: Seccomp,
    /// The AppArmor profile; none if absent.
    pub apparmor: Option<String>,
    /// Whether set-user-ID programs gain nothing.
    pub no_new_privileges: bool,
    /// Whether [`MASKED_PATHS`] and [`READONLY_PATHS`] apply.
    pub system_paths: bool,
    /// Whether /sys is read-only.
    pub readonly_sysfs: bool,
    /// Whether /sys/fs/cgroup is read-only.
    pub readonly_cgroups: bool,
}

/// The choice of a seccomp filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// No filter.
    Unconfined,
    /// Docker's default policy.
    Builtin,
    /// The profile in this file.
    File(PathBuf),
}

impl Confinement {
    /// Combines the options, as far as this host supports them.
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
                // This tool never sets labels. Where there are none, docker and podman take any.
                SecurityOption::Label(label) if label == "disable" || !has_selinux() => {}
                SecurityOption::Label(label) => {
                    let reason = format!("label={label}: only label=disable is supported");
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

fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn apparmor_enabled() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn loaded(profile: &str) -> bool {
    // Lines read `NAME (MODE)`.
    fs::read_to_string("/sys/kernel/security/apparmor/profiles")
        .is_ok_and(|text| text.lines().any(|line| line.rsplit_once(" (").is_some_and(|(name, _)| name == profile)))
}

/// Docker's profile, if it is loaded on this host.
fn default_profile() -> Option<String> {
    const NAME: &str = "docker-default";
    static LOADED: LazyLock<bool> = LazyLock::new(|| apparmor_enabled() && loaded(NAME));
    LOADED.then(|| NAME.to_owned())
}

fn apparmor(profile: &str) -> Result<Option<String>, Refused> {
    let refused = |reason: String| Refused::new("--security-opt", format!("apparmor={profile}: {reason}"));
    match profile {
        "unconfined" => Ok(None),
        _ if !apparmor_enabled() => Err(refused("this host has no AppArmor".into())),
        _ if !loaded(profile) => Err(refused("profile is not loaded (apparmor_parser -r FILE)".into())),
        _ => Ok(Some(profile.into())),
    }
}

/// Paths that are masked because they reveal or change things of the host.
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

/// Paths that are read-only in a container.
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
            ("no-new-privileges=1", SecurityOption::NoNewPrivileges(true)),
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
    fn a_label_is_refused_only_where_there_are_labels() {
        let label = |text: &str| Confinement::new(false, &[SecurityOption::Label(text.into())]);
        assert!(label("disable").is_ok());
        assert_eq!(label("type:svirt_t").is_err(), has_selinux());
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
