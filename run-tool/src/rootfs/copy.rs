//! Copies a tree, for the mount option `tmpcopyup`: a tmpfs that starts with the files it covers.

use std::os::fd::OwnedFd;

use anyhow::{Result, bail};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::process::{Gid, Uid};

use crate::kernel::error::Fails;

/// Copies the content of a directory into another: files, directories and symlinks with owners and modes, but no devices.
pub(super) fn copy_tree(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let mut entries = rustix::fs::Dir::read_from(from).fails(|| "readdir")?;
    while let Some(entry) = entries.read() {
        let entry = entry.fails(|| "readdir")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let show = || name.to_string_lossy().into_owned();
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).fails(show)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let follow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, mode).fails(show)?;
                let source = rustix::fs::openat(from, name, follow | OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
                    .fails(show)?;
                let copy = rustix::fs::openat(to, name, follow | OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
                    .fails(show)?;
                copy_tree(&source, &copy)?;
            }
            FileType::RegularFile => {
                // O_NONBLOCK: it may have been exchanged for a fifo without a writer.
                let flags = follow | OFlags::RDONLY | OFlags::NONBLOCK;
                let source = rustix::fs::openat(from, name, flags, Mode::empty()).fails(show)?;
                let stat = rustix::fs::fstat(&source).fails(show)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    bail!("{}: changed while it was copied", show());
                }
                let copy = rustix::fs::openat(to, name, follow | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, mode)
                    .fails(show)?;
                std::io::copy(&mut std::fs::File::from(source), &mut std::fs::File::from(copy)).fails(show)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new()).fails(show)?;
                rustix::fs::symlinkat(&target, to, name).fails(show)?;
            }
            _ => continue,
        }
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).fails(show)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            // After chown, because that clears the set-user-ID bits.
            rustix::fs::chmodat(to, name, mode, AtFlags::empty()).fails(show)?;
        }
    }
    Ok(())
}
