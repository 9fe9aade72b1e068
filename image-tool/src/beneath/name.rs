//! A name in an open directory: creating, listing, extended attributes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{Dir, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::path::self_fd;

/// The path of a name in an open directory, for system calls without a directory descriptor. They do not follow the
/// name.
fn through_proc(directory: impl AsFd, name: &OsStr) -> PathBuf {
    let mut path = self_fd(directory);
    path.push(name);
    path
}

pub(crate) fn create(directory: impl AsFd, name: &OsStr, mode: u32) -> rustix::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode)).map(File::from)
}

pub(crate) fn set_xattr(directory: impl AsFd, name: &OsStr, key: &OsStr, value: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::lsetxattr(through_proc(directory, name), key, value, XattrFlags::empty())
}

/// The extended attributes of a name in a directory, sorted by name.
pub(crate) fn xattrs(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<Vec<(OsString, Vec<u8>)>> {
    let path = through_proc(directory, name);
    // 64 KiB is XATTR_LIST_MAX and XATTR_SIZE_MAX: no list and no value is larger.
    let mut buffer = vec![0; 65536];
    let length = match rustix::fs::llistxattr(&path, &mut buffer[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno),
    };
    let mut keys: Vec<OsString> = buffer[..length]
        .split(|byte| *byte == 0)
        .filter(|key| !key.is_empty())
        .map(|key| OsStr::from_bytes(key).into())
        .collect();
    keys.sort();
    let mut attributes = Vec::with_capacity(keys.len());
    for key in keys {
        match rustix::fs::lgetxattr(&path, &key, &mut buffer[..]) {
            Ok(length) => attributes.push((key, buffer[..length].to_vec())),
            // Removed since it was listed, or an attribute whose value a security module hides.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(attributes)
}

/// The names in an open directory, sorted by their bytes, without `.` and `..`.
pub(crate) fn names(directory: impl AsFd) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_os_string());
        }
    }
    names.sort();
    Ok(names)
}
