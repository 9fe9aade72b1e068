//! Bundles on disk: creating one under its name (`draft`), finding it again, removing it (`remove`).
//!
//! `bundles/NAME` is a bundle's folder, or a symbolic link to one elsewhere (`--bundle PATH`). Either way a single `mkdir` or `symlink`
//! takes the name, which is atomic. config.json is written last and by a rename, so a folder that has one is a complete bundle. A folder
//! without one is either being created, in which case it is locked, or was left by a crash and may be reused.
//!
//! This room holds what is on disk: the folder, its name, its annotations, a systemd unit of it. It knows `rootfs`, to unmount, and
//! `option`; the content of a bundle is made by `container`.

pub mod annotation;
mod draft;
pub mod name;
mod remove;
pub mod unit;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::name::ContainerName;
use crate::rootfs;

pub use draft::Draft;
pub(crate) use draft::replace;
pub(crate) use remove::remove_tree;
pub use remove::{place, remove, remove_unfinished};

/// Why a bundle cannot be created, found or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A container of that name exists.
    #[error("{name}: name already in use by {} (bundle-tool delete {name}, or another --name)", .path.display())]
    NameInUse {
        /// The name that was asked for.
        name: String,
        /// The bundle that has it.
        path: PathBuf,
    },
    /// The path exists.
    #[error("{}: path exists (bundle-tool delete it, or another --bundle)", .0.display())]
    PathInUse(PathBuf),
    /// No bundle has that name, id or path.
    #[error("{0}: no such bundle (bundle-tool ps -a lists them)")]
    NoSuchBundle(String),
    /// Several ids begin with these digits.
    #[error("{0}: {1} ids begin with these digits (give more of them)")]
    Ambiguous(String, usize),
    /// config.json is not valid JSON.
    #[error("{}", .path.display())]
    Config {
        /// The path of config.json.
        path: PathBuf,
        /// The parser's reason, with line and column.
        source: serde_json::Error,
    },
    /// A process runs in the bundle.
    #[error("{}: process {pid} runs in it (stop it first, or --force)", .path.display())]
    Running {
        /// The folder of the bundle.
        path: PathBuf,
        /// One of the processes.
        pid: i32,
    },
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
    /// A file system cannot be unmounted.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
}

/// A volume that a bundle uses, as its annotation names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The name of the volume.
    pub name: String,
    /// Whether it was created for this container alone (docker's anonymous volumes).
    pub anonymous: bool,
}

/// A bundle with its config.json.
#[derive(Clone, Debug)]
pub struct Bundle {
    path: PathBuf,
    config: Value,
}

