//! The intended differences from runc 1.1, with their reasons. The README lists them too.

use super::Deviation;

pub(crate) const NONE: &[Deviation] = &[];

/// run-tool follows runc 1.5 here.
pub(crate) const NEWER: &str = "as in runc 1.5";
pub(crate) const WORDS: &str = "the same failure in other words";
pub(crate) const WORDS_OF_JSON: &str = "a value of the wrong type is reported in serde's words, not in Go's";
pub(crate) const WORDS_OF_IDS: &str = "a user that is not a number is reported in runc 1.5's words, with Rust's reason";
pub(crate) const READ_ONLY_CGROUP: &str = "read-only, as config.json requires; runc leaves the tmpfs itself writable";
pub(crate) const EMPTY_MASK: &str = "a mask is an empty tmpfs of one page and one inode; runc 1.5 limits it too";
pub(crate) const ONE_SOURCE: &str = "the named hierarchy has the same source as the others";
pub(crate) const BIND_BY_TYPE: &str = "the type bind needs no option bind, as in crun";
pub(crate) const NO_PROC: &str = "a container without /proc can run";
pub(crate) const NO_SYSTEMD: &str = "without systemd every command refuses its cgroup driver";
pub(crate) const EMPTY_ROOT: &str = "an empty --root counts as not given, not as the working directory";
pub(crate) const REAL_TIME_SIGNALS: &str = "real-time signals have names: docker's stop signals use them";
pub(crate) const ABSOLUTE_SOCKET: &str = "the message has the absolute path of the socket";
pub(crate) const SECCOMP_FLAGS: &str = "seccomp flags are supported, as in runc 1.5";
pub(crate) const PRESERVED_FDS: &str = "a descriptor that is not open cannot be passed on; runc 1.5 refuses it too";
pub(crate) const UNUSED_MAPPINGS: &str = "id mappings and a user namespace require each other, as in runc 1.5";

pub(crate) const fn but(runc: &'static str, tool: &'static str, why: &'static str) -> Deviation {
    Deviation { runc, tool, why, unified: None }
}

/// A difference that only shows on systems with cgroup v1, alone or beside v2.
pub(crate) const fn but_on_1(runc: &'static str, tool: &'static str, why: &'static str) -> Deviation {
    Deviation { runc, tool, why, unified: Some(false) }
}

/// A difference that only shows on systems with cgroup v2 alone.
pub(crate) const fn but_on_2(runc: &'static str, tool: &'static str, why: &'static str) -> Deviation {
    Deviation { runc, tool, why, unified: Some(true) }
}

pub(crate) const CGROUP: Deviation = but_on_1(
    "/ /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755",
    "/ /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755",
    READ_ONLY_CGROUP,
);
pub(crate) const ACPI: Deviation = but(
    "/ /proc/acpi ro,relatime - tmpfs tmpfs ro",
    "/ /proc/acpi ro,relatime - tmpfs tmpfs ro,size=4k,nr_inodes=1",
    EMPTY_MASK,
);
pub(crate) const FIRMWARE: Deviation = but(
    "/ /sys/firmware ro,relatime - tmpfs tmpfs ro",
    "/ /sys/firmware ro,relatime - tmpfs tmpfs ro,size=4k,nr_inodes=1",
    EMPTY_MASK,
);

/// The differences in every list of mounts.
pub(crate) const MOUNTS: &[Deviation] = &[CGROUP, ACPI, FIRMWARE];
/// The same for a container without masks.
pub(crate) const CGROUPS: &[Deviation] = &[CGROUP];
