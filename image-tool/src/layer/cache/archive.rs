//! Layers stored as their plain archives, read-only files.
//!
//! An archive is written once, while its blob is inflated and verified, beside its place, and gets its name when both digests were
//! right. It is never written to again: a mounted image may refer to it, and the kernel would show what is changed. To be removed is
//! no harm to a mounted image, which keeps the file.
//!
//! **What is trusted.** The state beside an archive records the file as it was when its content was hashed: size, inode and time
//! of change, which nobody can set back. As long as they are the same, the content is. If not, or if the machine went down before the
//! content had reached the disk, the archive is hashed again, and is kept if its digest is its name. So a power failure costs half a
//! second instead of another inflation, and nobody waits for the disk when a container is first started: an archive
//! that is used again more than a minute later is made durable then, by one fsync, which has next to nothing left to write. If that
//! fails, the archive is stored again from its blob: what is read from it may be in the page cache alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oci_spec::image::{Descriptor, MediaType};
use rustix::fs::FlockOperation;

use super::{
    BOOT, Cache, Claim, Error, LOST, Source, Started, TEMPORARY, boot, note_state, read_state, remove_tree, write_state,
};
use crate::address::digest::{Digest, Hasher};
use crate::beneath::Unfinished;
use crate::beneath::page::Buffer;
use crate::error::During;
use crate::layer::apply;
use crate::layer::entry::Reader;

/// A layer in the cache whose archive is a file. It cannot be removed while this value exists.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    diff_id: Digest,
    file: File,
    size: u64,
    lock: File,
}

impl Archive {
    /// Where it is. It must not be changed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digest of the content.
    #[must_use]
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    /// The opened archive.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The archive as a layer that is its own blob.
    pub(super) fn source(&self) -> io::Result<Source> {
        let descriptor = Descriptor::new(MediaType::ImageLayer, self.size, self.diff_id.clone());
        Ok(Source { blob: self.file.try_clone()?, descriptor, diff_id: self.diff_id.clone() })
    }
}

impl Cache {
    /// The archive of a layer, from its blob if it is not there. `start` begins to read the blob.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Unpacked`] if the layer is a directory already, on which overlays may lie.
    pub fn archive(&self, diff_id: &Digest, start: impl FnOnce() -> Result<Started, Error>) -> Result<Archive, Error> {
        if let Some(archive) = self.archive_if_there(diff_id)? {
            return Ok(archive);
        }
        let state = self.state(diff_id);
        let there = |lock: File| match self.stored(diff_id, &lock)? {
            None if self.found(diff_id, lock).during("read", &state)?.is_some() => {
                Err(Error::Unpacked { diff_id: diff_id.clone() })
            }
            archive => Ok(archive),
        };
        let mut lock = match self.claim(&state, there)? {
            Claim::Found(archive) => return Ok(archive),
            Claim::Missing(lock) => lock,
        };
        // Another process may have stored it meanwhile.
        if let Some(archive) = there(lock.try_clone().during("open", &state)?)? {
            rustix::fs::flock(&archive.lock, FlockOperation::LockShared).during("lock", &state)?;
            return Ok(archive);
        }
        self.sweep();
        let made = start().and_then(|started| self.store(diff_id, started)).and_then(|file| {
            let text = line(&file, boot().during("read", Path::new(BOOT))?).during("stat", &state)?;
            write_state(&mut lock, &text).during("write", &state)?;
            Ok(file)
        });
        let file = match made {
            Ok(file) => file,
            Err(error) => {
                // Report only the first error. Whoever waits for the lock notices that the file is gone.
                let _ = fs::remove_file(&state);
                return Err(error);
            }
        };
        rustix::fs::flock(&lock, FlockOperation::LockShared).during("lock", &state)?;
        let size = file.metadata().during("stat", &state)?.len();
        Ok(Archive { path: self.path(diff_id), diff_id: diff_id.clone(), file, size, lock })
    }

