//! The cache of layers, shared by all bundles and builds: `layers/sha256/HEX`, by diff ID.
//!
//! A layer is stored once: as its plain archive where images are mounted (`archive`, `stack`), or unpacked.
//!
//! Each folder is a lower directory for overlayfs ([`Target::Lower`](super::apply::Target::Lower)). It is created under
//! a temporary name beside its final one and renamed when the last byte of its blob has been verified. So a folder
//! under its final name is complete.
//!
//! **After a system crash.** A rename may reach the disk before the data of the renamed files. Waiting for half a
//! gigabyte to be written (`syncfs`) before the first container starts is too slow for a cache. Docker and containerd
//! do not wait, and keep broken layers after a power failure. So a file `HEX.state` beside each folder contains `boot`
//! and the ID of the boot in which the layer was unpacked: during that boot, the page cache has the data. More than a
//! minute later, when the kernel has written nearly everything anyway, the next user calls `syncfs` and changes the
//! state to `durable`. A layer of an earlier boot that is not durable is unpacked again; so is one that the disk did not take: a second
//! fsync would succeed, and the page cache would go on showing what is not on the disk.
//!
//! **Locks.** flock(2) is taken on `HEX.state`: exclusively while a layer is unpacked or removed, shared while a
//! [`Layer`] or an [`Archive`] exists. A mounted bundle holds no lock, since the process that made it has ended: [`Cache::prune`] is told
//! what to keep, and looks for overlays.

mod archive;
mod source;

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

pub use self::archive::Archive;
pub use self::source::{Source, Started, apply_all};
use super::apply::{self, Applier, Options};
use super::limit::Limits;
use super::{mount, parallel, stream};
use crate::address::digest::Digest;
use crate::address::home::Home;
use crate::beneath::{self, Root, Unfinished};
use crate::error::{During, Io};
use crate::layout::{self, Image, Layout};

/// Why a layer could not be unpacked into the cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on the cache's own files failed.
    #[error(transparent)]
    Io(#[from] Io),
    /// The blob could not be opened.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The blob is corrupt, or does not have the expected diff ID.
    #[error("layer {digest}")]
    Blob {
        /// The digest of the blob.
        digest: Digest,
        /// Why it could not be unpacked.
        source: stream::Error,
    },
    /// The layer could not be applied.
    #[error("layer {digest}")]
    Apply {
        /// The digest of the blob.
        digest: Digest,
        /// Why it could not be unpacked.
        source: apply::Error,
    },
    /// The times and modes of directories could not be set.
    #[error(transparent)]
    Tree(apply::Error),
    /// The tree could not be opened or removed.
    #[error(transparent)]
    Beneath(#[from] beneath::Error),
    /// The layer is not in the cache, and nobody knows its blob.
    #[error("layer {diff_id} is not stored")]
    Missing {
        /// The diff ID.
        diff_id: String,
    },
    /// The layer is in the cache, but unpacked.
    #[error("layer {diff_id} is unpacked")]
    Unpacked {
        /// The diff ID.
        diff_id: Digest,
    },
    /// The config of an image has an invalid diff ID.
    #[error("diff id")]
    DiffId(#[source] crate::address::digest::Error),
}

/// A layer in the cache. It cannot be removed while this value exists.
#[derive(Debug)]
pub struct Layer {
    path: PathBuf,
    diff_id: Digest,
    lock: File,
}

impl Layer {
    /// The directory, as a lower one for overlayfs. It must not be changed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The diff ID.
    #[must_use]
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }
}

/// What a lock of a state file was taken for.
pub(super) enum Claim<T> {
    /// It is there, and stays as long as the shared lock in it is held.
    Found(T),
    /// It is not there; the lock is exclusive.
    Missing(File),
}

/// The cache of layers.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    options: Options,
    limits: Limits,
}

impl Cache {
    /// The cache in the data folder.
    #[must_use]
    pub fn of(home: &Home) -> Self {
        Self::at(home.layers(), Options::lower())
    }

