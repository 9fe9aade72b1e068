//! Volumes on disk: `volumes/NAME/_data` holds the files, `volume.json` beside it the labels.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use rustix::fs::{FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::local::FileSystem;
use super::{Error, copy};
use crate::bundle::name::is_name;
use crate::rootfs;

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
    /// The options of the local driver: `type`, `device` and `o`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

impl Store {
    /// The store at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Opens a volume or creates it. As long as the returned [`Hold`] exists, nobody can remove the volume.
    pub fn open_or_create(&self, name: &str, about: &About) -> Result<(Volume, Hold), Error> {
        if !is_name(name) {
            return Err(Error::Syntax { text: name.into(), reason: "not a valid volume name".into() });
        }
        FileSystem::parse(&about.options)?;
        let folder = self.0.join(name);
        fs::create_dir_all(&self.0).during("create", &self.0)?;
        let (made, hold) = loop {
            let made = match fs::create_dir(&folder) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => Err(error).during("create", &folder)?,
            };
            // Somebody may have removed it between these two calls.
            if let Some(hold) = Hold::take(&folder, FlockOperation::LockShared)? {
                break (made, hold);
            }
        };
        let data = folder.join(DATA);
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
        Ok((self.read(name), hold))
    }

    /// The folder of a volume's files, which need not exist.
    pub fn data(&self, name: &str) -> PathBuf {
        self.0.join(name).join(DATA)
    }

    /// The volume and the folder in it that a path names; `None` if it is not in a volume's files.
    pub fn containing<'a>(&self, path: &'a Path) -> Option<(&'a str, Option<&'a Path>)> {
        let inside = path.strip_prefix(&self.0).ok()?;
        let name = inside.iter().next()?.to_str().filter(|name| is_name(name))?;
        let rest = inside.strip_prefix(Path::new(name).join(DATA)).ok()?;
        Some((name, Some(rest).filter(|rest| !rest.as_os_str().is_empty())))
    }

    /// The volume of that name.
    pub fn open(&self, name: &str) -> Result<Volume, Error> {
        if is_name(name) && self.0.join(name).join(DATA).is_dir() {
            Ok(self.read(name))
        } else {
            Err(Error::NoVolume(name.into()))
        }
    }

    fn read(&self, name: &str) -> Volume {
        let folder = self.0.join(name);
        // A volume that was created by hand lacks it.
        let about = fs::read(folder.join("volume.json")).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Volume { name: name.into(), data: folder.join(DATA), about: about.unwrap_or_default() }
    }

    /// The volume of that name, with a claim that keeps it from being removed.
    pub fn hold(&self, name: &str) -> Result<(Volume, Hold), Error> {
        let volume = self.open(name)?;
        match Hold::take(&self.0.join(name), FlockOperation::LockShared)? {
            Some(hold) => Ok((volume, hold)),
            None => Err(Error::NoVolume(name.into())),
        }
    }

    /// Mounts the file system of a volume that has one, unless it is mounted.
    pub fn mount(&self, volume: &Volume) -> Result<(), Error> {
        FileSystem::parse(&volume.about.options)?.map_or(Ok(()), |system| system.mount(&volume.data))
    }

    /// Unmounts the file system of a volume that has one.
    pub fn unmount(&self, volume: &Volume) -> Result<(), Error> {
        if volume.about.options.is_empty() {
            return Ok(());
        }
        let failed = |error: rootfs::Error| io::Error::other(error.to_string());
        Ok(rootfs::unmount(&volume.data, true).map(drop).map_err(failed).during("unmount", &volume.data)?)
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

    /// Removes a volume with its content, unless `users` names a bundle that uses it or one is just being created with it.
    pub fn remove<E: From<Error>>(&self, name: &str, users: impl FnOnce() -> Result<Vec<String>, E>) -> Result<(), E> {
        let volume = self.open(name)?;
        let folder = volume.data.parent().expect("a volume's data is in the volume's folder");
        // A bundle counts as a user once it is complete; until then its creator has a hold.
        let Some(_hold) = Hold::take(folder, FlockOperation::NonBlockingLockExclusive)? else {
            return Err(Error::NoVolume(name.into()).into());
        };
        if let Some(bundle) = users()?.into_iter().next() {
            return Err(Error::InUse { volume: name.into(), bundle }.into());
        }
        self.unmount(&volume)?;
        // Killed on the way, it leaves no half of a volume: a name with a dot in front is none.
        let gone = self.0.join(format!(".removed-{}", crate::bundle::name::random_id()));
        fs::rename(folder, &gone).during("remove", folder).map_err(Error::from)?;
        self.sweep();
        Ok(())
    }

    /// Removes what was renamed for removal, now or by a process that was killed.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".removed-") {
                // The next removal tries again; the volume is gone in any case.
                if let Err(error) = fs::remove_dir_all(entry.path()) {
                    tracing::warn!("remove {}: {error}", entry.path().display());
                }
            }
        }
    }
}

