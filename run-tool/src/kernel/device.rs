//! Devices by their numbers.

use rustix::fs::FileType;

/// Whether something is `/dev/null`, by its numbers.
pub(crate) fn is_null(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3)
}
