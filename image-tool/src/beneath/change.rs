//! Changing files beneath a root.

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
    /// Creates the directory `path` and its missing parents, and opens it. Links on the way are followed inside the
    /// root; if one is dangling, its target is created as a directory.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Loop`].
    pub fn create_directories(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        self.create_directories_noting(path, mode, &mut Vec::new())
    }

    /// Like [`Self::create_directories`]; adds the paths of those that it has created to `made`, the highest first.
    ///
    /// # Errors
    /// Those of [`Self::create_directories`]. What was created by then is in `made`.
    pub fn create_directories_noting(
        &self,
        path: impl AsRef<Path>,
        mode: u32,
        made: &mut Vec<PathBuf>,
    ) -> Result<OwnedFd> {
        self.create_directories_from(&clean(path.as_ref())?, mode, 40, made)
    }

    fn create_directories_from(&self, path: &Path, mode: u32, links: u32, made: &mut Vec<PathBuf>) -> Result<OwnedFd> {
        let mut missing = Vec::new();
        let mut next = path;
        // Not recursive: a hostile path can have two thousand components.
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
                Ok(()) => made.push(path.to_path_buf()),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(Io::new("make directory", path, errno).into()),
            }
            directory = match self.directory(path) {
                // It exists, but cannot be opened: a dangling link.
                Err(error) if error.errno() == Some(Errno::NOENT) => {
                    let links = links.checked_sub(1).ok_or_else(|| Error::Loop { path: path.to_path_buf() })?;
                    let target = rustix::fs::readlinkat(&directory, name, Vec::new()).during("read link", path)?;
                    let above = path.parent().unwrap_or(Path::new(""));
                    let target = lexical(above, Path::new(OsStr::from_bytes(target.as_bytes())));
                    drop(self.create_directories_from(&target, mode, links, made)?);
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

    /// Writes a regular file with these bytes at `path`, replacing what is there. The file appears only when it is
    /// complete. A link at `path` is replaced, not followed.
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
            // Report the first error only.
            let _ = remove(&parent, &temporary);
        }
        Ok(written?)
    }

    /// Creates a symbolic link at `path` with the text `target`, which is not resolved.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::symlinkat(target.as_ref(), &parent, &name).during("link", path)?)
    }

    /// Creates a hard link at `path` to the file `existing`. If that is a symbolic link, the link itself is linked.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn hard_link(&self, existing: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (from, source) = self.parent(existing)?;
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::linkat(&from, &source, &parent, &name, AtFlags::empty()).during("link", path)?)
    }

    /// Renames `from` to `to`, replacing it if it is a file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let to = to.as_ref();
        let (source, old) = self.parent(from)?;
        let (parent, name) = self.parent(to)?;
        Ok(rustix::fs::renameat(&source, &old, &parent, &name).during("rename", to)?)
    }

    /// Removes `path` and everything beneath it; does nothing if it does not exist. Links are removed, not followed.
    /// Mount points are not entered: removing one fails.
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

    /// Sets the owner and group of `path` itself. The kernel then clears setuid and setgid bits; set the mode
    /// afterwards.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_owner(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
        let path = path.as_ref();
        let fd = self.node(path)?;
        let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        Ok(rustix::fs::chownat(&fd, "", Some(user), Some(group), AtFlags::EMPTY_PATH).during("set owner of", path)?)
    }

    /// Sets the permission bits of `path` itself, including setuid, setgid and sticky.
    ///
    /// # Errors
    /// [`Error::Io`], also for a symbolic link, which has no mode.
    pub fn set_mode(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let fd = self.node(path)?;
        // fchmod rejects an O_PATH descriptor, and fchmodat2 exists only since Linux 6.6.
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

    /// Like [`Root::parent`], but for the root itself returns `.` in the root.
    fn parent_or_root(&self, path: &Path) -> Result<(OwnedFd, OsString)> {
        match self.parent(path) {
            Err(Error::Nameless { .. }) => Ok((self.directory("")?, ".".into())),
            other => other,
        }
    }

    /// An O_PATH descriptor of `path` itself.
    fn node(&self, path: &Path) -> Result<OwnedFd> {
        Ok(open_in_root(&self.fd, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).during("open", path)?)
    }
}

/// The target of a link in `directory` if there are no other links on the way. It is only a guess of what to create:
/// the kernel resolves it again, inside the root.
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
