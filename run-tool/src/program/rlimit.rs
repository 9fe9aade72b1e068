//! Resource limits: their names, and setting them on a process from outside it.

use anyhow::Result;
use libcontainer::oci_spec::runtime::PosixRlimit;

use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};

const NAMES: [(&str, u32); 16] = [
    ("RLIMIT_AS", libc::RLIMIT_AS),
    ("RLIMIT_CORE", libc::RLIMIT_CORE),
    ("RLIMIT_CPU", libc::RLIMIT_CPU),
    ("RLIMIT_DATA", libc::RLIMIT_DATA),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", libc::RLIMIT_NICE),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
    ("RLIMIT_RSS", libc::RLIMIT_RSS),
    ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", libc::RLIMIT_STACK),
];

/// The kernel's number for a limit's name.
pub(crate) fn resource(name: &str) -> Option<u32> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Sets limits on a process. The caller does it from outside, while it may still raise a hard limit.
pub(crate) fn set(pid: Pid, limits: &[PosixRlimit]) -> Result<()> {
    for limit in limits {
        let number = resource(&limit.typ().to_string()).expect("names were checked when the configuration was read");
        syscall::prlimit(pid, number, limit.soft(), limit.hard())
            .fails(|| format!("error setting rlimits for ready process: error setting rlimit type {number}"))?;
    }
    Ok(())
}
