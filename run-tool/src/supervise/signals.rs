//! Signals of a process that waits for a container, and the reaping of its children.

use std::io;
use std::os::fd::OwnedFd;

use anyhow::Result;

use crate::kernel::error::{self, Fails};
use crate::kernel::log;
use crate::kernel::syscall::{self, Pid};

/// The signals that can be read from a signalfd now.
pub(crate) fn signals_in(signals: &OwnedFd) -> Result<Vec<i32>> {
    let mut numbers = Vec::new();
    // A signalfd_siginfo has 128 bytes. The number comes first.
    let mut buffer = [0u8; 128 * 16];
    loop {
        match rustix::io::read(signals, &mut buffer) {
            Ok(count) => numbers.extend(
                buffer[..count]
                    .chunks_exact(128)
                    .map(|record| i32::from_ne_bytes(record[..4].try_into().expect("four bytes"))),
            ),
            Err(rustix::io::Errno::AGAIN) => return Ok(numbers),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).fails(|| "read of signals").map_err(Into::into),
        }
    }
}

/// Becomes the parent of processes that the container orphans. A failure is only a warning.
pub(crate) fn adopt_orphans() {
    if let Err(error) = rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)) {
        log::warn(&error::reason(&error.into()));
    }
}

/// Reaps all children that have ended; as a subreaper run-tool has those that the container orphans. Returns the exit status of `pid`
/// if it is among them.
pub(crate) fn reap(pid: Pid) -> Result<Option<i32>> {
    let mut status = None;
    loop {
        match syscall::wait(-1, false) {
            Ok(None) => return Ok(status),
            Ok(Some((ended, code))) => {
                log::debug(|| format!("process exited pid={ended} status={code}"));
                if ended == pid {
                    status = Some(code);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(status),
            Err(error) => return Err::<_, io::Error>(error).fails(|| "wait4").map_err(Into::into),
        }
    }
}
