//! Volumes on disk: `volumes/NAME/_data` holds the files, `volume.json` beside it the labels.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{Error, copy};
use crate::bundle::name::is_name;

/// The folder of all volumes.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

/// A volume on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The name, also of anonymous volumes.
    pub name: String,
    /// The folder of the files.
    pub data: PathBuf,
    /// The content of `volume.json`.
    pub about: About,
}

/// What `volume.json` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// When the volume was created (RFC 3339); empty if unknown.
    #[serde(default)]
    pub created: String,
    /// The labels that the user set.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Store {
    /// The store at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Opens a volume or creates it, and returns whether it was created.
    pub fn open_or_create(&self, name: &str, about: &About) -> Result<(Volume, bool), Error> {
        if !is_name(name) {
            return Err(Error::Syntax { text: name.into(), reason: "not a valid volume name".into() });
        }
        let folder = self.0.join(name);
        fs::create_dir_all(&self.0).during("create", &self.0)?;
        let made = match fs::create_dir(&folder) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => Err(error).during("create", &folder)?,
        };
        let data = folder.join("_data");
        // As in docker, every user of the container can read a volume until the container changes its mode.
        match rustix::fs::mkdir(&data, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => Err(errno).during("create", &data)?,
        }
        let described = folder.join("volume.json");
        if made {
            let json = serde_json::to_vec_pretty(about).expect("strings are JSON");
            fs::write(&described, json).during("write", &described)?;
        }
        Ok((self.read(name), made))
    }

    /// The volume of that name.
    pub fn open(&self, name: &str) -> Result<Volume, Error> {
        if is_name(name) && self.0.join(name).join("_data").is_dir() {
            Ok(self.read(name))
        } else {
            Err(Error::NoVolume(name.into()))
        }
    }

    fn read(&self, name: &str) -> Volume {
        let folder = self.0.join(name);
        // A volume that was created by hand lacks it.
        let about = fs::read(folder.join("volume.json")).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Volume { name: name.into(), data: folder.join("_data"), about: about.unwrap_or_default() }
    }

    /// All volumes, sorted by name.
    pub fn list(&self) -> Result<Vec<Volume>, Error> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => Err(error).during("read", &self.0)?,
        };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names.iter().filter_map(|name| self.open(name).ok()).collect())
    }

    /// Removes a volume with its content.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let volume = self.open(name)?;
        let folder = volume.data.parent().expect("a volume's data is in the volume's folder");
        Ok(fs::remove_dir_all(folder).during("remove", folder)?)
    }
}

/// Fills an empty volume with the image's content of `target`. Nothing happens if the volume has content or the target is not a folder.
pub(crate) fn copy_up(rootfs: BorrowedFd<'_>, target: &Path, data: &Path) -> Result<(), Error> {
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = target.strip_prefix("/").unwrap_or(target);
    let source = match rustix::fs::openat2(
        rootfs,
        inside,
        open,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    ) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(Errno::LOOP) => {
            return Err(Error::Unusable { path: target.into(), reason: "too many symbolic links in the image" });
        }
        Err(errno) => Err(errno).during("open the image's", target)?,
    };
    if fs::read_dir(data).during("fill", data)?.next().is_some() {
        return Ok(());
    }
    let folder = rustix::fs::open(data, open, Mode::empty()).during("fill", data)?;
    Ok(copy::copy_tree(source.as_fd(), folder.as_fd()).during("fill", data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_made_once_and_keeps_its_data() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("volumes"));
        assert!(store.list().unwrap().is_empty());
        let about = About { created: "2026-01-01T00:00:00Z".into(), ..About::default() };
        let (volume, made) = store.open_or_create("data", &about).unwrap();
        assert!(made);
        fs::write(volume.data.join("kept"), "").unwrap();
        let (again, made) = store.open_or_create("data", &About::default()).unwrap();
        assert!(!made && again == volume);
        assert_eq!(store.list().unwrap(), [volume]);
        store.remove("data").unwrap();
        assert_eq!(store.remove("data").unwrap_err().to_string(), "data: no such volume (bundle-tool volume ls)");
    }

    #[test]
    fn names_that_would_lead_out_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        for name in ["..", "a/b", "", "."] {
            assert!(store.open_or_create(name, &About::default()).is_err() && store.remove(name).is_err(), "{name}");
        }
    }

    #[test]
    fn only_an_empty_volume_is_filled() {
        let folder = tempfile::tempdir().unwrap();
        let (rootfs, data) = (folder.path().join("rootfs"), folder.path().join("data"));
        fs::create_dir_all(rootfs.join("var/lib/app")).unwrap();
        fs::write(rootfs.join("var/lib/app/seed"), "1").unwrap();
        fs::create_dir(&data).unwrap();
        let root = fs::File::open(&rootfs).unwrap();
        copy_up(root.as_fd(), Path::new("/nowhere"), &data).unwrap();
        copy_up(root.as_fd(), Path::new("/var/lib/app"), &data).unwrap();
        assert_eq!(fs::read(data.join("seed")).unwrap(), b"1");
        fs::write(rootfs.join("var/lib/app/later"), "").unwrap();
        copy_up(root.as_fd(), Path::new("/var/lib/app"), &data).unwrap();
        assert!(!data.join("later").exists());
    }
}
