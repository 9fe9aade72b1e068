//! Copies the content of a folder with owners, modes, times, extended attributes, hard links and devices.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// For each file with several names, the first copy.
type Links = HashMap<(u64, u64), (OwnedFd, CString)>;

/// Copies the content of the folder `from`, and its owner, mode and times, to the folder `to`.
pub(super) fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    // The descriptors may have been opened with O_PATH.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = rustix::fs::openat(from, c".", flags, Mode::empty())?;
    let to = rustix::fs::openat(to, c".", flags, Mode::empty())?;
    copy_folder(&from, &to, &mut Links::new())
}

/// Copies the owner, mode, times and extended attributes of the folder `from` to the folder `to`.
pub(super) fn copy_attributes_of(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    finish(from, to, &rustix::fs::fstat(from)?)
}

fn copy_folder(from: &OwnedFd, to: &OwnedFd, links: &mut Links) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from, to, name, links)?;
        }
    }
    finish(from.as_fd(), to.as_fd(), &rustix::fs::fstat(from)?)
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr, links: &mut Links) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::Directory && stat.st_nlink > 1 {
        if let Some((folder, first)) = links.get(&(stat.st_dev, stat.st_ino)) {
            return Ok(rustix::fs::linkat(folder, first.as_c_str(), to, name, AtFlags::empty())?);
        }
        links.insert((stat.st_dev, stat.st_ino), (to.try_clone()?, name.to_owned()));
    }
    let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match kind {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let source = rustix::fs::openat(from, name, open | OFlags::DIRECTORY, Mode::empty())?;
            let target = rustix::fs::openat(to, name, open | OFlags::DIRECTORY, Mode::empty())?;
            copy_folder(&source, &target, links)
        }
        FileType::RegularFile => {
            // A FIFO may have taken its place: do not wait for a writer.
            let source = File::from(rustix::fs::openat(from, name, open | OFlags::NONBLOCK, Mode::empty())?);
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mut target = File::from(rustix::fs::openat(to, name, create, Mode::RUSR | Mode::WUSR)?);
            io::copy(&mut (&source), &mut target)?;
            finish(source.as_fd(), target.as_fd(), &stat)
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(link.as_c_str(), to, name)?;
            own(to, name, &stat)
        }
        other => {
            rustix::fs::mknodat(to, name, other, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev)?;
            own(to, name, &stat)?;
            Ok(rustix::fs::chmodat(to, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?)
        }
    }
}

/// Sets owner and times of an entry that cannot be opened.
fn own(folder: &OwnedFd, name: &CStr, stat: &Stat) -> io::Result<()> {
    rustix::fs::chownat(
        folder,
        name,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    Ok(rustix::fs::utimensat(folder, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets owner, extended attributes, mode and times, in this order: chown clears set-user-ID bits and file capabilities.
fn finish(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    copy_attributes(from, to)?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(rustix::fs::futimens(to, &times(stat))?)
}

fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    // XATTR_LIST_MAX and XATTR_SIZE_MAX are both 64 KiB.
    let mut names = vec![0u8; 65536];
    let size = match rustix::fs::flistxattr(from, names.as_mut_slice()) {
        Ok(size) => size,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let mut value = vec![0u8; 65536];
    for name in names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // Overlay marks are meaningless outside of the overlay; labels are set by the policy for the copy's place.
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") || name == b"security.selinux" {
            continue;
        }
        let name = CString::new(name)?;
        let length = rustix::fs::fgetxattr(from, name.as_c_str(), value.as_mut_slice())?;
        match rustix::fs::fsetxattr(to, name.as_c_str(), &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn a_copy_keeps_modes_links_times_and_attributes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("deep/er")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("deep/file"), "content").unwrap();
        fs::set_permissions(from.join("deep/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o1777)).unwrap();
        fs::hard_link(from.join("deep/file"), from.join("second")).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        let fifo = Mode::from_raw_mode(0o640);
        rustix::fs::mknodat(rustix::fs::CWD, from.join("fifo"), FileType::Fifo, fifo, 0).unwrap();
        let attribute = rustix::fs::setxattr(from.join("second"), "user.note", b"kept", XattrFlags::empty()).is_ok();

        copy_tree(File::open(&from).unwrap().as_fd(), File::open(&to).unwrap().as_fd()).unwrap();

        let of = |base: &std::path::Path, name: &str| {
            let found = fs::symlink_metadata(base.join(name)).unwrap();
            (found.mode(), found.uid(), found.gid(), found.mtime(), found.mtime_nsec(), found.nlink())
        };
        for name in ["", "deep", "deep/er", "deep/file", "second", "link", "fifo"] {
            assert_eq!(of(&from, name), of(&to, name), "{name}");
        }
        assert_eq!(fs::read(to.join("second")).unwrap(), b"content");
        assert_eq!(fs::read_link(to.join("link")).unwrap(), std::path::Path::new("/nowhere"));
        if attribute {
            let mut value = [0u8; 8];
            let length = rustix::fs::getxattr(to.join("deep/file"), "user.note", &mut value[..]).unwrap();
            assert_eq!(&value[..length], b"kept");
        }
    }
}