/// The folder of a volume's files.
const DATA: &str = "_data";

/// A claim on a volume, given up when it is dropped or its process ends.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "held for its drop")] OwnedFd);

impl Hold {
    /// Locks the folder of a volume; `None` if it does not exist or was removed meanwhile.
    fn take(folder: &Path, operation: FlockOperation) -> Result<Option<Self>, Error> {
        let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = match rustix::fs::open(folder, open, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => Err(errno).during("open", folder)?,
        };
        match rustix::fs::flock(&opened, operation) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::Claimed(volume_name(folder))),
            Err(errno) => Err(errno).during("lock", folder)?,
        }
        let held = rustix::fs::fstat(&opened).during("stat", folder)?;
        let same = rustix::fs::stat(folder).is_ok_and(|now| (now.st_dev, now.st_ino) == (held.st_dev, held.st_ino));
        Ok(same.then_some(Self(opened)))
    }
}

fn volume_name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The copy of the image's files while it is made, and once it is complete.
const FILLING: &str = ".filling";
const FILLED: &str = ".filled";

/// Fills an empty volume with the image's content of `target`. Nothing happens if the volume has content or the target is not a folder.
///
/// The files are copied to a folder beside `data`, which then takes its place by one rename: whoever looks, at any moment, sees all of the
/// files or none. If `used` says that a bundle has the volume already, its folder must stay the same one, since it may be mounted; then the
/// files are moved there one by one, and if that is interrupted, the next user of the volume completes it. One process at a time fills.
pub(crate) fn copy_up<E: From<Error>>(
    rootfs: BorrowedFd<'_>,
    target: &Path,
    data: &Path,
    used: impl FnOnce() -> Result<bool, E>,
) -> Result<(), E> {
    let folder = data.parent().expect("a volume's data is in the volume's folder");
    let lock = folder.join(".lock");
    let locked = fs::File::create(&lock).during("create", &lock).map_err(Error::from)?;
    rustix::fs::flock(&locked, FlockOperation::LockExclusive).during("lock", &lock).map_err(Error::from)?;
    let (filling, filled) = (folder.join(FILLING), folder.join(FILLED));
    if filled.exists() {
        publish(&filled, data)?;
    }
    let Some(source) = source_of(rootfs, target)? else { return Ok(()) };
    let mut entries = fs::read_dir(data).during("fill", data).map_err(Error::from)?;
    if entries.next().is_some() {
        return Ok(());
    }
    if mounted_apart(folder, data).during("stat", data).map_err(Error::from)? {
        let data_fd = fs::File::open(data).during("open", data).map_err(Error::from)?;
        return Ok(copy::copy_tree(source.as_fd(), data_fd.as_fd()).during("fill", data).map_err(Error::from)?);
    }
    copy_to(&source, &filling).during("fill", data).map_err(Error::from)?;
    if used()? {
        fs::rename(&filling, &filled).during("fill", data).map_err(Error::from)?;
        return Ok(publish(&filled, data)?);
    }
    // rename(2) puts a folder in the place of an empty one.
    Ok(fs::rename(&filling, data).during("fill", data).map_err(Error::from)?)
}

/// Whether `data` is another file system, whose root nothing can take the place of. It is filled in place.
fn mounted_apart(folder: &Path, data: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(folder)?.dev() != fs::metadata(data)?.dev())
}

