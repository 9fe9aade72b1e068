//! How a container ended: a supervisor or a foreground `run --keep` records it in the container's folder.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::kernel::error::Fails;
use crate::kernel::file;

/// The file in a container's folder that records how it ended.
pub(crate) const EXIT: &str = "exit.json";

/// The file in a container's folder that marks it as stopped on purpose, so that it is not restarted.
pub(crate) const STOPPED: &str = "stopped";

/// How a container ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// The exit status; 128 + N if signal N killed the program.
    #[serde(rename = "exitStatus")]
    pub(crate) status: i32,
    /// The time of the end (RFC 3339).
    #[serde(rename = "exitTime")]
    pub(crate) time: String,
    /// Whether the kernel killed a process of it for want of memory.
    #[serde(rename = "oomKilled", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_starved: bool,
}

/// The file in a container's folder that records when it ended before it was started again (RFC 3339).
const EARLIER: &str = "earlier";

/// Keeps the time of the last end of a container that has been started again.
pub(crate) fn keep(folder: &Path, time: &str) -> Result<()> {
    file::replace(&folder.join(EARLIER), time.as_bytes())
}

/// When a container that runs ended the last time, if it has run before.
pub(crate) fn earlier(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join(EARLIER)).ok()
}

/// Records how a container ended, at the current time.
pub(crate) fn record(folder: &Path, status: i32, is_starved: bool) -> Result<()> {
    let exit = Exit { status, time: jiff::Timestamp::now().to_string(), is_starved };
    file::replace(&folder.join(EXIT), &serde_json::to_vec(&exit)?)
}

/// What follows the end of a container that is stopped on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It stays stopped, or is removed if its annotation `org.oci-tools.rm` says so.
    Nothing,
    /// Whoever stops it starts it again: it is not removed.
    Start,
}

/// Tells the supervisor not to restart the container, whatever its restart policy.
pub(crate) fn mark_stopped(folder: &Path, next: Next) -> Result<()> {
    let mark = folder.join(STOPPED);
    let text = if next == Next::Start { KEPT } else { "" };
    Ok(fs::write(&mark, text).fails(|| format!("write {}", mark.display()))?)
}

/// The content of the mark of a container that is about to be started again.
const KEPT: &str = "keep";

/// Whether a container was stopped to be started again.
pub(crate) fn is_kept(folder: &Path) -> bool {
    fs::read(folder.join(STOPPED)).is_ok_and(|text| text == KEPT.as_bytes())
}

/// Holds the folder of a container that is removed at its end, for somebody who waits for that: as long as the descriptor is open, but no
/// longer than [`let_read`] waits.
pub(crate) fn hold(folder: &Path) -> Result<OwnedFd> {
    let opened = open(folder)?;
    rustix::fs::flock(&opened, FlockOperation::LockShared).fails(|| format!("lock {}", folder.display()))?;
    Ok(opened)
}

/// Waits until those who hold the folder have read how the container ended.
pub(crate) fn let_read(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(1);
    let Ok(opened) = open(folder) else { return };
    while rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive).is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn open(folder: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty()).fails(|| format!("open {}", folder.display()))?)
}

/// How a container ended, if that has been recorded.
pub(crate) fn of(folder: &Path) -> Option<Exit> {
    serde_json::from_slice(&fs::read(folder.join(EXIT)).ok()?).ok()
}

/// The file in a container's folder that counts how often its supervisor has restarted it.
const RESTARTS: &str = "restarts.json";

/// How often a container was restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restarts {
    /// The number of restarts, with the one that is pending.
    pub(crate) count: u32,
    /// Whether the next is about to happen.
    pub(crate) pending: bool,
}

/// Records how often a container was restarted.
pub(crate) fn record_restarts(folder: &Path, restarts: Restarts) -> Result<()> {
    file::replace(&folder.join(RESTARTS), &serde_json::to_vec(&restarts)?)
}

/// How often a container was restarted. One that never was has no file.
pub(crate) fn restarts(folder: &Path) -> Restarts {
    let read = || serde_json::from_slice(&fs::read(folder.join(RESTARTS)).ok()?).ok();
    read().unwrap_or_default()
}

/// Whether a container has ended and its supervisor is about to start it again.
pub(crate) fn is_restarting(folder: &Path) -> bool {
    restarts(folder).pending && !folder.join(STOPPED).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_counted_from_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(restarts(folder.path()), Restarts::default());
        record_restarts(folder.path(), Restarts { count: 2, pending: true }).unwrap();
        assert_eq!(restarts(folder.path()), Restarts { count: 2, pending: true });
    }
}
