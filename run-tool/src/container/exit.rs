//! How a container ended, as its supervisor or a foreground `run --keep` leaves it in its folder.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::kernel::file;

/// The file in a container's folder that says how it ended.
pub(crate) const EXIT: &str = "exit.json";

/// The file in a container's folder that says that it was stopped on purpose.
pub(crate) const STOPPED: &str = "stopped";

/// How a container ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// The status, 128 and the signal's number for one that was killed.
    #[serde(rename = "exitStatus")]
    pub(crate) status: i32,
    /// When (RFC 3339).
    #[serde(rename = "exitTime")]
    pub(crate) time: String,
}

/// Says how a container ended, for those who ask later.
pub(crate) fn record(folder: &Path, status: i32) -> Result<()> {
    let exit = Exit { status, time: jiff::Timestamp::now().to_string() };
    file::replace(&folder.join(EXIT), &serde_json::to_vec(&exit)?)
}

/// How a container ended, if its supervisor has said so.
pub(crate) fn of(folder: &Path) -> Option<Exit> {
    serde_json::from_slice(&fs::read(folder.join(EXIT)).ok()?).ok()
}
