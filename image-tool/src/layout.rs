//! Layouts: folders as defined by image-spec image-layout.md.
//!
//! A layout is valid at every instant, for other programs too. To write, ask for a [`Writer`]: it holds a shared lock
//! while blobs are written, so that garbage collection, which takes the same lock exclusively, never removes a blob
//! before it is in `index.json`. `index.json` has a lock of its own and is replaced by writing a temporary file, fsync,
//! rename and fsync of the folder. Both locks are flock(2) on folders of the layout: no file is added to those of the
//! spec, and a killed program leaves no stale lock.
//!
//! A new layout is made beside its place and renamed to it, so it is complete from its first instant. What killed writers leave
//! is removed by whoever comes next, under the lock.
//!
//! Blobs are opened beneath the layout's descriptor, only as regular files, and are verified while they are read. The
//! room may know only `address`, `beneath` and `error`.

pub mod attestation;
mod blob;
mod error;
mod image;
pub mod index;
pub mod journal;
mod lock;
pub mod platform;
mod prune;
mod reach;
mod read;
mod resolve;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, ResolveFlags};

use crate::address::Address;
use crate::address::digest::Digest;
use crate::beneath::{self, Unfinished};
use crate::error::{During, Io};

pub use self::blob::{BlobWriter, Upload, Writer};
pub use self::error::Error;
pub use self::image::{CONFIG_LIMIT, Image, MANIFEST_LIMIT, check_document, is_index, is_manifest};
pub use self::index::{Index, REF_NAME};
pub use self::lock::{BlobsLock, IndexLock};
pub use self::prune::{Garbage, Prune};

/// An open layout. Clones are cheap and share the descriptor.
#[derive(Clone, Debug)]
pub struct Layout {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: OwnedFd,
    path: PathBuf,
}

/// How the names of layouts begin that are not complete.
const PREFIX: &str = ".layout-";

