//! A bundle while it is created: its name is taken, its folder locked, and config.json put in place last.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::name::ContainerName;
use super::remove::remove_tree;
use super::{Bundle, Error, UNFINISHED, annotation, is_unfinished, unmount};

/// A bundle that is not complete. Dropped before [`Draft::commit`], it is removed again.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    /// The path as the user gave it.
    shown: PathBuf,
    name: ContainerName,
    link: Option<PathBuf>,
    // Held until the bundle is complete.
    _lock: OwnedFd,
    committed: bool,
}

impl Draft {
    /// Takes the name, or a random one, and creates the folder: `path`, or `bundles/NAME`.
    pub fn create(bundles: &Path, name: Option<ContainerName>, path: Option<&Path>) -> Result<Self, Error> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(bundles).during("create", bundles)?;
        match name {
            Some(name) => Self::named(bundles, name, path),
            None => {
                let mut attempts = 0;
                loop {
                    let name = if attempts < 8 { ContainerName::random() } else { ContainerName::random_with_digit() };
                    match Self::named(bundles, name, path) {
                        Err(Error::NameInUse { .. }) if attempts < 64 => attempts += 1,
                        other => return other,
                    }
                }
            }
        }
    }

    fn named(bundles: &Path, name: ContainerName, path: Option<&Path>) -> Result<Self, Error> {
        let place = bundles.join(name.as_str());
        let Some(shown) = path else {
            let path = std::path::absolute(&place).during("find", &place)?;
            let lock = claim(&path)?;
            let lock = lock.ok_or_else(|| Error::NameInUse { name: name.to_string(), path: place.clone() })?;
            return Ok(Self { path, shown: place, name, link: None, _lock: lock, committed: false });
        };
        let path = std::path::absolute(shown).during("find", shown)?;
        // Before its folder is made, nobody is to see that the name is free.
        if let Some(path) = taken(&place) {
            return Err(Error::NameInUse { name: name.to_string(), path });
        }
        let lock = claim(&path)?.ok_or_else(|| Error::PathInUse(shown.into()))?;
        let mut draft = Self { path, shown: shown.into(), name, link: None, _lock: lock, committed: false };
        // After it is locked, so that nobody takes the link for one that a crash left.
        link(bundles, &place, &draft.path, &draft.name)?;
        draft.link = Some(place);
        Ok(draft)
    }

    /// The folder, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder, as the user gave it.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// The container's name.
    pub fn name(&self) -> &ContainerName {
        &self.name
    }

    /// Writes config.json, which completes the bundle, and returns the path as the user gave it. That of a container which is removed when it
    /// ends, as `is_temporary`, need not outlive the machine.
    pub fn commit(mut self, config: &[u8], is_temporary: bool) -> Result<PathBuf, Error> {
        write(&self.path, "config.json", config, 0o600, !is_temporary)?;
        self.committed = true;
        Ok(self.shown.clone())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.committed {
            // The first error is the one to report; a draft of the same name reuses what stays.
            let _ = unmount(&self.path, &self.path.join("rootfs"), true);
            let _ = remove_tree(&self.path);
            if let Some(link) = &self.link {
                let _ = fs::remove_file(link);
            }
        }
    }
}

/// Creates a folder and locks it; `None` if it is in use. A folder that a crash left (no config.json, no lock) is emptied first.
fn claim(path: &Path) -> Result<Option<OwnedFd>, Error> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).during("create", parent)?;
    }
    let made = match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => Err(error).during("create", path)?,
    };
    let open =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let Ok(folder) = open else { return Ok(None) };
    if rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(None);
    }
    if !made {
        if !path.join(UNFINISHED).exists() || !is_unfinished(path) {
            // An empty folder may become a bundle.
            let empty = fs::read_dir(path).during("read", path)?.next().is_none();
            if !empty {
                return Ok(None);
            }
        } else {
            unmount(path, &path.join("rootfs"), true)?;
            for entry in fs::read_dir(path).during("read", path)?.flatten() {
                if entry.file_name() != UNFINISHED {
                    remove_tree(&entry.path())?;
                }
            }
        }
    }
    File::create(path.join(UNFINISHED)).during("create", path.join(UNFINISHED))?;
    Ok(Some(folder))
}

