//! The folder of a group: its processes and its removal.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::file::write;
use crate::kernel::error::{self, Fails};
use crate::kernel::file::read_kernels;
use crate::kernel::syscall::Pid;

/// Removes a group with its sub-cgroups. Most have none, so these are only looked for if the removal fails.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        Err(error) => return Err(error),
    }
    let mut children = false;
    match fs::read_dir(path) {
        Ok(entries) => {
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    children = true;
                    remove(&entry.path())?;
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    if !children {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

pub(super) fn collect_pids(path: &Path, pids: &mut Vec<Pid>) -> Result<()> {
    match read_kernels(path.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<Pid>().ok())),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => return Ok(()),
        // A threaded sub-cgroup of v2 lists no processes; its parent does.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => {
            return Err(error).fails(|| format!("open {}", path.join("cgroup.procs").display())).map_err(Into::into);
        }
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_pids(&entry.path(), pids)?;
        }
    }
    Ok(())
}

pub(super) fn write_process(path: &Path, pid: Pid) -> Result<()> {
    let mut tries = 0;
    loop {
        match write(&path.join("cgroup.procs"), &pid.to_string()) {
            // EINVAL: a cpuset or a new task is not ready yet (runc#1884).
            Err(error) if error::errno(&error) == Some(libc::EINVAL) && tries < 5 => {
                tries += 1;
                sleep(Duration::from_millis(30));
            }
            result => return result,
        }
    }
}
