//! Devices, recognised by their numbers. A name in `/dev` proves nothing, because the image may have made it.

use rustix::fs::FileType;

/// Whether a file is the null device.
pub(crate) fn is_null(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3)
}
