//! The locks of a layout: one keeps writers and garbage collection apart, the other protects `index.json`.

use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{Error, Layout};
use crate::error::{During, Io};

/// The lock of `index.json`, held while this value exists.
#[derive(Debug)]
pub struct IndexLock {
    _folder: OwnedFd,
}

/// The lock that excludes every [`Writer`](super::Writer), held while this value exists.
#[derive(Debug)]
pub struct BlobsLock {
    _folder: OwnedFd,
}

impl Layout {
    /// Takes the lock that excludes every [`Writer`](super::Writer), for garbage collection.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process is writing.
    pub fn lock_blobs(&self) -> Result<BlobsLock, Error> {
        Ok(BlobsLock { _folder: self.lock("blobs", FlockOperation::NonBlockingLockExclusive)? })
    }

    /// As [`Self::lock_blobs`], but waits for a moment in which nobody is writing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn await_blobs(&self) -> Result<BlobsLock, Error> {
        Ok(BlobsLock { _folder: self.lock("blobs", FlockOperation::LockExclusive)? })
    }

    /// Locks `index.json`. Waits for its holder, who needs it only for a moment.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn lock_index(&self) -> Result<IndexLock, Error> {
        Ok(IndexLock { _folder: self.lock(".", FlockOperation::LockExclusive)? })
    }

    pub(super) fn lock(&self, name: &str, operation: FlockOperation) -> Result<OwnedFd, Error> {
        // Each lock has its own descriptor: flock belongs to the open file, so threads exclude each other too.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let path = self.path().join(name);
        if name == "blobs" {
            match rustix::fs::mkdirat(&self.shared.folder, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(Io::new("create", path, error).into()),
            }
        }
        let folder = rustix::fs::openat(&self.shared.folder, name, flags, Mode::empty()).during("open", &path)?;
        loop {
            match rustix::fs::flock(&folder, operation) {
                Ok(()) => return Ok(folder),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy { path: self.path().into() }),
                Err(error) => return Err(Io::new("lock", path, error).into()),
            }
        }
    }
}