impl Bundle {
    /// Opens the bundle at `path`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = path.join("config.json");
        let json = match fs::read(&file) {
            // What a crash of the machine leaves of a file that was not yet on the disk is no bundle either.
            Ok(json) if json.is_empty() => return Err(Error::NoSuchBundle(path.display().to_string())),
            Ok(json) => json,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(Error::NoSuchBundle(path.display().to_string()));
            }
            Err(error) => Err(error).during("read", &file)?,
        };
        let config = serde_json::from_slice(&json).map_err(|source| Error::Config { path: file, source })?;
        Ok(Self { path: path.to_owned(), config })
    }

    /// Finds a bundle by a container's name, its id for the runtime, a path, or the first digits of an id, in this order.
    pub fn find(bundles: &Path, text: &str) -> Result<Self, Error> {
        if text.parse::<ContainerName>().is_ok()
            && let Ok(found) = Self::open(&resolve(&bundles.join(text)))
            && (found.annotation(annotation::NAME).is_none_or(|name| name == text) || found.runtime_id() == text)
        {
            return Ok(found);
        }
        match Self::open(Path::new(text)) {
            Err(Error::NoSuchBundle(_)) => {}
            other => return other,
        }
        // The link by which its name leads to its folder may have been removed by hand.
        if let Some(found) = Self::list(bundles)?.into_iter().find(|bundle| bundle.name() == text) {
            return Ok(found);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let mut found = Self::list(bundles)?;
            found.retain(|bundle| bundle.annotation(annotation::ID).is_some_and(|id| id.starts_with(text)));
            match found.len() {
                0 => {}
                1 => return Ok(found.remove(0)),
                count => return Err(Error::Ambiguous(text.into(), count)),
            }
        }
        Err(Error::NoSuchBundle(text.into()))
    }

    /// The id for the runtime that a container had whose folder is gone: its name still leads there.
    pub fn lost(bundles: &Path, name: &str) -> Option<String> {
        let target = fs::read_link(bundles.join(name.parse::<ContainerName>().ok()?.as_str())).ok()?;
        let id = target.file_name()?.to_str()?;
        (name::is_id(id) && is_unfinished(&target)).then(|| id.to_owned())
    }

    /// All bundles of the folder, sorted by name. Entries that are not valid bundles are left out.
    pub fn list(bundles: &Path) -> Result<Vec<Self>, Error> {
        let entries = match fs::read_dir(bundles) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => Err(error).during("read", bundles)?,
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        // A container that was renamed has a folder and a link.
        let mut seen = BTreeSet::new();
        let places = paths.iter().map(|path| resolve(path)).filter(|place| seen.insert(place.clone()));
        let mut all: Vec<Self> = places.filter_map(|place| Self::open(&place).ok()).collect();
        all.sort_by_key(Self::name);
        Ok(all)
    }

    /// The bundle's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of config.json.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.config.get("annotations")?.get(key)?.as_str()
    }

    /// The container's name; the folder's for a bundle that another tool made.
    pub fn name(&self) -> String {
        let folder = || self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // config.json may come from anyone, and a name becomes part of paths and units.
        self.annotation(annotation::NAME).filter(|name| name::is_name(name)).map_or_else(folder, str::to_owned)
    }

    /// The container's id for the runtime: its id, if docker made it, or else the name that it was created with.
    pub fn runtime_id(&self) -> String {
        let first = self.annotation(annotation::RUNTIME_ID).filter(|name| name::is_name(name));
        first.map_or_else(|| self.name(), str::to_owned)
    }

    /// Gives the container another name. Its folder stays where it is, since a supervisor may work in it, and so does its id for the runtime.
    pub fn rename(&self, bundles: &Path, name: &ContainerName) -> Result<(), Error> {
        let place = bundles.join(name.as_str());
        let path = std::path::absolute(&self.path).during("find", &self.path)?;
        // As long as it is locked, both names are its own.
        let folder = File::open(&path).during("open", &path)?;
        rustix::fs::flock(&folder, FlockOperation::LockExclusive).map_err(io::Error::from).during("lock", &path)?;
        if place != path {
            draft::link(bundles, &place, &path, name)?;
        }
        let (old, runtime_id) = (bundles.join(self.name()), self.runtime_id());
        let mut config = self.config.clone();
        config["annotations"][annotation::NAME] = name.as_str().into();
        config["annotations"][annotation::RUNTIME_ID] = runtime_id.into();
        replace(&self.path, "config.json", &crate::config::json(&mut config), 0o600)?;
        if fs::read_link(&old).is_ok_and(|target| target == path) {
            fs::remove_file(&old).during("remove", &old)?;
        }
        Ok(())
    }

    /// The volumes that the container uses.
    pub fn volumes(&self) -> Vec<Used> {
        self.annotation(annotation::VOLUMES).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    /// The path of the root file system.
    pub fn rootfs(&self) -> PathBuf {
        let path = self.config.pointer("/root/path").and_then(Value::as_str).unwrap_or("rootfs");
        self.path.join(path)
    }

    /// The folder of what the container has written, if its root file system is an overlay.
    pub fn upper(&self) -> PathBuf {
        writable(&self.path).join("upper")
    }

    /// The diff ids of the layers beneath the writable one, lowest first; `None` if the root file system is a copy of the image.
    pub fn layers(&self) -> Result<Option<Vec<String>>, Error> {
        let file = self.path.join(LAYERS);
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text.lines().map(str::to_owned).collect())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Ok(Err(error).during("read", &file)?),
        }
    }

    /// A process whose root directory is the bundle's root file system.
    ///
    /// Found in /proc and not by asking a runtime, so that it does not matter which runtime started it or whether its state is lost.
    pub fn occupant(&self) -> Option<i32> {
        occupant(&self.rootfs())
    }

    /// Whether the process `pid` has the bundle's root file system as its root directory.
    pub fn has_process(&self, pid: i32) -> bool {
        fs::metadata(self.rootfs()).is_ok_and(|root| is_root_of(&root, Path::new(&format!("/proc/{pid}"))))
    }
}

/// A process whose root directory is the root file system `rootfs`.
pub(crate) fn occupant(rootfs: &Path) -> Option<i32> {
    let root = fs::metadata(rootfs).ok()?;
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        is_root_of(&root, &entry.path()).then_some(pid)
    })
}

fn is_root_of(root: &fs::Metadata, process: &Path) -> bool {
    fs::metadata(process.join("root")).is_ok_and(|found| (found.dev(), found.ino()) == (root.dev(), root.ino()))
}