/// Creates the link `place` to `target`, a folder that is locked, replacing one that a crash left, or whose folder was removed by hand.
pub(super) fn link(bundles: &Path, place: &Path, target: &Path, name: &ContainerName) -> Result<(), Error> {
    let mut sweeping = None;
    loop {
        match std::os::unix::fs::symlink(target, place) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => Err(error).during("create", place)?,
        }
        if let Some(path) = taken(place) {
            return Err(Error::NameInUse { name: name.to_string(), path });
        }
        if sweeping.is_none() {
            // One at a time, lest two see the same remains and the second removes the link that the first has made.
            let folder = File::open(bundles).during("open", bundles)?;
            rustix::fs::flock(&folder, FlockOperation::LockExclusive)
                .map_err(io::Error::from)
                .during("lock", bundles)?;
            sweeping = Some(folder);
        } else {
            gone(fs::remove_file(place)).during("remove", place)?;
        }
    }
}

/// The folder that has a name: one that is complete, or locked because it is being made or renamed. What else stands there, such as a name
/// that a killed `rename` did not remove, is of no use.
fn taken(place: &Path) -> Option<PathBuf> {
    let Ok(target) = fs::read_link(place) else {
        return fs::symlink_metadata(place).is_ok().then(|| place.to_owned());
    };
    let is_locked = || {
        File::open(&target)
            .is_ok_and(|folder| rustix::fs::flock(&folder, FlockOperation::NonBlockingLockShared).is_err())
    };
    // What cannot be read may be anybody's.
    let is_its_name = || match Bundle::open(&target) {
        Ok(bundle) => bundle.annotation(annotation::NAME).is_none_or(|name| place.ends_with(name)),
        Err(error) => !matches!(error, Error::NoSuchBundle(_)),
    };
    (is_locked() || is_its_name()).then_some(target)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes a file atomically: after a crash of the machine it is the old one or the new one, and whole.
pub(crate) fn replace(folder: &Path, name: &str, content: &[u8], mode: u32) -> Result<(), Error> {
    write(folder, name, content, mode, true)
}

/// Writes a file atomically. Without `flushed`, a crash of the machine may leave an empty one.
fn write(folder: &Path, name: &str, content: &[u8], mode: u32, flushed: bool) -> Result<(), Error> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    let write = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(fs::Permissions::from_mode(mode))
            .tempfile_in(folder)?;
        file.write_all(content)?;
        // The umask may have cleared bits that the container's user needs.
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        if flushed {
            file.as_file().sync_all()?;
        }
        // The folder's entry follows with the file system's next commit, as docker's does: a second one would cost more than all the rest.
        Ok(file.persist(&path).map(drop)?)
    };
    Ok(write().during("write", &path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ContainerName {
        text.parse().unwrap()
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let bundles = folder.path().join("bundles");
        let draft = Draft::create(&bundles, Some(name("web")), None).unwrap();
        fs::create_dir(draft.path().join("rootfs")).unwrap();
        assert!(matches!(Draft::create(&bundles, Some(name("web")), None), Err(Error::NameInUse { .. })));
        drop(draft);
        assert_eq!(fs::read_dir(&bundles).unwrap().count(), 0);
    }

    #[test]
    fn a_name_that_a_killed_rename_left_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let bundles = folder.path().join("bundles");
        let config = br#"{"annotations":{"org.oci-tools.name":"old"}}"#;
        let path = folder.path().join("place");
        Draft::create(&bundles, Some(name("old")), Some(&path)).unwrap().commit(config, false).unwrap();
        std::os::unix::fs::symlink(&path, bundles.join("new")).unwrap();
        let other = folder.path().join("other");
        let create = |text: &str| Draft::create(&bundles, Some(name(text)), Some(&other));
        assert!(matches!(create("old"), Err(Error::NameInUse { .. })));
        let renaming = File::open(&path).unwrap();
        rustix::fs::flock(&renaming, FlockOperation::LockExclusive).unwrap();
        assert!(matches!(create("new"), Err(Error::NameInUse { .. })), "it is being renamed");
        drop(renaming);
        assert_eq!(create("new").unwrap().name().as_str(), "new");
        std::os::unix::fs::symlink(&path, bundles.join("new")).unwrap();
        super::super::remove(&bundles, &Bundle::open(&path).unwrap(), false).unwrap();
        assert_eq!(fs::read_dir(&bundles).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_with_files_is_no_place_for_a_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("precious"), "").unwrap();
        let outcome = Draft::create(&folder.path().join("bundles"), None, Some(&path));
        assert!(matches!(outcome, Err(Error::PathInUse(_))));
        assert!(path.join("precious").exists());
    }
}
