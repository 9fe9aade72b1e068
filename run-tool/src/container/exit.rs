//! How a container ended: a supervisor or a foreground `run --keep` records it in the container's folder.

use std::fs;
use std::path::Path;

use anyhow::Result;
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

/// Tells the supervisor not to restart the container, whatever its restart policy.
pub(crate) fn mark_stopped(folder: &Path) -> Result<()> {
    let mark = folder.join(STOPPED);
    Ok(fs::write(&mark, "").fails(|| format!("write {}", mark.display()))?)
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