/// Whether a folder is no bundle, or not a whole one.
fn is_unfinished(folder: &Path) -> bool {
    matches!(Bundle::open(folder), Err(Error::NoSuchBundle(_)))
}

/// Follows the link of a bundle that is elsewhere.
fn resolve(path: &Path) -> PathBuf {
    fs::read_link(path).unwrap_or_else(|_| path.to_owned())
}

/// The folder in a bundle that holds copies of images which are mounted into the container.
pub const IMAGES: &str = "images";

/// The folder in a bundle that holds a shareable /dev/shm.
pub const SHM: &str = "shm";

/// The file in a bundle that holds the file system of a writable layer of limited size.
pub const SIZED: &str = "writable.ext4";

/// The folder in a bundle where that file system is mounted.
const WRITABLE: &str = "writable";

/// The folder that holds a bundle's writable layer, `upper`, and what overlayfs needs beside it, `work`: the bundle's own, or that of a file
/// system of limited size.
pub fn writable(folder: &Path) -> PathBuf {
    if folder.join(SIZED).exists() { folder.join(WRITABLE) } else { folder.to_owned() }
}

/// The folder in which an overlay is tried before layers are stored for one; its mount point is `target` in it.
pub const PROBE: &str = "probe";

/// Unmounts a bundle's root file system with its writable layer, its shareable /dev/shm, and what a killed creation was trying.
fn unmount(folder: &Path, rootfs: &Path, lazily: bool) -> Result<(), rootfs::Error> {
    unmount_rootfs(folder, rootfs, lazily)?;
    rootfs::unmount(&folder.join(PROBE).join("target"), true)?;
    // Lazily: a container that shares the memory has a mount of its own.
    rootfs::unmount(&folder.join(SHM), true).map(drop)
}

/// Unmounts a bundle's root file system, and its writable layer if that is a file system of its own. Returns false if neither was mounted.
pub(crate) fn unmount_rootfs(folder: &Path, rootfs: &Path, lazily: bool) -> Result<bool, rootfs::Error> {
    let unmounted = rootfs::unmount(rootfs, lazily)?;
    Ok(rootfs::unmount(&folder.join(WRITABLE), lazily)? || unmounted)
}

/// The file that lists the diff ids of the layers beneath the writable one, lowest first.
pub const LAYERS: &str = "layers";

