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
    /// Whether the sources' parent directories are copied too (`--parents`).
    pub parents: bool,
    /// Whether entries keep the sources' owners (`--from`); if not, root owns them.
    pub keep_owners: bool,
    /// `SOURCE_DATE_EPOCH`: the latest time of any entry, and the time of created directories.
    pub epoch: Option<i64>,
}
