//! What save and restore must do alike: the folder of the images, and the resolution of mount points.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{OFlags, ResolveFlags};

use crate::kernel::beneath;
use crate::kernel::error::Fails;
use crate::rootfs::root::Root;

/// The file beside criu's images that lists what the container's standard streams were opened from.
pub(crate) const DESCRIPTORS: &str = "descriptors.json";

/// Opens a folder for criu's images or work files, which is created if it is missing.
pub(crate) fn open_folder(path: &Path) -> Result<File> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        result => result.fails(|| format!("mkdir {}", path.display()))?,
    }
    File::open(path).fails(|| format!("open {}", path.display())).map_err(Into::into)
}

/// A mount point with the symlinks of the image resolved, as they were when the mount was made.
pub(crate) fn place(root: &Root, path: &Path) -> PathBuf {
    beneath::open(root.fd.as_fd(), path, OFlags::PATH, ResolveFlags::empty())
        .ok()
        .and_then(|fd| root.path_of(&fd).ok())
        .unwrap_or_else(|| beneath::clean(path))
}
