//! Removing a tree of any depth.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags};
use rustix::io::Errno;

/// Directories nested deeper than this are first moved up: each level takes an open descriptor, and a hostile layer can
/// have two thousand levels.
const DEPTH: usize = 200;

/// Removes `name` in `directory` and everything beneath it; does nothing if it does not exist.
pub(crate) fn remove(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // For a directory POSIX specifies EPERM, Linux returns EISDIR.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    match rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        result => return result,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(&directory, name, flags, Mode::empty());
    let top = match open() {
        Err(Errno::ACCESS) => {
            // A directory that its owner, the caller, may not read. Images can contain them.
            rustix::fs::chmodat(&directory, name, Mode::RWXU, AtFlags::empty())?;
            open()?
        }
        result => result?,
    };
    let mut moved = 0;
    while !clear(top.as_fd(), top.as_fd(), 0, &mut moved)? {}
    rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR)
}

/// Empties `directory`. Returns `false` if it moved something up into `top`, which takes another pass.
fn clear(top: BorrowedFd<'_>, directory: BorrowedFd<'_>, depth: usize, moved: &mut u64) -> rustix::io::Result<bool> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut complete = true;
    loop {
        // Reading a directory while it shrinks can skip entries: repeat until nothing is left to remove.
        let mut removed = false;
        rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(0))?;
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let flags = if entry.file_type() == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            match rustix::fs::unlinkat(directory, name, flags) {
                Ok(()) | Err(Errno::NOENT) => {
                    removed = true;
                    continue;
                }
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                // The file system does not store file types in directories.
                Err(Errno::ISDIR | Errno::PERM) if entry.file_type() == FileType::Unknown => {}
                Err(errno) => return Err(errno),
            }
            if depth >= DEPTH {
                let target = OsString::from(format!(".moved-{moved}"));
                *moved += 1;
                match rustix::fs::renameat_with(directory, name, top, &target, RenameFlags::NOREPLACE) {
                    Ok(()) => {}
                    Err(Errno::EXIST) => {
                        complete = false;
                        continue;
                    }
                    Err(errno) => return Err(errno),
                }
                complete = false;
                removed = true;
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
                Err(Errno::ACCESS) => {
                    rustix::fs::chmodat(directory, name, Mode::RWXU, AtFlags::empty())?;
                    rustix::fs::openat(directory, name, flags, Mode::empty())?
                }
                result => result?,
            };
            complete &= clear(top, below.as_fd(), depth + 1, moved)?;
            match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
                Ok(()) => removed = true,
                // It still contains what could not be moved up.
                Err(Errno::NOTEMPTY) if !complete => {}
                Err(errno) => return Err(errno),
            }
        }
        if !removed {
            return Ok(complete);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::beneath::{Root, create};

    #[test]
    fn a_tree_deeper_than_the_descriptors_of_a_process_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let mut directory = root.create_directories("deep", 0o755).unwrap();
        for level in 0..3000 {
            rustix::fs::mkdirat(&directory, "d", Mode::RWXU).unwrap();
            let file = create(&directory, OsStr::new("f"), 0o600).unwrap();
            drop(file);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            directory =
                rustix::fs::openat(&directory, "d", flags, Mode::empty()).unwrap_or_else(|e| panic!("{level}: {e}"));
        }
        root.remove("deep").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
