//! Removing bundles from disk, complete ones and what a crash left of others.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use rustix::fs::FlockOperation;

use super::name::ContainerName;
use super::{Bundle, Error, IMAGES, LAYERS, PROBE, SHM, SIZED, UNFINISHED, WRITABLE, is_unfinished, resolve, unmount};
use crate::rootfs;

/// Removes a bundle: its mounts, its folder, its name. Parts that do not exist are skipped.
pub fn remove(bundles: &Path, bundle: &Bundle, lazily: bool) -> Result<(), Error> {
    unmount(bundle.path(), &bundle.rootfs(), lazily)?;
    // config.json goes last, so that an interrupted removal can be repeated by name.
    for entry in fs::read_dir(bundle.path()).into_iter().flatten().flatten() {
        if entry.file_name() != "config.json" {
            remove_tree(&entry.path())?;
        }
    }
    remove_tree(bundle.path())?;
    remove_names(bundles, bundle.path()).map(drop)
}

/// Removes the links that lead to a folder which is gone: its name, and what a killed `rename` left. Returns whether there were any.
fn remove_names(bundles: &Path, folder: &Path) -> Result<bool, Error> {
    let folder = std::path::absolute(folder).during("find", folder)?;
    let mut any = false;
    for link in fs::read_dir(bundles).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if fs::read_link(&link).is_ok_and(|target| target == folder && !target.exists()) {
            gone(fs::remove_file(&link), &link)?;
            any = true;
        }
    }
    Ok(any)
}

/// The folder that a bundle of that name or path has or had.
pub fn place(bundles: &Path, text: &str) -> PathBuf {
    let place = if text.parse::<ContainerName>().is_ok() && fs::symlink_metadata(bundles.join(text)).is_ok() {
        resolve(&bundles.join(text))
    } else {
        PathBuf::from(text)
    };
    std::path::absolute(&place).unwrap_or(place)
}

/// Removes what is left of a bundle without a config.json, by its name or path: by a crash while it was being created, or by `rm -rf`, which
/// cannot remove a mount point. Returns whether there was anything.
pub fn remove_unfinished(bundles: &Path, text: &str) -> Result<bool, Error> {
    let named = text.parse::<ContainerName>().is_ok() && fs::symlink_metadata(bundles.join(text)).is_ok();
    let path = place(bundles, text);
    let mut any = false;
    // A folder has a bundle's name, or the mark of one.
    let ours = path.join(UNFINISHED).exists() || (named && (is_remainder(&path) || is_begun(bundles, &path)));
    if ours && is_unfinished(&path) {
        // A locked one is still being created.
        let folder = File::open(&path).during("open", &path)?;
        if rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            unmount(&path, &path.join("rootfs"), true)?;
            remove_tree(&path)?;
            any = true;
        }
    }
    // Where the folder is gone, its id is all that is known of it.
    for folder in [&path, &bundles.join(text)] {
        any |= remove_names(bundles, folder)?;
    }
    Ok(any)
}

/// Whether a folder was made for a bundle by a creation that was killed in its first instant. An empty one elsewhere may be somebody's.
fn is_begun(bundles: &Path, path: &Path) -> bool {
    let is_empty = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    is_empty && std::path::absolute(bundles).is_ok_and(|bundles| path.parent() == Some(&bundles))
}

/// Whether a folder holds nothing but parts of a bundle, at least one of them.
fn is_remainder(path: &Path) -> bool {
    const PARTS: [&str; 16] = [
        UNFINISHED,
        IMAGES,
        LAYERS,
        PROBE,
        SHM,
        SIZED,
        WRITABLE,
        "empty",
        "hostname",
        "hosts",
        "init",
        "mount-points",
        "resolv.conf",
        "rootfs",
        "upper",
        "work",
    ];
    let names: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    !names.is_empty() && names.iter().all(|name| PARTS.iter().any(|part| name == part))
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
