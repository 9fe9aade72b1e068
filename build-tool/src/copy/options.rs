//! How sources are copied: the flags of COPY and ADD, with their values.

use super::chmod::Mode;

/// How sources are copied.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The absolute destination; a trailing `/` says that it is a directory.
    pub destination: String,
    /// The owner of what is copied and of directories created for it (`--chown`).
    pub owner: Option<(u32, u32)>,
    /// The permission bits of what is copied (`--chmod`).
    pub mode: Option<Mode>,
    /// Whether entries keep the sources' owners (`--from`); if not, root owns them.
    pub keep_owners: bool,
    /// `SOURCE_DATE_EPOCH`: the latest time of any entry, and the time of created directories.
    pub epoch: Option<i64>,
}

impl Options {
    /// A time as the layer has it: none is later than the epoch.
    pub fn latest(&self, seconds: i64) -> i64 {
        self.epoch.map_or(seconds, |epoch| seconds.min(epoch))
    }

    /// The mode of directories that are made for the destination: BuildKit gives them the mode of an octal `--chmod`, without its
    /// special bits.
    pub fn made_mode(&self) -> u32 {
        match self.mode {
            Some(Mode::Octal(bits)) => bits & 0o777,
            _ => 0o755,
        }
    }
}
