//! Changing what is beneath a root.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::name::{create, set_xattr, xattrs};
use super::path::{clean, open_in_root, self_fd};
use super::remove::remove;
use super::root::Root;
use super::time::Time;
use crate::error::{During, Io};

impl Root {
    /// Makes the directory `path` and those above it that are missing, and opens it. Links on the way are followed
    /// inside the root; where one points to nothing, the directory is made there.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Loop`].
    pub fn create_directories(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        self.create_directories_from(&clean(path.as_ref())?, mode, 40)
    }

    fn create_directories_from(&self, path: &Path, mode: u32, links: u32) -> Result<OwnedFd> {
        let mut missing = Vec::new();
        let mut next = path;
        // Not by recursion: a hostile path has two thousand parts.
        let mut directory = loop {
            match self.directory(next) {
                Err(error) if error.errno() == Some(Errno::NOENT) && !next.as_os_str().is_empty() => {
                    missing.push(next);
                    next = next.parent().unwrap_or(Path::new(""));
                }
                result => break result?,
            }
        };
        for path in missing.into_iter().rev() {
            let name = path.file_name().unwrap_or_default();
            match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(mode)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Io::new("make directory", path, errno).into()),
            }
            directory = match self.directory(path) {
                // It exists and yet it does not: a link that dangles.
                Err(error) if error.errno() == Some(Errno::NOENT) => {
                    let links = links.checked_sub(1).ok_or_else(|| Error::Loop { path: path.to_path_buf() })?;
                    let target = rustix::fs::readlinkat(&directory, name, Vec::new()).during("read link", path)?;
                    let above = path.parent().unwrap_or(Path::new(""));
                    let target = lexical(above, Path::new(OsStr::from_bytes(target.as_bytes())));
                    drop(self.create_directories_from(&target, mode, links)?);
                    self.directory(path)?
                }
                result => result?,
            };
        }
        Ok(directory)
    }

    /// Creates the regular file `path`, which must not exist, and opens it for reading and writing.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn create(&self, path: impl AsRef<Path>, mode: u32) -> Result<File> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        Ok(create(&parent, &name, mode).during("create", path)?)
    }

    /// Puts a regular file with these bytes at `path`, in place of whatever is there. The file is complete from the
    /// first moment it is seen; a link at `path` is replaced, not followed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn write(&self, path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<()> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        let temporary = OsString::from(format!(".{}.tmp", std::process::id()));
        remove(&parent, &temporary).during("remove", path)?;
        let write = || -> std::result::Result<(), Io> {
            let mut file = create(&parent, &temporary, mode).during("create", path)?;
            file.write_all(bytes).during("write", path)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).during("set mode of", path)?;
            rustix::fs::renameat(&parent, &temporary, &parent, &name).during("rename", path)
        };
        let written = write();
        if written.is_err() {
            // The first error is the one to tell.
            let _ = remove(&parent, &temporary);
        }
        Ok(written?)
    }

    /// Makes `path` a symbolic link that holds `target`. The target is text: it is not resolved, now or here.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::symlinkat(target.as_ref(), &parent, &name).during("link", path)?)
    }

    /// Makes `path` another name of the file `existing`; if that is a symbolic link, of the link.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn hard_link(&self, existing: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (from, source) = self.parent(existing)?;
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::linkat(&from, &source, &parent, &name, AtFlags::empty()).during("link", path)?)
    }

    /// Renames, replacing `to` if it is a file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let to = to.as_ref();
        let (source, old) = self.parent(from)?;
        let (parent, name) = self.parent(to)?;
        Ok(rustix::fs::renameat(&source, &old, &parent, &name).during("rename", to)?)
    }

    /// Removes `path`, and all beneath it if it is a directory. That it is not there is no error. A link is removed,
    /// not followed; nor is a mount point entered: removing it fails.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        match self.parent(path) {
            Ok((parent, name)) => Ok(remove(&parent, &name).during("remove", path)?),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets user and group of `path` itself. The kernel drops setuid and setgid bits; set the mode afterwards.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_owner(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
        let path = path.as_ref();
        let fd = self.node(path)?;
        let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        Ok(rustix::fs::chownat(&fd, "", Some(user), Some(group), AtFlags::EMPTY_PATH).during("set owner of", path)?)
    }

    /// Sets the permission bits of `path` itself, setuid, setgid and sticky among them.
    ///
    /// # Errors
    /// [`Error::Io`]; a link has no mode of its own and the kernel says so.
    pub fn set_mode(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let fd = self.node(path)?;
        // fchmod refuses an O_PATH descriptor, and fchmodat2 came with Linux 6.6 only.
        Ok(rustix::fs::chmod(self_fd(&fd), Mode::from_raw_mode(mode)).during("set mode of", path)?)
    }

    /// Sets access and modification time of `path` itself.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_modified(&self, path: impl AsRef<Path>, time: Time) -> Result<()> {
        let path = path.as_ref();
        let fd = self.node(path)?;
        Ok(rustix::fs::utimensat(&fd, "", &time.stamps(), AtFlags::EMPTY_PATH).during("set time of", path)?)
    }

    /// Sets an extended attribute of `path` itself.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_xattr(&self, path: impl AsRef<Path>, name: &OsStr, value: &[u8]) -> Result<()> {
        let path = path.as_ref();
        let (parent, last) = self.parent_or_root(path)?;
        Ok(set_xattr(&parent, &last, name, value).during("set attribute of", path)?)
    }

    /// The extended attributes of `path` itself, sorted by name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn xattrs(&self, path: impl AsRef<Path>) -> Result<Vec<(OsString, Vec<u8>)>> {
        let path = path.as_ref();
        let (parent, last) = self.parent_or_root(path)?;
        Ok(xattrs(&parent, &last).during("read attributes of", path)?)
    }

    /// As [`Root::parent`], but the root itself is `.` in the root.
    fn parent_or_root(&self, path: &Path) -> Result<(OwnedFd, OsString)> {
        match self.parent(path) {
            Err(Error::Nameless { .. }) => Ok((self.directory("")?, ".".into())),
            other => other,
        }
    }

    /// A descriptor for `path` itself that only names it.
    fn node(&self, path: &Path) -> Result<OwnedFd> {
        Ok(open_in_root(&self.fd, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).during("open", path)?)
    }
}

/// Where a link in `directory` leads if no other link is on the way. Only ever a proposal of a place to make: the
/// kernel resolves it again, inside the root.
fn lexical(directory: &Path, target: &Path) -> PathBuf {
    let mut path = if target.is_absolute() { PathBuf::new() } else { directory.to_path_buf() };
    for component in target.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
    path
}