    /// The archive of a layer, if it is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn archive_if_there(&self, diff_id: &Digest) -> Result<Option<Archive>, Error> {
        if !self.path(diff_id).is_file() {
            return Ok(None);
        }
        let lock = self.lock(diff_id, FlockOperation::LockShared)?;
        self.stored(diff_id, &lock)
    }

    /// Writes the archive of a layer, and opens it for reading.
    fn store(&self, diff_id: &Digest, started: Started) -> Result<File, Error> {
        let target = self.path(diff_id);
        // Not complete, or changed by somebody.
        remove_tree(&target)?;
        let folder = target.parent().expect("a layer's path has a folder");
        let unfinished = Unfinished::create(folder, TEMPORARY, 0o700)?;
        let path = unfinished.path().join("archive");
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path).during("create", &path)?;
        let digest = started.digest().clone();
        let mut stream = started.into_stream();
        loop {
            let bytes = match stream.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => bytes,
                // The verdict tells what was wrong with the blob.
                Err(_) => break,
            };
            file.write_all(bytes).during("write", &path)?;
            let count = bytes.len();
            stream.consume(count);
        }
        stream.finish().map_err(|source| Error::Blob { digest: digest.clone(), source })?;
        self.check_entries(&path).map_err(|source| Error::Apply { digest, source })?;
        file.set_permissions(fs::Permissions::from_mode(0o400)).during("chmod", &path)?;
        fs::rename(&path, &target).during("rename", &target)?;
        // Nobody has it open for writing from here on.
        drop(file);
        Ok(open(&target).during("open", &target)?)
    }

    /// Whether an archive has no more entries than somebody allows. Nobody's archive is measured without such a wish: that of an image
    /// is counted when the image is made.
    fn check_entries(&self, path: &Path) -> Result<(), apply::Error> {
        let Some(limit) = self.limits.entries else { return Ok(()) };
        let mut reader = Reader::new(BufReader::with_capacity(256 * 1024, File::open(path).during("open", path)?));
        let mut count = 0;
        while reader.next_entry()?.is_some() {
            count += 1;
            if count > limit {
                return Err(apply::Error::TooMany { limit });
            }
        }
        Ok(())
    }

    /// The archive, if it is there and its content is what its name says.
    fn stored(&self, diff_id: &Digest, lock: &File) -> Result<Option<Archive>, Error> {
        let path = self.path(diff_id);
        let file = match open(&path) {
            Ok(file) if file.metadata().is_ok_and(|found| found.is_file()) => file,
            _ => return Ok(None),
        };
        let mut lock = lock.try_clone().during("open", &path)?;
        match trust(&mut lock, &file).during("read", self.state(diff_id))? {
            Trust::Full => {}
            Trust::Lost(error) => {
                if let Some(error) = error {
                    tracing::warn!("layer {diff_id}: the disk did not take the stored archive: {error}");
                }
                return Ok(None);
            }
            Trust::None => {
                tracing::info!("layer {diff_id}: hashing the stored archive, which may have changed");
                let found = match digest(&file, diff_id) {
                    // A bad disk is no reason to give up: there is the blob.
                    Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => None,
                    other => Some(other.during("read", &path)?),
                };
                if found.as_ref() != Some(diff_id) {
                    tracing::warn!("layer {diff_id}: the stored archive is damaged");
                    return Ok(None);
                }
                note_state(&mut lock, &line(&file, boot().during("read", Path::new(BOOT))?).during("stat", &path)?);
            }
        }
        let size = file.metadata().during("stat", &path)?.len();
        Ok(Some(Archive { path, diff_id: diff_id.clone(), file, size, lock }))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// How the state of an archive begins.
const STATE: &str = "archive";
/// In the place of a boot: that the content is on the disk.
const DURABLE: &str = "durable";

/// What tells a file from one whose content is another.
fn identity(file: &File) -> io::Result<String> {
    let found = file.metadata()?;
    Ok(format!("{} {} {}.{:09}", found.len(), found.ino(), found.ctime(), found.ctime_nsec()))
}

/// The state of an archive whose content was right, and in the page cache or on the disk since then.
fn line(file: &File, since: &str) -> io::Result<String> {
    Ok(format!("{STATE} {since} {}\n", identity(file)?))
}

/// How far the content of an archive can be relied on.
enum Trust {
    /// It is what was hashed.
    Full,
    /// It may have changed.
    None,
    /// What is read may not be on the disk; with the error if that was found out now.
    Lost(Option<io::Error>),
}

/// Compares the file with what was recorded. After a minute, its content is made durable.
fn trust(lock: &mut File, file: &File) -> io::Result<Trust> {
    let state = read_state(lock)?;
    if state == LOST {
        return Ok(Trust::Lost(None));
    }
    if state == line(file, DURABLE)? {
        return Ok(Trust::Full);
    }
    if state != line(file, boot()?)? {
        return Ok(Trust::None);
    }
    let age = SystemTime::now().duration_since(lock.metadata()?.modified()?).unwrap_or_default();
    if age > Duration::from_secs(60) {
        if let Err(error) = file.sync_all() {
            write_state(lock, LOST)?;
            return Ok(Trust::Lost(Some(error)));
        }
        note_state(lock, &line(file, DURABLE)?);
    }
    Ok(Trust::Full)
}

/// The digest of a file, of the algorithm of `like`.
fn digest(file: &File, like: &Digest) -> io::Result<Digest> {
    let mut hasher = Hasher::of(like).map_err(io::Error::other)?;
    let mut file = file.try_clone()?;
    file.rewind()?;
    let mut buffer = Buffer::new(256 * 1024);
    loop {
        crate::interrupt::check()?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
