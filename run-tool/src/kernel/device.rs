//! Devices, recognised by their numbers. A name in `/dev` proves nothing, because the image may have made it.

use rustix::fs::FileType;

/// Whether a file is the null device.
pub(crate) fn is_null(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// Whether a file is a pseudoterminal: the slave's side, of any devpts.
pub(crate) fn is_pty(stat: &rustix::fs::Stat) -> bool {
    // UNIX98_PTY_SLAVE_MAJOR and the seven after it (the kernel's devices.txt).
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (136..=143).contains(&rustix::fs::major(stat.st_rdev))
}