const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    /// [`Error::NoLayout`] if nothing is there, [`Error::NotALayout`] if something else is.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let layout = Self::at(path)?;
        let not = |reason: &str| Error::NotALayout { path: path.into(), reason: reason.into() };
        let version = match layout.open_beneath(Path::new("oci-layout"), OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not("it has no oci-layout file")),
            Err(error) => return Err(Io::new("open", path.join("oci-layout"), error).into()),
        };
        let mut text = Vec::new();
        version.take(4096).read_to_end(&mut text).during("read", path.join("oci-layout"))?;
        let version = serde_json::from_slice::<serde_json::Value>(&text).ok();
        match version.as_ref().and_then(|value| value.get("imageLayoutVersion")).and_then(|value| value.as_str()) {
            Some(version) if version.starts_with("1.") => Ok(layout),
            Some(version) => Err(not(&format!("imageLayoutVersion {version} is not 1.0.0"))),
            None => Err(not("its oci-layout file has no imageLayoutVersion")),
        }
    }

    /// Opens the layout of an address. A layout that does not exist contains no image.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] if there is no layout and the address has a ref; otherwise those of [`Self::open`].
    pub fn of(address: &Address) -> Result<Self, Error> {
        match Self::open(&address.layout_path()) {
            Err(Error::NoLayout { .. }) if address.reference().is_some() => {
                Err(Error::NoSuchImage { address: address.clone() })
            }
            other => other,
        }
    }

    /// Opens a layout, or creates one if there is nothing or an empty folder. Concurrent callers get the same layout.
    ///
    /// # Errors
    /// [`Error::NotALayout`] if something else is there.
    pub fn create(path: &Path) -> Result<Self, Error> {
        match Self::open(path) {
            Err(Error::NoLayout { .. }) => Self::make(path)?,
            Err(Error::NotALayout { .. }) => {}
            other => return other,
        }
        match Self::open(path) {
            Err(Error::NotALayout { .. }) => Self::complete(path),
            other => other,
        }
    }

    /// Makes a layout beside its place and renames it, unless somebody else is faster.
    fn make(path: &Path) -> Result<(), Error> {
        let parent = parent_of(path);
        std::fs::create_dir_all(parent).during("create", parent)?;
        Unfinished::sweep(parent, PREFIX);
        let unfinished = Unfinished::create(parent, PREFIX, 0o777)?;
        Self::at(unfinished.path())?.furnish()?;
        match unfinished.finish(path) {
            Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(File::open(parent).and_then(|parent| parent.sync_all()).during("fsync", parent)?),
        }
    }

    /// Makes a folder that is there a layout, if it contains nothing else.
    fn complete(path: &Path) -> Result<Self, Error> {
        let layout = Self::at(path)?;
        let _lock = layout.lock_index()?;
        match Self::open(path) {
            Err(Error::NotALayout { .. }) => {}
            other => return other,
        }
        let mut entries = std::fs::read_dir(path).during("read", path)?;
        let foreign = entries.find_map(|entry| {
            let name = entry.ok()?.file_name();
            (name != "blobs" && name != "index.json" && !name.as_encoded_bytes().starts_with(b".")).then_some(name)
        });
        if let Some(name) = foreign {
            let reason =
                format!("it has no oci-layout file, but it contains {} (name an empty folder)", name.to_string_lossy());
            return Err(Error::NotALayout { path: path.into(), reason });
        }
        layout.furnish()?;
        Ok(layout)
    }

    fn furnish(&self) -> Result<(), Error> {
        let path = self.path();
        std::fs::create_dir_all(path.join("blobs/sha256")).during("create", path.join("blobs/sha256"))?;
        if !path.join("index.json").exists() {
            self.replace_file("index.json", &Index::empty().to_bytes())?;
        }
        // This file makes the folder a layout, so it comes last.
        self.replace_file("oci-layout", OCI_LAYOUT)
    }

    fn at(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(folder) => Ok(Self { shared: Arc::new(Shared { folder, path: path.into() }) }),
            Err(rustix::io::Errno::NOENT) => Err(Error::NoLayout { path: path.into() }),
            Err(rustix::io::Errno::NOTDIR) => {
                Err(Error::NotALayout { path: path.into(), reason: "it is not a folder".into() })
            }
            Err(error) => Err(Io::new("open", path, error).into()),
        }
    }

    /// The path of the layout as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The path of a blob in a layout: `blobs/sha256/HEX`. A digest cannot contain `/` or `..`.
    #[must_use]
    pub fn blob_path(digest: &Digest) -> PathBuf {
        Path::new("blobs").join(digest.algorithm().as_ref()).join(digest.digest())
    }

    /// Opens a regular file beneath the layout; links may not lead out of it.
    fn open_beneath(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        // NONBLOCK, so that a FIFO in place of a file does not block; regular files ignore it.
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = File::from(rustix::fs::openat2(&self.shared.folder, path, flags, Mode::empty(), resolve)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// A writer of blobs. Waits while garbage is collected.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn writer(&self) -> Result<Writer, Error> {
        Ok(Writer::new(self.clone(), self.lock("blobs", FlockOperation::LockShared)?))
    }

    /// Reads `index.json`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not an index, [`Error::NotALayout`] if it does not exist.
    pub fn index(&self) -> Result<Index, Error> {
        let path = self.path().join("index.json");
        let file = match self.open_beneath(Path::new("index.json"), OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotALayout { path: self.path().into(), reason: "it has no index.json".into() });
            }
            Err(error) => return Err(Io::new("open", path, error).into()),
        };
        let mut bytes = Vec::new();
        file.take(index::LIMIT + 1).read_to_end(&mut bytes).during("read", &path)?;
        Index::from_bytes(&bytes).map_err(|reason| Error::Malformed { what: path.display().to_string(), reason })
    }

    /// Replaces `index.json`. The lock proves that nobody else does.
    ///
    /// # Errors
    /// [`Error::Io`]. The old index then stays.
    pub fn replace_index(&self, _lock: &IndexLock, index: &Index) -> Result<(), Error> {
        for name in self.leftovers()? {
            // It is removed next time, or by garbage collection.
            let _ = rustix::fs::unlinkat(&self.shared.folder, &name, AtFlags::empty());
        }
        self.replace_file("index.json", &index.to_bytes())
    }

    /// Changes `index.json` under its lock.
    ///
    /// # Errors
    /// Those of the change, of reading and of replacing.
    pub fn update_index<T>(&self, change: impl FnOnce(&mut Index) -> Result<T, Error>) -> Result<T, Error> {
        let lock = self.lock_index()?;
        let mut index = self.index()?;
        let before = index.clone();
        let value = change(&mut index)?;
        if index != before {
            self.replace_index(&lock, &index)?;
        }
        Ok(value)
    }

    /// The temporary files of writers that were killed, by whoever holds the lock of the index.
    fn leftovers(&self) -> Result<Vec<OsString>, Error> {
        let mut names = beneath::names(&self.shared.folder).during("list", self.path())?;
        names.retain(|name| name.to_str().is_some_and(is_temporary));
        Ok(names)
    }

    /// Replaces a file by temporary file, fsync, rename and fsync of the folder.
    fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path().join(name);
        let temporary = format!(".{name}.{}", std::process::id());
        let folder = self.shared.folder.as_fd();
        let write = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let mut file = File::from(rustix::fs::openat(folder, &temporary, flags, Mode::from_raw_mode(0o644))?);
            file.write_all(bytes)?;
            file.sync_all()?;
            rustix::fs::renameat(folder, &temporary, folder, name)?;
            Ok(rustix::fs::fsync(folder)?)
        };
        write().map_err(|error| {
            // Report only the first error. The temporary file may not exist.
            let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
            Io::new("write", path, error).into()
        })
    }
}

