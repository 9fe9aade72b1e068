//! Paths: normalizing, splitting, opening.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::{Error, Result};

/// Normalizes a path to the form `a/b/c`: no leading, trailing or double `/`, and no `.`.
///
/// # Errors
/// [`Error::DotDot`], even for `a/../b`, which means different things as text and through a link.
pub fn clean(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => return Err(Error::DotDot { path: path.to_path_buf() }),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}

/// Opens `path` beneath `root`, which is `/` for every link on the way.
///
/// # Errors
/// The error of the system call.
pub fn open_in_root(root: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    loop {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            // openat2(2): a rename elsewhere made a ".." in a link uncertain. Try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Splits a path into the parent directory and the name.
pub(super) fn split(path: &Path) -> Result<(PathBuf, OsString)> {
    let clean = clean(path)?;
    match clean.file_name() {
        Some(name) => Ok((clean.parent().unwrap_or(Path::new("")).to_path_buf(), name.to_os_string())),
        None => Err(Error::Nameless { path: path.to_path_buf() }),
    }
}

/// The path of an open descriptor in procfs, which names the very same file.
pub(crate) fn self_fd(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}