/// The folder at `target` in the image; `None` if there is none.
fn source_of(rootfs: BorrowedFd<'_>, target: &Path) -> Result<Option<OwnedFd>, Error> {
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(rootfs, target.strip_prefix("/").unwrap_or(target), open, Mode::empty(), resolve) {
        Ok(source) => Ok(Some(source)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(Errno::LOOP) => {
            Err(Error::Unusable { path: target.into(), reason: "too many symbolic links in the image" })
        }
        Err(errno) => Ok(Err(errno).during("open the image's", target)?),
    }
}

/// Copies a folder to a new one at `filling`, in the place of what a killed process left there.
fn copy_to(source: &OwnedFd, filling: &Path) -> io::Result<()> {
    match fs::remove_dir_all(filling) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir(filling)?;
    let made = rustix::fs::open(filling, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    copy::copy_tree(source.as_fd(), made.as_fd())
}

/// Moves the files of a complete copy to a folder that stays the same one, with the copy's owner, mode and times.
fn publish(filled: &Path, data: &Path) -> Result<(), Error> {
    let publish = || -> io::Result<()> {
        let names: Vec<_> = fs::read_dir(filled)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        for name in names {
            fs::rename(filled.join(&name), data.join(&name))?;
        }
        copy::copy_attributes_of(fs::File::open(filled)?.as_fd(), fs::File::open(data)?.as_fd())?;
        fs::remove_dir(filled)
    };
    Ok(publish().during("fill", data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "the volume store asks a function that can fail")]
    fn none() -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    #[test]
    fn a_volume_is_made_once_and_keeps_its_data() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("volumes"));
        assert!(store.list().unwrap().is_empty());
        let about = About { created: "2026-01-01T00:00:00Z".into(), ..About::default() };
        let (volume, hold) = store.open_or_create("data", &about).unwrap();
        fs::write(volume.data.join("kept"), "").unwrap();
        let (again, second) = store.open_or_create("data", &About::default()).unwrap();
        assert!(again == volume && again.about == about);
        assert_eq!(store.list().unwrap(), std::slice::from_ref(&volume));
        assert!(matches!(store.remove("data", none), Err(Error::Claimed(_))), "a bundle is being created with it");
        drop((hold, second));
        let used = store.remove("data", || Ok::<_, Error>(vec!["web".into()])).unwrap_err().to_string();
        assert_eq!(used, "data: volume in use by web (bundle-tool delete web)");
        assert!(volume.data.join("kept").exists());
        store.remove("data", none).unwrap();
        assert_eq!(store.remove("data", none).unwrap_err().to_string(), "data: no such volume (bundle-tool volume ls)");
        assert_eq!(fs::read_dir(folder.path().join("volumes")).unwrap().count(), 0);
    }

    #[test]
    fn a_path_in_a_volume_is_known() {
        let store = Store::new("/oci/volumes");
        assert_eq!(store.containing(Path::new("/oci/volumes/data/_data")), Some(("data", None)));
        let within = store.containing(Path::new("/oci/volumes/data/_data/a/b"));
        assert_eq!(within, Some(("data", Some(Path::new("a/b")))));
        for path in ["/oci/volumes", "/oci/volumes/data", "/oci/volumes/data/other", "/etc", "/oci/volumes/../x/_data"]
        {
            assert_eq!(store.containing(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn names_that_would_lead_out_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        for name in ["..", "a/b", "", "."] {
            assert!(
                store.open_or_create(name, &About::default()).is_err() && store.remove(name, none).is_err(),
                "{name}"
            );
        }
    }

    /// An image's folder and a volume.
    struct Filling(tempfile::TempDir, fs::File, PathBuf);

    impl Filling {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (rootfs, data) = (folder.path().join("rootfs"), folder.path().join("volume/_data"));
            fs::create_dir_all(rootfs.join("app")).unwrap();
            fs::write(rootfs.join("app/seed"), "1").unwrap();
            fs::write(rootfs.join("app/second"), "2").unwrap();
            fs::create_dir_all(&data).unwrap();
            let root = fs::File::open(&rootfs).unwrap();
            Self(folder, root, data)
        }

        fn fill(&self, target: &str, used: bool) {
            copy_up(self.1.as_fd(), Path::new(target), &self.2, || Ok::<_, Error>(used)).unwrap();
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(&self.2).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    }

    #[test]
    fn only_an_empty_volume_is_filled() {
        let filling = Filling::new();
        filling.fill("/nowhere", false);
        assert!(filling.names().is_empty());
        filling.fill("/app", false);
        assert_eq!(filling.names(), ["second", "seed"]);
        fs::write(filling.0.path().join("rootfs/app/later"), "").unwrap();
        filling.fill("/app", false);
        assert_eq!(filling.names(), ["second", "seed"]);
    }

    #[test]
    fn what_a_killed_process_left_is_copied_anew_or_completed() {
        let filling = Filling::new();
        let beside = |name: &str| filling.2.with_file_name(name);
        fs::create_dir_all(beside(FILLING).join("half")).unwrap();
        filling.fill("/app", false);
        assert_eq!(filling.names(), ["second", "seed"]);
        assert!(!beside(FILLING).exists());
        // One of two files was moved when the process ended.
        fs::create_dir(beside(FILLED)).unwrap();
        fs::rename(filling.2.join("second"), beside(FILLED).join("second")).unwrap();
        filling.fill("/nowhere", false);
        assert_eq!(filling.names(), ["second", "seed"]);
        assert!(!beside(FILLED).exists());
    }

    #[test]
    fn a_volume_that_a_container_has_stays_the_same_folder() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        for used in [true, false] {
            let filling = Filling::new();
            let app = filling.0.path().join("rootfs/app");
            fs::set_permissions(app, fs::Permissions::from_mode(0o2751)).unwrap();
            let before = fs::metadata(&filling.2).unwrap().ino();
            filling.fill("/app", used);
            let after = fs::metadata(&filling.2).unwrap();
            assert_eq!((after.ino() == before, after.mode() & 0o7777), (used, 0o2751));
            assert_eq!(filling.names(), ["second", "seed"]);
        }
    }
}
