//! Removing bundles from disk, complete ones and what a crash left of others.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use rustix::fs::FlockOperation;

use super::name::ContainerName;
use super::{Bundle, Error, UNFINISHED, resolve, unmount};
use crate::rootfs;

/// Removes a bundle: its mounts, its folder, its name. Parts that do not exist are skipped.
pub fn remove(bundles: &Path, bundle: &Bundle, lazily: bool) -> Result<(), Error> {
    unmount(bundle.path(), &bundle.rootfs(), lazily)?;
    let link = bundles.join(bundle.name());
    // config.json goes last, so that an interrupted removal can be repeated by name.
    for entry in fs::read_dir(bundle.path()).into_iter().flatten().flatten() {
        if entry.file_name() != "config.json" {
            remove_tree(&entry.path())?;
        }
    }
    remove_tree(bundle.path())?;
    if fs::read_link(&link).is_ok_and(|target| !target.exists()) {
        fs::remove_file(&link).during("remove", &link)?;
    }
    Ok(())
}

/// Removes what a crash left of a bundle that was being created, by its name or path. Returns whether there was anything.
pub fn remove_unfinished(bundles: &Path, text: &str) -> Result<bool, Error> {
    let mut any = false;
    let mut places = vec![PathBuf::from(text)];
    if text.parse::<ContainerName>().is_ok() {
        let named = bundles.join(text);
        places = vec![resolve(&named), PathBuf::from(text)];
        if fs::read_link(&named).is_ok_and(|target| !target.exists()) {
            fs::remove_file(&named).during("remove", &named)?;
            any = true;
        }
    }
    for path in places {
        if path.join(UNFINISHED).exists() && !path.join("config.json").exists() {
            // A locked one is still being created.
            let folder = File::open(&path).during("open", &path)?;
            if rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            unmount(&path, &path.join("rootfs"), true)?;
            remove_tree(&path)?;
            any = true;
        }
    }
    Ok(any)
}

/// Removes a tree, but not if something is still mounted at its root: that might be somebody's volume.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error).during("remove", path)?,
    };
    if !found.is_dir() {
        return gone(fs::remove_file(path), path);
    }
    if rootfs::is_mounted(path) {
        return Err(Error::Rootfs(rootfs::Error::Busy { target: path.to_owned() }));
    }
    // The standard library removes by descriptor and follows no links.
    gone(fs::remove_dir_all(path), path)
}

/// A file that another process removed first is not an error.
fn gone(removed: io::Result<()>, path: &Path) -> Result<(), Error> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Ok(other.during("remove", path)?),
    }
}
