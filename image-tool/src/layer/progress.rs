//! How far this process is with reading layers, for people who wait: a big image takes seconds when it is used for the first time.
//!
//! As with signals, it does not matter who began the work: all of the process is counted together.

use std::sync::atomic::{AtomicU64, Ordering};

static BYTES: AtomicU64 = AtomicU64::new(0);
static ENTRIES: AtomicU64 = AtomicU64::new(0);

/// How much has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of archives, inflated.
    pub bytes: u64,
    /// Entries of archives: files, directories and links.
    pub entries: u64,
}

/// How much this process has read so far.
#[must_use]
pub fn now() -> Progress {
    Progress { bytes: BYTES.load(Ordering::Relaxed), entries: ENTRIES.load(Ordering::Relaxed) }
}

pub(super) fn add_bytes(count: usize) {
    BYTES.fetch_add(count as u64, Ordering::Relaxed);
}

pub(super) fn add_entry() {
    ENTRIES.fetch_add(1, Ordering::Relaxed);
}
