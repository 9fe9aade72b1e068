//! Resource limits, set on a process from outside it.

use anyhow::Result;
use libcontainer::oci_spec::runtime::PosixRlimit;

use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};
use crate::spec::rlimit::resource;

/// Sets limits on a process. The caller does it from outside, while it may still raise a hard limit.
pub(crate) fn set(pid: Pid, limits: &[PosixRlimit]) -> Result<()> {
    for limit in limits {
        let number = resource(&limit.typ().to_string()).expect("names were checked when the configuration was read");
        syscall::prlimit(pid, number, limit.soft(), limit.hard())
            .fails(|| format!("error setting rlimits for ready process: error setting rlimit type {number}"))?;
    }
    Ok(())
}
