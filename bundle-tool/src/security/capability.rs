//! Linux capabilities: docker's default set, `--cap-add` and `--cap-drop`.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::LazyLock;

/// An unknown capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a capability (see capabilities(7))")]
pub struct Error(String);

/// The capabilities that a container has by default (mask 00000000a80425fb).
pub const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// All capabilities, in the order of their numbers.
pub const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The value of `--cap-add` or `--cap-drop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// All capabilities, spelled `ALL`.
    All,
    /// One capability, by its full name.
    One(&'static str),
}

impl FromStr for Capability {
    type Err = Error;

    /// Accepts either case, with or without `CAP_`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let upper = text.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if short == "ALL" {
            return Ok(Self::All);
        }
        ALL.iter()
            .find(|name| name.strip_prefix("CAP_") == Some(short))
            .map(|name| Self::One(name))
            .ok_or_else(|| Error(text.into()))
    }
}

/// The capabilities of a container, sorted by name.
///
/// As in docker, drops come first and additions then, so that a capability that is both dropped and added is kept, unless `ALL` is added:
/// then drops take precedence. `held` are the capabilities that the caller can give. A runtime that is asked for more fails or warns, so `ALL`
/// means these; a capability that is added by name is kept.
pub fn resolve(
    privileged: bool,
    add: &[Capability],
    drop: &[Capability],
    held: &BTreeSet<&'static str>,
) -> BTreeSet<&'static str> {
    if privileged {
        return held.clone();
    }
    let all = add.contains(&Capability::All);
    let mut set: BTreeSet<&'static str> = if all { held.clone() } else { DEFAULT.into_iter().collect() };
    let single = |list: &[Capability]| -> BTreeSet<&'static str> {
        list.iter().filter_map(|each| if let Capability::One(name) = each { Some(*name) } else { None }).collect()
    };
    if all {
        set.extend(single(add));
    } else if drop.contains(&Capability::All) {
        set.clear();
    }
    let dropped = single(drop);
    set.retain(|name| !dropped.contains(name));
    if !all {
        set.extend(single(add));
    }
    set
}

/// The bounding set of this process, which no container that is started from here can exceed.
pub fn held() -> BTreeSet<&'static str> {
    static MASK: LazyLock<u64> = LazyLock::new(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        status
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(u64::MAX)
    });
    let mask = *MASK;
    ALL.into_iter().enumerate().filter(|(number, _)| mask >> number & 1 == 1).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Capability> {
        text.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    fn set(add: &str, drop: &str) -> BTreeSet<&'static str> {
        resolve(false, &list(add), &list(drop), &ALL.into_iter().collect())
    }

    #[test]
    fn the_default_set_has_dockers_mask() {
        let mask: u64 = set("", "").iter().map(|name| 1u64 << ALL.iter().position(|each| each == name).unwrap()).sum();
        assert_eq!(mask, 0xa804_25fb);
    }

    #[test]
    fn names_are_read_in_any_spelling() {
        for name in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin"] {
            assert_eq!(name.parse(), Ok(Capability::One("CAP_NET_ADMIN")));
        }
        assert_eq!("all".parse(), Ok(Capability::All));
        for name in ["", "CAP_", "NET", "CAP_CAP_KILL"] {
            assert!(name.parse::<Capability>().is_err(), "{name}");
        }
    }

    #[test]
    fn all_and_single_capabilities_combine_as_in_docker() {
        assert_eq!(set("NET_ADMIN", "ALL"), BTreeSet::from(["CAP_NET_ADMIN"]));
        assert_eq!(set("ALL", "").len(), 41);
        assert_eq!(set("ALL", "MKNOD").len(), 40);
        assert_eq!(set("", "ALL").len(), 0);
        assert!(set("KILL", "KILL").contains("CAP_KILL"), "dropped first, then added");
        assert!(!set("ALL KILL", "KILL").contains("CAP_KILL"));
        assert_eq!(set("KILL", "ALL KILL"), BTreeSet::from(["CAP_KILL"]));
        assert_eq!(set("SYS_TIME", "CHOWN").len(), 14);
    }

    #[test]
    fn privileged_is_all_that_can_be_given() {
        let held = BTreeSet::from(["CAP_KILL"]);
        assert_eq!(resolve(true, &[], &list("ALL"), &held), held);
    }
}
