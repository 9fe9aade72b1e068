//! Where run-tool means to differ from runc 1.1, and why. The README names them too.

use super::Deviation;

pub(crate) const NONE: &[Deviation] = &[];

/// What runc 1.5, which run-tool follows, does too.
pub(crate) const NEWER: &str = "as runc 1.5 has it";
pub(crate) const WORDS: &str = "the same failure in words of its own";
pub(crate) const WORDS_OF_JSON: &str = "a value of the wrong kind is named in serde's words, not in those of Go";
pub(crate) const WORDS_OF_IDS: &str = "a user that is no number is named in Rust's words after runc 1.5's";
pub(crate) const READ_ONLY_CGROUP: &str = "read-only, as config.json asks; runc leaves the tmpfs itself writable";
pub(crate) const EMPTY_MASK: &str = "a mask is an empty tmpfs of one page and one inode; runc 1.5 limits it too";
pub(crate) const ONE_SOURCE: &str = "the named hierarchy's source is that of the others";
pub(crate) const BIND_BY_TYPE: &str = "the type bind says it without the option, as in crun";
pub(crate) const NO_PROC: &str = "a container without /proc can run";
pub(crate) const NO_SYSTEMD: &str = "a driver that cannot be had is refused by every command";
pub(crate) const EMPTY_ROOT: &str = "an empty --root is none, not the working directory";
pub(crate) const REAL_TIME_SIGNALS: &str = "real-time signals have names: docker's stop signals use them";
pub(crate) const ABSOLUTE_SOCKET: &str = "the socket is named by its whole path";
pub(crate) const SECCOMP_FLAGS: &str = "seccomp flags are known, as in runc 1.5";
pub(crate) const PRESERVED_FDS: &str = "a descriptor that is not open cannot be handed on; runc 1.5 refuses it too";
pub(crate) const UNUSED_MAPPINGS: &str = "id mappings and a user namespace belong together, as in runc 1.5";

pub(crate) const fn but(runc: &'static str, tool: &'static str, why: &'static str) -> Deviation {
    Deviation { runc, tool, why, unified: None }
}

/// One that is seen with control groups of version 1 or both.
pub(crate) const fn but_on_1(runc: &'static str, tool: &'static str, why: &'static str) -> Deviation {
    Deviation { runc, tool, why, unified: Some(false) }
}

/// One that is seen with control groups of version 2 alone.
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
    "/ /proc/acpi ro,relatime - tmpfs tmpfs rw,size=4k,nr_inodes=1",
    EMPTY_MASK,
);
pub(crate) const FIRMWARE: Deviation = but(
    "/ /sys/firmware ro,relatime - tmpfs tmpfs ro",
    "/ /sys/firmware ro,relatime - tmpfs tmpfs rw,size=4k,nr_inodes=1",
    EMPTY_MASK,
);

/// What every list of mounts shows.
pub(crate) const MOUNTS: &[Deviation] = &[CGROUP, ACPI, FIRMWARE];
/// The same without masks.
pub(crate) const CGROUPS: &[Deviation] = &[CGROUP];
