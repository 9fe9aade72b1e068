//! Settings that the parent applies to the program's process from outside, while it still has the privilege.

use std::fs;
use std::io::ErrorKind;

use anyhow::Result;
use libcontainer::oci_spec::runtime::PosixRlimit;

use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};
use crate::spec::rlimit::resource;

/// Sets resource limits. The parent may also raise hard limits.
pub(crate) fn set_limits(pid: Pid, limits: &[PosixRlimit]) -> Result<()> {
    for limit in limits {
        let number = resource(&limit.typ().to_string()).expect("names were checked when the configuration was read");
        syscall::prlimit(pid, number, limit.soft(), limit.hard())
            .fails(|| format!("error setting rlimits for ready process: error setting rlimit type {number}"))?;
    }
    Ok(())
}

/// Sets the OOM score. A failure is ignored if the score has the value already, or lacks permission in a rootless container.
pub(crate) fn set_oom_score(pid: Pid, score: Option<i32>, rootless: bool) -> Result<()> {
    let Some(score) = score else { return Ok(()) };
    let path = format!("/proc/{pid}/oom_score_adj");
    match fs::write(&path, score.to_string()) {
        Ok(()) => Ok(()),
        Err(_) if fs::read_to_string(&path).is_ok_and(|text| text.trim() == score.to_string()) => Ok(()),
        Err(error) if rootless && error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error).fails(|| format!("failed to update {path}")).map_err(Into::into),
    }
}