    /// A cache in any folder. Nothing is created yet.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>, options: Options) -> Self {
        Self { folder: folder.into(), options, limits: Limits::default() }
    }

    /// The same cache for a caller who stores only layers within limits. What is stored already is not measured again.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.options.entries = limits.entries();
        self.limits = limits;
        self
    }

    /// The limits of what is stored.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The folder of the cache.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a layer is unpacked. It may have gone when it is asked for.
    #[must_use]
    pub fn is_unpacked(&self, diff_id: &Digest) -> bool {
        self.path(diff_id).is_dir()
    }

    /// The layers of an image, the lowest first; unpacked if necessary.
    ///
    /// # Errors
    /// [`Error`].
    pub fn image(&self, layout: &Layout, image: &Image) -> Result<Vec<Layer>, Error> {
        self.layers(&Source::of_image(layout, image)?)
    }

    /// These layers, in this order; unpacked if necessary, on as many threads as there are processors.
    ///
    /// # Errors
    /// [`Error`], the first one.
    pub fn layers(&self, sources: &[Source]) -> Result<Vec<Layer>, Error> {
        parallel::map(sources, |source| self.layer(source))
    }

    /// One layer; unpacked if necessary.
    ///
    /// # Errors
    /// [`Error`].
    pub fn layer(&self, source: &Source) -> Result<Layer, Error> {
        self.layer_of(&source.diff_id, || source.start_within(self.limits))
    }

    /// Like [`Self::layer`], but the blob is not opened where it is not needed: a stored archive becomes a directory without it. `start`
    /// begins to read the blob.
    ///
    /// # Errors
    /// [`Error`].
    pub fn layer_of(&self, diff_id: &Digest, start: impl FnOnce() -> Result<Started, Error>) -> Result<Layer, Error> {
        // Its lock is given up before another is taken.
        let stored = match self.archive_if_there(diff_id)? {
            Some(archive) => Some(archive.source().during("open", archive.path())?),
            None => None,
        };
        self.ensure(diff_id, |folder| {
            self.sweep();
            let unfinished = Unfinished::create(folder, TEMPORARY, 0o755)?;
            let started = stored.map_or_else(start, |source| source.start_within(self.limits))?;
            let digest = started.digest().clone();
            let failed = |source| Error::Apply { digest: digest.clone(), source };
            let mut applier =
                Applier::in_empty(Root::open(unfinished.path())?, self.options.clone()).map_err(failed)?;
            started.apply(&mut applier)?;
            let skipped = applier.finish().map_err(failed)?;
            for (what, count) in skipped {
                tracing::warn!("layer {digest}: {count} × {what} left out");
            }
            Ok(Complete::Unfinished(unfinished))
        })
    }

    /// A layer that is in the cache already; `None` if it is not.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn get(&self, diff_id: &Digest) -> Result<Option<Layer>, Error> {
        let state = self.state(diff_id);
        if !state.exists() {
            return Ok(None);
        }
        let lock = self.lock(diff_id, FlockOperation::LockShared)?;
        Ok(self.found(diff_id, lock).during("read", &state)?)
    }

    /// Adopts a directory as the layer `diff_id`, such as the upper directory of an overlay mount whose archive has
    /// just been hashed. It must be on the file system of the cache and is renamed. If the layer exists already, the
    /// directory stays where it is.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn adopt(&self, diff_id: &Digest, directory: &Path) -> Result<Layer, Error> {
        self.ensure(diff_id, |_| Ok(Complete::Directory(directory.to_owned())))
    }

    /// Removes layers that are neither wanted by `keep` nor in use by this mount namespace, and what killed processes left. Returns the
    /// diff IDs of the removed layers.
    ///
    /// # Errors
    /// [`Error`].
    pub fn prune(&self, keep: impl Fn(&Digest) -> bool) -> Result<Vec<Digest>, Error> {
        let mut removed = Vec::new();
        for diff_id in self.list()? {
            if keep(&diff_id) {
                continue;
            }
            let lock = match self.lock(&diff_id, FlockOperation::NonBlockingLockExclusive) {
                Ok(lock) => lock,
                Err(Error::Io(refused)) if refused.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let path = self.path(&diff_id);
            // An overlay may lie on a folder although whoever mounted it has ended. An archive stays with the images that refer to it.
            if path.is_dir() && mount::is_under_overlay(&path) {
                continue;
            }
            remove_tree(&path)?;
            fs::remove_file(self.state(&diff_id)).during("remove", &path)?;
            drop(lock);
            removed.push(diff_id);
        }
        self.sweep();
        Ok(removed)
    }

    /// The diff IDs of all layers, sorted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<Digest>, Error> {
        let mut found = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let folder = self.folder.join(algorithm);
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Io::new("read", &folder, error).into()),
            };
            for entry in entries {
                let name = entry.during("read", &folder)?.file_name();
                if let Ok(digest) = crate::address::digest::parse(&format!("{algorithm}:{}", name.to_string_lossy())) {
                    found.push(digest);
                }
            }
        }
        found.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        Ok(found)
    }

    /// The folder or the archive of a layer.
    pub(super) fn path(&self, diff_id: &Digest) -> PathBuf {
        self.folder.join(diff_id.algorithm().as_ref()).join(diff_id.digest())
    }

    fn state(&self, diff_id: &Digest) -> PathBuf {
        let mut path = self.path(diff_id).into_os_string();
        path.push(".state");
        path.into()
    }

    /// Locks the state file of a layer. If it was removed while we waited, its successor is locked.
    fn lock(&self, diff_id: &Digest, operation: FlockOperation) -> Result<File, Error> {
        self.lock_file(&self.state(diff_id), operation)
    }

    /// What `found` finds under a shared lock of a state file, or an exclusive lock of it for whoever is to make what is not there.
    pub(super) fn claim<T>(
        &self,
        state: &Path,
        found: impl Fn(File) -> Result<Option<T>, Error>,
    ) -> Result<Claim<T>, Error> {
        loop {
            // Waits for whoever is making or removing it.
            if let Some(found) = found(self.lock_file(state, FlockOperation::LockShared)?)? {
                return Ok(Claim::Found(found));
            }
            // But not for others who use it: whoever was faster keeps it once it is there, perhaps for as long as we keep others
            // waiting, be it in this very process.
            match self.lock_file(state, FlockOperation::NonBlockingLockExclusive) {
                Ok(lock) => return Ok(Claim::Missing(lock)),
                Err(Error::Io(refused)) if refused.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes a folder of the cache, if it is not there.
    pub(super) fn make(&self, folder: &Path) -> Result<(), Error> {
        // Users of the host must not reach setuid programs of an image.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).during("create", &self.folder)?;
        Ok(fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).during("create", folder)?)
    }

    /// Locks a file of the cache, which is made if it is not there.
    pub(super) fn lock_file(&self, path: &Path, operation: FlockOperation) -> Result<File, Error> {
        let folder = path.parent().expect("a file of the cache has a folder");
        loop {
            let open =
                fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
            if open.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                self.make(folder)?;
                continue;
            }
            let file = open.during("open", path)?;
            match rustix::fs::flock(&file, operation) {
                Ok(()) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(Io::new("lock", path, errno).into()),
            }
            let ours = file.metadata().during("stat", path)?;
            if fs::symlink_metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
                return Ok(file);
            }
        }
    }

    /// The layer, if it exists and can be trusted. Makes it durable if a minute has passed.
    fn found(&self, diff_id: &Digest, mut lock: File) -> io::Result<Option<Layer>> {
        let path = self.path(diff_id);
        let state = read_state(&mut lock)?;
        let durable = state == "durable\n";
        if !(durable || state == format!("boot {}\n", boot()?)) || !path.is_dir() {
            return Ok(None);
        }
        let age = SystemTime::now().duration_since(lock.metadata()?.modified()?).unwrap_or_default();
        if !durable && age > Duration::from_secs(60) {
            match rustix::fs::syncfs(&lock) {
                Ok(()) => note_state(&mut lock, "durable\n"),
                Err(error) => {
                    tracing::warn!("layer {diff_id}: the disk did not take it ({error}): unpacking it again");
                    write_state(&mut lock, LOST)?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(Layer { path, diff_id: diff_id.clone(), lock }))
    }

    /// The layer; `make` makes it on the file system of the folder that it is given, if it is not there.
    fn ensure(&self, diff_id: &Digest, make: impl FnOnce(&Path) -> Result<Complete, Error>) -> Result<Layer, Error> {
        let state = self.state(diff_id);
        let found = |lock: File| Ok(self.found(diff_id, lock).during("read", &state)?);
        let lock = match self.claim(&state, found)? {
            Claim::Found(layer) => return Ok(layer),
            Claim::Missing(lock) => lock,
        };
        let mut writer = lock.try_clone().during("open", &state)?;
        // Another process may have unpacked it meanwhile.
        if let Some(layer) = found(lock)? {
            rustix::fs::flock(&layer.lock, FlockOperation::LockShared).during("lock", &state)?;
            return Ok(layer);
        }
        let path = self.path(diff_id);
        // Without a valid state it is from an earlier boot.
        remove_tree(&path)?;
        let folder = path.parent().expect("a layer's path has a folder");
        let made = make(folder).and_then(|complete| {
            let boot = boot().during("read", Path::new(BOOT))?;
            write_state(&mut writer, &format!("boot {boot}\n")).during("write", &state)?;
            match complete {
                Complete::Unfinished(unfinished) => Ok(unfinished.finish(&path)?),
                Complete::Directory(directory) => Ok(fs::rename(&directory, &path).during("rename", &directory)?),
            }
        });
        if let Err(error) = made {
            // Report only the first error; what is left is removed next time. We have the exclusive lock: whoever waits
            // for it notices that the file is gone.
            let _ = fs::remove_file(&state);
            return Err(error);
        }
        // Downgrade the lock without releasing it, so that nobody can remove the layer in between. See `found` for the
        // rest.
        rustix::fs::flock(&writer, FlockOperation::LockShared).during("lock", &state)?;
        Ok(Layer { path, diff_id: diff_id.clone(), lock: writer })
    }

    /// Removes temporary folders of killed processes.
    fn sweep(&self) {
        for algorithm in ["sha256", "sha512"] {
            Unfinished::sweep(&self.folder.join(algorithm), TEMPORARY);
        }
    }
}

/// A layer that is to get its name.
enum Complete {
    /// It was made beside the others.
    Unfinished(Unfinished),
    /// It is elsewhere on the file system.
    Directory(PathBuf),
}

const TEMPORARY: &str = ".unpack-";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

fn boot() -> io::Result<&'static str> {
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id);
    }
    let id = fs::read_to_string(BOOT)?;
    Ok(ID.get_or_init(|| id.trim().to_owned()))
}

/// The state of a layer that the disk did not take.
const LOST: &str = "lost\n";

/// Replaces a state, which is one line. A process that is killed in between leaves the old line or the new one.
pub(super) fn write_state(file: &mut File, text: &str) -> io::Result<()> {
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    // Emptied first, ext4 would write it out as soon as it is closed.
    if file.metadata()?.len() > text.len() as u64 { file.set_len(text.len() as u64) } else { Ok(()) }
}

/// Writes a state whose loss costs time and no more.
fn note_state(file: &mut File, text: &str) {
    if let Err(error) = write_state(file, text) {
        tracing::warn!("the state of a layer could not be written: {error}");
    }
}

/// The line of a state file, with its end; empty if it has none.
pub(super) fn read_state(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(300).read_to_end(&mut bytes)?;
    let line = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(str::from_utf8(line).unwrap_or_default().to_owned())
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(Root::open(parent)?.remove(name)?),
        _ => Ok(()),
    }
}
