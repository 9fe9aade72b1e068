//! The root directory: opening and reading files beneath it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::name::names;
use super::path::{open_in_root, split};
use crate::error::{During, Io};

/// A directory that no path leads out of.
#[derive(Debug)]
pub struct Root {
    pub(super) fd: OwnedFd,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Root {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl Root {
    /// Opens the directory `path` of the host, following links as usual.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).during("open", path)?;
        Ok(Self { fd })
    }

    /// Opens the directory `path`, following links inside the root.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn directory(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        let path = path.as_ref();
        Ok(open_in_root(&self.fd, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).during("open", path)?)
    }

    /// The directory `path` as a root of its own.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn subroot(&self, path: impl AsRef<Path>) -> Result<Self> {
        self.directory(path).map(Self::from)
    }

    /// The parent directory of `path`, opened, and the name in it.
    ///
    /// # Errors
    /// [`Error::DotDot`], [`Error::Nameless`], [`Error::Io`].
    pub fn parent(&self, path: impl AsRef<Path>) -> Result<(OwnedFd, OsString)> {
        let (parent, name) = split(path.as_ref())?;
        Ok((self.directory(&parent)?, name))
    }

    /// Opens the regular file `path` for reading, following links inside the root.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotRegular`].
    pub fn file(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        // Without O_NONBLOCK, opening a FIFO would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = open_in_root(&self.fd, path, flags, Mode::empty()).during("open", path)?;
        let stat = rustix::fs::fstat(&fd).during("stat", path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::NotRegular { path: path.to_path_buf() });
        }
        Ok(File::from(fd))
    }

    /// Reads the regular file `path`, of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotRegular`], [`Error::TooLarge`].
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        let read = self.file(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.during("read", path)?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { path: path.to_path_buf(), limit });
        }
        Ok(bytes)
    }

    /// The status of `path`, following links inside the root; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Option<Stat>> {
        self.stat_opened(path.as_ref(), OFlags::PATH)
    }

    /// The status of `path` itself, even if it is a link; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn lstat(&self, path: impl AsRef<Path>) -> Result<Option<Stat>> {
        self.stat_opened(path.as_ref(), OFlags::PATH | OFlags::NOFOLLOW)
    }

    fn stat_opened(&self, path: &Path, flags: OFlags) -> Result<Option<Stat>> {
        match open_in_root(&self.fd, path, flags, Mode::empty()) {
            Ok(fd) => Ok(rustix::fs::fstat(&fd).map(Some).during("stat", path)?),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(Io::new("stat", path, errno).into()),
        }
    }

    /// The target of the link `path`, unresolved.
    ///
    /// # Errors
    /// [`Error::DotDot`], [`Error::Nameless`], [`Error::Io`].
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        let target = rustix::fs::readlinkat(&parent, &name, Vec::new()).during("read link", path)?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// The names in the directory `path`, sorted by their bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn names(&self, path: impl AsRef<Path>) -> Result<Vec<OsString>> {
        let path = path.as_ref();
        Ok(names(&self.directory(path)?).during("list", path)?)
    }
}
