//! The directory that becomes the container's root, held by a descriptor while it is set up.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rustix::fs::{Mode, OFlags};

use super::stage::Stage;
use crate::kernel::error::Fails;
use crate::kernel::procfs::proc_path;

pub(super) const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The root file system while it is set up.
#[derive(Debug)]
pub(crate) struct Root {
    /// The descriptor (O_PATH) of its directory.
    pub(crate) fd: OwnedFd,
    /// Its absolute path on the host.
    pub(crate) path: PathBuf,
    /// Mounts below it that become read-only once everything is set up.
    pub(crate) late: Vec<OwnedFd>,
    /// Where its mounts are made ready.
    pub(crate) stage: Stage,
}

impl Root {
    /// Opens the directory.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fd = rustix::fs::open(path, DIRECTORY, Mode::empty())
            .fails(|| format!("open rootfs handle: open {}", path.display()))?;
        Ok(Self { fd, path: path.to_owned(), late: Vec::new(), stage: Stage::new()? })
    }

    /// The path in the container of a file that was opened beneath the root.
    pub(crate) fn path_of(&self, fd: &OwnedFd) -> Result<PathBuf> {
        let full = rustix::fs::readlink(proc_path(fd.as_fd()), Vec::new()).fails(|| "readlink /proc/self/fd")?;
        let full = full.into_string().unwrap_or_else(|error| error.into_cstring().to_string_lossy().into_owned());
        match Path::new(&full).strip_prefix(&self.path) {
            Ok(inside) => Ok(Path::new("/").join(inside)),
            Err(_) => bail!("mountpoint {full:?} is outside of rootfs {:?}", self.path.display().to_string()),
        }
    }
}