/// The file that marks a folder as one of ours before it has a config.json. It stays in the complete bundle, where it means nothing.
const UNFINISHED: &str = ".bundle";

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ContainerName {
        text.parse().unwrap()
    }

    const CONFIG: &[u8] =
        br#"{"annotations":{"org.oci-tools.name":"web","org.oci-tools.id":"abc123"},"root":{"path":"rootfs"}}"#;

    #[test]
    fn a_bundle_is_found_by_name_path_and_id() {
        let folder = tempfile::tempdir().unwrap();
        let bundles = folder.path().join("bundles");
        let path = folder.path().join("elsewhere/py");
        let draft = Draft::create(&bundles, Some(name("web")), Some(&path)).unwrap();
        assert_eq!(draft.commit(CONFIG, false).unwrap(), path);
        for text in ["web", "abc", "abc123", path.to_str().unwrap()] {
            assert_eq!(Bundle::find(&bundles, text).unwrap().path(), path, "{text}");
        }
        assert_eq!(Bundle::list(&bundles).unwrap().len(), 1);
        for text in ["other", "abd", "", "..", "/nowhere"] {
            assert!(matches!(Bundle::find(&bundles, text), Err(Error::NoSuchBundle(_))), "{text}");
        }
        let message = Draft::create(&bundles, Some(name("web")), None).unwrap_err().to_string();
        assert!(message.starts_with("web: name already in use by "), "{message}");
        assert!(matches!(Draft::create(&bundles, Some(name("other")), Some(&path)), Err(Error::PathInUse(_))));
        assert!(!bundles.join("other").exists());

        let bundle = Bundle::find(&bundles, "web").unwrap();
        remove(&bundles, &bundle, false).unwrap();
        remove(&bundles, &bundle, false).unwrap();
        assert!(!path.exists() && fs::symlink_metadata(bundles.join("web")).is_err());
    }

    #[test]
    fn a_bundle_whose_config_never_reached_the_disk_is_removed_like_one_that_was_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let bundles = folder.path().join("bundles");
        let id = "a".repeat(64);
        let path = bundles.join(&id);
        Draft::create(&bundles, Some(name("web")), Some(&path)).unwrap().commit(CONFIG, true).unwrap();
        fs::write(path.join("config.json"), "").unwrap();
        assert_eq!(Bundle::list(&bundles).unwrap().len(), 0);
        assert_eq!(Bundle::lost(&bundles, "web").unwrap(), id);
        assert!(remove_unfinished(&bundles, "web").unwrap());
        assert!(!path.exists() && fs::symlink_metadata(bundles.join("web")).is_err());
    }

    #[test]
    fn a_container_keeps_its_folder_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let bundles = folder.path().join("bundles");
        for (text, id) in [("web", "abc123"), ("other", "def456")] {
            let draft = Draft::create(&bundles, Some(name(text)), None).unwrap();
            let config = format!(r#"{{"annotations":{{"org.oci-tools.name":"{text}","org.oci-tools.id":"{id}"}}}}"#);
            draft.commit(config.as_bytes(), false).unwrap();
        }
        let bundle = Bundle::find(&bundles, "web").unwrap();
        assert!(matches!(bundle.rename(&bundles, &name("other")), Err(Error::NameInUse { .. })));
        bundle.rename(&bundles, &name("site")).unwrap();
        let bundle = Bundle::find(&bundles, "site").unwrap();
        assert_eq!((bundle.name().as_str(), bundle.runtime_id().as_str()), ("site", "web"));
        assert_eq!(Bundle::list(&bundles).unwrap().len(), 2);
        bundle.rename(&bundles, &name("page")).unwrap();
        assert!(fs::symlink_metadata(bundles.join("site")).is_err());
        let bundle = Bundle::find(&bundles, "page").unwrap();
        bundle.rename(&bundles, &name("web")).unwrap();
        let bundle = Bundle::find(&bundles, "web").unwrap();
        bundle.rename(&bundles, &name("last")).unwrap();
        remove(&bundles, &Bundle::find(&bundles, "last").unwrap(), false).unwrap();
        assert_eq!(fs::read_dir(&bundles).unwrap().count(), 1);
    }

    #[test]
    fn what_a_crash_left_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let bundles = folder.path().join("bundles");
        fs::create_dir(&bundles).unwrap();
        assert!(!remove_unfinished(&bundles, "unknown").unwrap());
        fs::create_dir(bundles.join("crashed")).unwrap();
        fs::write(bundles.join("crashed/.bundle"), "").unwrap();
        fs::write(bundles.join("crashed/hosts"), "half").unwrap();
        let again = Draft::create(&bundles, Some(name("crashed")), None).unwrap();
        assert!(!again.path().join("hosts").exists());
        drop(again);
        fs::create_dir(bundles.join("crashed")).unwrap();
        fs::write(bundles.join("crashed/.bundle"), "").unwrap();
        assert!(remove_unfinished(&bundles, "crashed").unwrap());
        assert!(!bundles.join("crashed").exists());
    }

    #[test]
    fn what_rm_left_of_a_bundle_is_removed_and_what_is_none_stays() {
        let folder = tempfile::tempdir().unwrap();
        let bundles = folder.path().join("bundles");
        fs::create_dir_all(bundles.join("web/rootfs")).unwrap();
        fs::create_dir(bundles.join("web/upper")).unwrap();
        assert!(remove_unfinished(&bundles, "web").unwrap());
        assert!(!bundles.join("web").exists());
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir_all(elsewhere.join("rootfs")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, bundles.join("linked")).unwrap();
        assert!(remove_unfinished(&bundles, "linked").unwrap());
        assert!(!elsewhere.exists() && fs::symlink_metadata(bundles.join("linked")).is_err());
        fs::create_dir_all(bundles.join("mine/rootfs")).unwrap();
        fs::write(bundles.join("mine/precious"), "").unwrap();
        fs::create_dir(bundles.join("begun")).unwrap();
        assert!(remove_unfinished(&bundles, "begun").unwrap() && !bundles.join("begun").exists());
        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        std::os::unix::fs::symlink(&empty, bundles.join("linked")).unwrap();
        assert!(!remove_unfinished(&bundles, "linked").unwrap() && empty.exists(), "an empty folder of somebody's");
        assert!(!remove_unfinished(&bundles, "mine").unwrap() && bundles.join("mine/precious").exists());
        fs::create_dir_all(folder.path().join("other/rootfs")).unwrap();
        let other = folder.path().join("other");
        assert!(
            !remove_unfinished(&bundles, other.to_str().unwrap()).unwrap() && other.exists(),
            "no bundle of that name"
        );
    }
}
