//! Layouts: folders by image-spec image-layout.md.
//!
//! A layout is valid at every instant, for any other program too. Whoever writes asks for a [`Writer`]: it holds a shared
//! lock while blobs come in, so that garbage collection, which takes the same lock alone, never removes a blob that is not
//! in `index.json` yet. `index.json` changes under a lock of its own, by temporary, fsync, rename and fsync of the folder.
//! Both locks are flock(2) on the folders themselves: nothing is added to what the spec describes, and a killed program
//! leaves no stale lock.
//!
//! Blobs are opened beneath the layout's descriptor, as regular files only, and are verified while they are read.

mod blob;
mod image;
mod index;
pub mod platform;
mod prune;
mod reach;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::Descriptor;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, ResolveFlags};

use crate::address::digest::{self, Digest, Verifier};
use crate::address::name;
use crate::address::{Address, RefName};
use crate::error::{During, Io};

pub use self::blob::{BlobWriter, Writer};
pub use self::image::{Image, MANIFEST_LIMIT, check_document, is_index, is_manifest};
pub use self::index::{Index, REF_NAME};
pub use self::prune::Garbage;

/// What can be wrong with a layout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused an operation.
    #[error(transparent)]
    Io(#[from] Io),
    /// There is no layout at the path.
    #[error("{}: no image layout here ('registry-tool pull' and 'image-tool load' make one)", .path.display())]
    NoLayout {
        /// Where.
        path: PathBuf,
    },
    /// The folder holds something, but no layout.
    #[error("{}: not an image layout: {reason}", .path.display())]
    NotALayout {
        /// Where.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A JSON document is not what its media type says.
    #[error("{what}: {reason}")]
    Malformed {
        /// Which document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob is missing.
    #[error("blob {digest}: missing")]
    MissingBlob {
        /// Which one.
        digest: Digest,
    },
    /// A blob is not what its descriptor says, or a descriptor is none we can verify.
    #[error("blob {digest}")]
    BadBlob {
        /// Which one.
        digest: Digest,
        /// What is wrong.
        source: digest::Error,
    },
    /// A blob is larger than its kind can reasonably be.
    #[error("blob {digest}: {size} bytes are more than the {limit} that are read of such a document")]
    TooLarge {
        /// Which one.
        digest: Digest,
        /// The size that its descriptor says.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// No image has the name.
    #[error("{address}: no such image ({})", pull_hint(.address))]
    NoSuchImage {
        /// The address that was looked up.
        address: Address,
    },
    /// The name fits several images.
    #[error("{address}: {} images fit, name one: {}", .candidates.len(), .candidates.join(" "))]
    Ambiguous {
        /// The address that was looked up.
        address: Address,
        /// The addresses that it may have meant.
        candidates: Vec<String>,
    },
    /// The image has no manifest for the platform.
    #[error("{address}: no image for {wanted} (it has {})", .offered.join(", "))]
    NoPlatform {
        /// The image.
        address: Address,
        /// The platform that was asked for.
        wanted: String,
        /// Those that there are.
        offered: Vec<String>,
    },
    /// Another process is collecting garbage or writing, and we were asked not to wait.
    #[error("{}: in use by another process", .path.display())]
    Busy {
        /// The layout.
        path: PathBuf,
    },
}

fn pull_hint(address: &Address) -> String {
    match (address.reference(), address.layout()) {
        (Some(reference), "") => format!("registry-tool pull {reference}"),
        (Some(reference), layout) => format!("registry-tool pull {reference} {layout}"),
        (None, "") => "image-tool list shows what there is".to_owned(),
        (None, layout) => format!("image-tool list {layout} shows what there is"),
    }
}

/// An open layout. Cheap to clone; clones share the descriptor.
#[derive(Clone, Debug)]
pub struct Layout {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: OwnedFd,
    path: PathBuf,
}

/// `index.json` is locked while this value lives.
#[derive(Debug)]
pub struct IndexLock {
    _folder: OwnedFd,
}

const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    /// [`Error::NoLayout`] where there is nothing, [`Error::NotALayout`] where there is something else.
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

    /// Opens the layout of an address; one that does not exist holds no image.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] where there is no layout and the address has a ref, else as [`Self::open`].
    pub fn of(address: &Address) -> Result<Self, Error> {
        match Self::open(&address.layout_path()) {
            Err(Error::NoLayout { .. }) if address.reference().is_some() => {
                Err(Error::NoSuchImage { address: address.clone() })
            }
            other => other,
        }
    }

    /// Opens a layout, or makes one where there is nothing or an empty folder. Two that create at once get the same one.
    ///
    /// # Errors
    /// [`Error::NotALayout`] where there is something else.
    pub fn create(path: &Path) -> Result<Self, Error> {
        match Self::open(path) {
            Err(Error::NoLayout { .. } | Error::NotALayout { .. }) => {}
            other => return other,
        }
        std::fs::create_dir_all(path).during("create", path)?;
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
            let reason = format!("it has no oci-layout file but {} (name an empty folder)", name.to_string_lossy());
            return Err(Error::NotALayout { path: path.into(), reason });
        }
        std::fs::create_dir_all(path.join("blobs/sha256")).during("create", path.join("blobs/sha256"))?;
        if !path.join("index.json").exists() {
            layout.replace_file("index.json", &Index::empty().to_bytes())?;
        }
        // The file that makes a folder a layout comes last: until then nobody takes it for one.
        layout.replace_file("oci-layout", OCI_LAYOUT)?;
        Ok(layout)
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

    /// Where the layout is, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The path of a blob beneath the layout: `blobs/sha256/HEX`. A digest holds no `/` and no `..`.
    #[must_use]
    pub fn blob_path(digest: &Digest) -> PathBuf {
        Path::new("blobs").join(digest.algorithm().as_ref()).join(digest.digest())
    }

    /// Opens a path beneath the layout, following links only within it, and only if it is a regular file.
    fn open_beneath(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        // NONBLOCK so that a FIFO in place of a file cannot hold us up; it changes nothing for a regular file.
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = File::from(rustix::fs::openat2(&self.shared.folder, path, flags, Mode::empty(), resolve)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// Opens a blob. The file is the stranger's: use [`Self::blob`] to read what is verified.
    ///
    /// # Errors
    /// [`Error::MissingBlob`], or [`Error::BadBlob`] if its size is not the descriptor's.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<File, Error> {
        let digest = descriptor.digest();
        let bad = |source| Error::BadBlob { digest: digest.clone(), source };
        digest::Hasher::of(digest).map_err(bad)?;
        let path = Self::blob_path(digest);
        let file = match self.open_beneath(&path, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::MissingBlob { digest: digest.clone() });
            }
            Err(error) => return Err(Io::new("open", self.path().join(path), error).into()),
        };
        let actual = file.metadata().during("stat", self.path().join(path))?.len();
        if actual != descriptor.size() {
            return Err(bad(digest::Error::Size { expected: descriptor.size(), actual }));
        }
        Ok(file)
    }

    /// A blob as a reader that fails at its end unless digest and size are the descriptor's.
    ///
    /// # Errors
    /// As [`Self::open_blob`].
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Verifier<File>, Error> {
        let file = self.open_blob(descriptor)?;
        Verifier::new(file, descriptor.digest(), descriptor.size())
            .map_err(|source| Error::BadBlob { digest: descriptor.digest().clone(), source })
    }

    /// A whole small blob, verified.
    ///
    /// # Errors
    /// [`Error::TooLarge`] over `limit` bytes, and as [`Self::open_blob`].
    pub fn read(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        if descriptor.size() > limit {
            return Err(Error::TooLarge { digest: descriptor.digest().clone(), size: descriptor.size(), limit });
        }
        let mut bytes = Vec::new();
        self.blob(descriptor)?.read_to_end(&mut bytes).map_err(|error| self.read_error(descriptor, error))?;
        Ok(bytes)
    }

    /// Names the blob in an error that came out of reading it.
    #[must_use]
    pub fn read_error(&self, descriptor: &Descriptor, error: io::Error) -> Error {
        let digest = descriptor.digest().clone();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<digest::Error>()) {
            Some(source) => Error::BadBlob { source: source.clone(), digest },
            None => Io::new("read", self.path().join(Self::blob_path(&digest)), error).into(),
        }
    }

    /// Whether the blob is there in its full size. Its bytes are not read.
    #[must_use]
    pub fn has(&self, descriptor: &Descriptor) -> bool {
        self.open_blob(descriptor).is_ok()
    }

    /// A writer of blobs; waits while garbage is collected.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn writer(&self) -> Result<Writer, Error> {
        Writer::new(self.clone(), self.lock("blobs", FlockOperation::LockShared)?)
    }

    /// Takes the lock that keeps every [`Writer`] out, for garbage collection.
    ///
    /// # Errors
    /// [`Error::Busy`] if somebody is writing.
    pub fn lock_blobs(&self) -> Result<BlobsLock, Error> {
        Ok(BlobsLock { _folder: self.lock("blobs", FlockOperation::NonBlockingLockExclusive)? })
    }

    /// Locks `index.json`, waiting for whoever holds it; they hold it for the blink of a rename.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn lock_index(&self) -> Result<IndexLock, Error> {
        Ok(IndexLock { _folder: self.lock(".", FlockOperation::LockExclusive)? })
    }

    fn lock(&self, name: &str, operation: FlockOperation) -> Result<OwnedFd, Error> {
        // A descriptor of its own for each lock: flock belongs to the open file, so threads exclude each other too.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let path = self.path().join(name);
        if name == "blobs" {
            match rustix::fs::mkdirat(&self.shared.folder, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(Io::new("create", path, error).into()),
            }
        }
        let folder = rustix::fs::openat(&self.shared.folder, name, flags, Mode::empty()).during("open", &path)?;
        loop {
            match rustix::fs::flock(&folder, operation) {
                Ok(()) => return Ok(folder),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy { path: self.path().into() }),
                Err(error) => return Err(Io::new("lock", path, error).into()),
            }
        }
    }

    /// `index.json` as it is now.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no index, [`Error::NotALayout`] if it is missing.
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

    /// Replaces `index.json`; the lock shows that nobody else does.
    ///
    /// # Errors
    /// [`Error::Io`]; the old index is then still in place.
    pub fn replace_index(&self, _lock: &IndexLock, index: &Index) -> Result<(), Error> {
        self.replace_file("index.json", &index.to_bytes())
    }

    /// Changes `index.json` under its lock.
    ///
    /// # Errors
    /// The change's own, and those of reading and replacing.
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

    /// Temporary, fsync, rename, fsync of the folder.
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
            // The error that made us give up is the one to tell; the temporary may not even exist.
            let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
            Io::new("write", path, error).into()
        })
    }

    /// The descriptor in or beneath `index.json` that an address means. With a digest the digest decides.
    ///
    /// A ref is looked up as it stands, then by docker's names ([`name::equal`]), then, if it is hex, as the beginning of
    /// an image's identity: the digest of its manifest or of its config.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Ambiguous`].
    pub fn resolve(&self, address: &Address) -> Result<Descriptor, Error> {
        let index = self.index()?;
        let entries = index.descriptors()?;
        let none = || Error::NoSuchImage { address: address.clone() };
        if let Some(digest) = address.digest() {
            return self.reachable(&entries, digest)?.ok_or_else(none);
        }
        let found: Vec<&Descriptor> = match address.reference() {
            None => entries.iter().collect(),
            Some(reference) => match Self::by_ref(&entries, reference) {
                found if !found.is_empty() => found,
                _ => self.by_identity(&entries, reference.as_str())?,
            },
        };
        let mut distinct = found.clone();
        distinct.sort_by_key(|descriptor| descriptor.digest().to_string());
        distinct.dedup_by_key(|descriptor| descriptor.digest());
        match distinct[..] {
            [] => Err(none()),
            [_] => Ok(found[0].clone()),
            _ => {
                let name = |descriptor: &&Descriptor| {
                    let reference = index::ref_name(descriptor).and_then(|text| text.parse::<RefName>().ok());
                    Address::new(address.layout(), reference, Some(descriptor.digest().clone()))
                        .map_or_else(|_| descriptor.digest().to_string(), |address| address.to_string())
                };
                Err(Error::Ambiguous { address: address.clone(), candidates: found.iter().map(name).collect() })
            }
        }
    }

    fn by_ref<'a>(entries: &'a [Descriptor], reference: &RefName) -> Vec<&'a Descriptor> {
        let matching = |test: &dyn Fn(&str) -> bool| -> Vec<&'a Descriptor> {
            entries.iter().filter(|descriptor| index::ref_name(descriptor).is_some_and(test)).collect()
        };
        match matching(&|text| text == reference.as_str()) {
            exact if !exact.is_empty() => exact,
            _ => matching(&|text| name::equal(text, reference.as_str())),
        }
    }

    fn by_identity<'a>(&self, entries: &'a [Descriptor], hex: &str) -> Result<Vec<&'a Descriptor>, Error> {
        if hex.len() < 4 || hex.len() > 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for descriptor in entries {
            let mut identities = vec![descriptor.digest().clone()];
            // An image that cannot be read has no identity; 'verify' tells what is wrong with it.
            identities.extend(self.manifests(descriptor).unwrap_or_default().iter().filter_map(|manifest| {
                self.image_of(manifest).ok().map(|image| image.manifest().config().digest().clone())
            }));
            if identities.iter().any(|digest| digest.digest().starts_with(hex)) {
                found.push(descriptor);
            }
        }
        Ok(found)
    }
}

/// No [`Writer`] exists while this value lives.
#[derive(Debug)]
pub struct BlobsLock {
    _folder: OwnedFd,
}

#[cfg(test)]
mod tests {
    use oci_spec::image::MediaType;

    use super::*;

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