/// The folder that a path is in.
fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a name is that of a file that [`Layout::replace_file`] has not renamed yet.
fn is_temporary(name: &str) -> bool {
    let numbered = |prefix: &str| {
        let number = name.strip_prefix(prefix);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    numbered(".index.json.") || numbered(".oci-layout.")
}

#[cfg(test)]
mod tests {
    use oci_spec::image::MediaType;

    use super::*;
    use crate::address::digest;

    fn layout() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("images")).unwrap();
        (folder, layout)
    }

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn create_makes_a_layout_and_opens_it_the_second_time() {
        let (folder, layout) = layout();
        assert_eq!(layout.index().unwrap().descriptors().unwrap().len(), 0);
        assert!(Layout::create(layout.path()).is_ok());
        std::fs::write(folder.path().join("note"), "mine").unwrap();
        assert!(matches!(Layout::create(folder.path()), Err(Error::NotALayout { .. })));
        assert!(matches!(Layout::open(&folder.path().join("none")), Err(Error::NoLayout { .. })));
    }

    #[test]
    fn what_killed_writers_left_is_removed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let names = |path: &Path| {
            let mut names: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        std::fs::create_dir_all(folder.path().join(".layout-abc123/blobs")).unwrap();
        let layout = Layout::create(&folder.path().join("images")).unwrap();
        assert_eq!(names(folder.path()), ["images"], "a half-made layout");
        let complete = ["blobs", "index.json", "oci-layout"];
        assert_eq!(names(layout.path()), complete);
        for name in [".index.json.999999999", ".oci-layout.7", ".index.json.mine"] {
            std::fs::write(layout.path().join(name), "x").unwrap();
        }
        let blob = layout.writer().unwrap().put(MediaType::ImageManifest, b"{}").unwrap();
        layout.writer().unwrap().publish(&"a".parse().unwrap(), blob).unwrap();
        assert_eq!(names(layout.path()), [&[".index.json.mine"][..], &complete].concat());
        std::fs::remove_file(layout.path().join(".index.json.mine")).unwrap();
        std::fs::write(layout.path().join(".index.json.8"), "x").unwrap();
        assert_eq!(layout.prune(Prune::default()).unwrap()[0].path, Path::new(".index.json.8"));
        assert_eq!(names(layout.path()), complete);
    }

    #[test]
    fn a_ref_is_found_by_every_spelling_of_its_name() {
        let (_folder, layout) = layout();
        let writer = layout.writer().unwrap();
        let blob = writer.put(MediaType::ImageManifest, b"{}").unwrap();
        writer.publish(&"python:3.8".parse().unwrap(), blob.clone()).unwrap();
        for text in ["x:python:3.8", "x:docker.io/library/python:3.8", "x"] {
            assert_eq!(layout.resolve(&address(text)).unwrap().digest(), blob.digest(), "{text}");
        }
        let identity = format!("x:{}", digest::short(blob.digest()));
        assert_eq!(layout.resolve(&address(&identity)).unwrap().digest(), blob.digest());
        let message = layout.resolve(&address("x:python:3.9")).unwrap_err().to_string();
        assert_eq!(message, "x:python:3.9: no such image (registry-tool pull python:3.9 x)");
    }

    #[test]
    fn a_fifo_in_place_of_a_blob_is_refused_at_once() {
        let (_folder, layout) = layout();
        let blob = layout.writer().unwrap().put(MediaType::ImageManifest, b"{}").unwrap();
        let path = layout.path().join(Layout::blob_path(blob.digest()));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(layout.open_blob(&blob), Err(Error::MissingBlob { .. })));
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(matches!(layout.open_blob(&blob), Err(Error::Io(_))));
    }

    #[test]
    fn a_link_out_of_the_layout_is_not_followed() {
        let (folder, layout) = layout();
        let blob = layout.writer().unwrap().put(MediaType::ImageManifest, b"{}").unwrap();
        let path = layout.path().join(Layout::blob_path(blob.digest()));
        std::fs::rename(&path, folder.path().join("outside")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("outside"), &path).unwrap();
        assert!(matches!(layout.open_blob(&blob), Err(Error::Io(_))));
    }

    #[test]
    fn unknown_fields_of_the_index_survive_a_change() {
        let (_folder, layout) = layout();
        let text = br#"{"schemaVersion":2,"x":{"y":1},"manifests":[{"mediaType":"a/b","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"z":true}]}"#;
        std::fs::write(layout.path().join("index.json"), text).unwrap();
        let writer = layout.writer().unwrap();
        let blob = writer.put(MediaType::ImageManifest, b"[]").unwrap();
        writer.publish(&"a".parse().unwrap(), blob).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(layout.path().join("index.json")).unwrap()).unwrap();
        assert_eq!(json["x"]["y"], 1);
        assert_eq!(json["manifests"][0]["z"], true);
        assert_eq!(json["manifests"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn writers_in_many_threads_lose_no_ref() {
        let (_folder, layout) = layout();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let layout = layout.clone();
                scope.spawn(move || {
                    let writer = layout.writer().unwrap();
                    let blob = writer.put(MediaType::ImageManifest, number.to_string().as_bytes()).unwrap();
                    writer.publish(&format!("image:{number}").parse().unwrap(), blob).unwrap();
                });
            }
        });
        assert_eq!(layout.index().unwrap().descriptors().unwrap().len(), 8);
    }
}
