//! The root file system of one command: an overlay over the layers, with the mount points that the image lacks below
//! them.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use bundle_tool::rootfs::{self, Overlay};
use image_tool::beneath::{Root, Time};
use image_tool::error::During;

use super::error::Error;
use crate::source::files;

/// A mount point.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The absolute path in the root file system.
    pub(super) path: String,
    /// Whether it is a file; otherwise it is a directory.
    pub(super) is_file: bool,
}

impl Place {
    pub(super) fn directory(path: &str) -> Self {
        Self { path: path.to_owned(), is_file: false }
    }

    /// The path relative to the root.
    fn relative(&self) -> PathBuf {
        files::inside(&self.path)
    }
}

/// The root file system, mounted.
pub(super) struct Rootfs {
    root: Root,
    target: PathBuf,
    upper: PathBuf,
    /// The mount points that the runtime will create in the upper directory.
    made: Vec<Place>,
}

impl Rootfs {
    /// Mounts the directories `lower`, the lowest first, at `rootfs` in `folder`. What changes goes to `upper` there.
    pub(super) fn mount(folder: &Path, lower: &[PathBuf], places: &[Place]) -> Result<Self, Error> {
        let make = |name: &str, mode: u32| -> Result<PathBuf, Error> {
            let path = folder.join(name);
            fs::create_dir(&path).during("create", &path)?;
            fs::set_permissions(&path, Permissions::from_mode(mode)).during("chmod", &path)?;
            Ok(path)
        };
        let (upper, work) = (make("upper", 0o755)?, make("work", 0o700)?);
        let (target, stubs) = (make("rootfs", 0o755)?, make("stubs", 0o755)?);
        if let Some(top) = lower.last() {
            // The root directory of an overlay takes owner and mode from its upper directory.
            let metadata = fs::metadata(top).during("stat", top)?;
            chown(&upper, Some(metadata.uid()), Some(metadata.gid())).during("chown", &upper)?;
            let mode = Permissions::from_mode(metadata.mode() & 0o7777);
            fs::set_permissions(&upper, mode).during("chmod", &upper)?;
        }
        for place in places {
            stub(&stubs, place)?;
        }
        let lower = std::iter::once(stubs).chain(lower.iter().cloned()).collect();
        Overlay::new(lower).writable(&upper, &work).mount(&target)?;
        let root = Root::open(&target)?;
        // A mount point that is still missing is hidden by a deletion or a link of the image. The runtime will create
        // it, so it is removed afterwards.
        let mut made = Vec::new();
        for place in places {
            if root.stat(place.relative())?.is_none() {
                made.push(place.clone());
            }
        }
        Ok(Self { root, target, upper, made })
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// Unmounts the file system. Then the upper directory holds what the command changed and nothing else.
    pub(super) fn unmount(self) -> Result<(), Error> {
        drop(self.root);
        rootfs::unmount(&self.target, true)?;
        remove_made(&self.upper, &self.made)
    }
}

/// Creates an empty file or directory at `place`, and the directories above it.
fn stub(stubs: &Path, place: &Place) -> Result<(), Error> {
    let is_file = place.is_file;
    let place = place.relative();
    let mut path = stubs.to_owned();
    for name in place.components() {
        path.push(name);
        let last = path == stubs.join(&place);
        let made = if is_file && last { File::create_new(&path).map(drop) } else { fs::create_dir(&path) };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other.during("create", &path)?,
        }
        let mode = if is_file && last { 0o644 } else { 0o755 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).during("chmod", &path)?;
    }
    Ok(())
}

/// Removes the mount points that the runtime created from the upper directory. What the command has put into one is
/// kept.
fn remove_made(upper: &Path, made: &[Place]) -> Result<(), Error> {
    let root = Root::open(upper)?;
    for place in made {
        let is_file = place.is_file;
        let place = place.relative();
        let Some(stat) = root.lstat(&place)? else { continue };
        let before = place.parent().and_then(|parent| Some((parent, root.lstat(parent).ok().flatten()?)));
        let removed = match is_file {
            true if stat.st_size == 0 => root.remove(&place).is_ok(),
            true => false,
            false => root.names(&place).is_ok_and(|names| names.is_empty()) && root.remove(&place).is_ok(),
        };
        if let (true, Some((parent, stat))) = (removed, before) {
            root.set_modified(parent, Time::modified(&stat))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_are_made_and_unmade() {
        let folder = tempfile::tempdir().unwrap();
        let place = |path: &str, is_file| Place { path: path.to_owned(), is_file };
        stub(folder.path(), &place("/etc/hosts", true)).unwrap();
        stub(folder.path(), &place("/run/x", false)).unwrap();
        assert!(folder.path().join("etc/hosts").is_file() && folder.path().join("run/x").is_dir());
        fs::write(folder.path().join("etc/kept"), "x").unwrap();
        let made = [("/etc/hosts", true), ("/run/x", false), ("/etc/kept", true), ("/none", true)];
        remove_made(folder.path(), &made.map(|(path, is_file)| place(path, is_file))).unwrap();
        assert!(!folder.path().join("etc/hosts").exists() && !folder.path().join("run/x").exists());
        assert!(folder.path().join("etc/kept").exists());
    }
}
