//! The modification times of files.

use rustix::fs::{Stat, Timespec, Timestamps};

/// A modification time: seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999; added to the seconds even if those are negative.
    pub nanoseconds: u32,
}

impl Time {
    pub(crate) fn stamps(self) -> Timestamps {
        let spec = Timespec { tv_sec: self.seconds, tv_nsec: self.nanoseconds.into() };
        Timestamps { last_access: spec, last_modification: spec }
    }

    /// The modification time in `stat`.
    #[must_use]
    pub fn modified(stat: &Stat) -> Self {
        Self { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 }
    }
}
