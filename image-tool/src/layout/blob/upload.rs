//! Uploads: blobs that arrive in pieces and whose digest is told only at the end, as a registry receives them.
//!
//! What has arrived is in the folder of interrupted downloads, under a name that the caller chose, so that a program that was
//! restarted can go on.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use oci_spec::image::{Descriptor, MediaType};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use super::{BlobWriter, PARTIAL, Place, Writer};
use crate::address::digest::{Digest, Hasher};
use crate::beneath::page::Buffer;
use crate::error::{During, Io};
use crate::layout::{Error, Layout};

/// How the names of uploads begin, to tell them from downloads.
const PREFIX: &str = "upload-";

/// An upload that waits to be continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The name that it was started under.
    pub name: String,
    /// When something was last written to it.
    pub changed: SystemTime,
}

/// The path of an upload, or nothing if the name could mean another file.
fn path_of(name: &str) -> Option<PathBuf> {
    let is_plain = !name.is_empty() && name.len() <= 64;
    let is_plain = is_plain && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_plain.then(|| Path::new(PARTIAL).join(format!("{PREFIX}{name}")))
}

impl Writer {
    /// Starts an upload under a name of letters, digits and hyphens, at most 64.
    ///
    /// # Errors
    /// [`Error::Io`], also if the name is taken or is none.
    pub fn start_upload(&self, name: &str) -> Result<BlobWriter, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match self.open_upload(name, flags)? {
            Some(upload) => Ok(upload),
            None => Err(Io::new("create", self.layout.path().join(PARTIAL), io::ErrorKind::InvalidInput).into()),
        }
    }

    /// Continues an upload after what has been written ([`BlobWriter::size`]); `None` if there is none of this name.
    ///
    /// # Errors
    /// [`Error::Busy`] if somebody else is writing to it, [`Error::Io`].
    pub fn continue_upload(&self, name: &str) -> Result<Option<BlobWriter>, Error> {
        self.open_upload(name, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK)
    }

    fn open_upload(&self, name: &str, flags: OFlags) -> Result<Option<BlobWriter>, Error> {
        let Some(relative) = path_of(name) else { return Ok(None) };
        let path = self.layout.path().join(&relative);
        let folder = &self.layout.shared.folder;
        let mut file = loop {
            if flags.contains(OFlags::CREATE) {
                match rustix::fs::mkdirat(folder, PARTIAL, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(Io::new("create", path, error).into()),
                }
            }
            match rustix::fs::openat(folder, &relative, flags, Mode::from_raw_mode(0o644)) {
                // Whoever finished the last download removed the folder in between.
                Err(rustix::io::Errno::NOENT) if flags.contains(OFlags::CREATE) => {}
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                other => break File::from(other.during("open", &path)?),
            }
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy { path }),
            Err(error) => return Err(Io::new("lock", path, error).into()),
        }
        let mut hasher = Hasher::sha256();
        let size = feed(&mut file, &mut hasher).during("read", &path)?;
        let place = Place::Kept(relative);
        Ok(Some(BlobWriter { writer: self.clone(), file, hasher, size, expected: None, place }))
    }
}

impl BlobWriter {
    /// Says which algorithm the digest will have, before anything is written: then the blob is hashed while it arrives, and not
    /// again in the end. Without it, that is so for sha256.
    pub fn announce(&mut self, hasher: Hasher) {
        if self.size == 0 {
            self.hasher = hasher;
        }
    }

    /// As [`Self::commit`], if the blob has this digest.
    ///
    /// # Errors
    /// [`Error::BadBlob`] if it is not what was expected; nothing is kept then. [`Error::Io`].
    pub fn commit_as(mut self, digest: &Digest, media_type: MediaType) -> Result<Descriptor, Error> {
        if self.hasher.clone().finish().algorithm() != digest.algorithm() {
            let mut hasher = hasher_of(digest)?;
            let read = self.file.rewind().and_then(|()| feed(&mut self.file, &mut hasher));
            read.map_err(|error| self.error("read", error))?;
            self.hasher = hasher;
        }
        self.expected = Some(Descriptor::new(media_type.clone(), self.size, digest.clone()));
        self.commit(media_type)
    }

    /// Discards the blob and what was kept of it.
    pub fn cancel(self) {
        self.discard();
    }
}

impl Layout {
    /// The uploads that wait to be continued or are in progress.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn uploads(&self) -> Result<Vec<Upload>, Error> {
        let path = self.path().join(PARTIAL);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Io::new("read", path, error).into()),
        };
        let upload = |entry: std::fs::DirEntry| {
            let name = entry.file_name().to_str()?.strip_prefix(PREFIX)?.to_owned();
            // One that is gone meanwhile is none.
            let changed = entry.metadata().ok()?.modified().ok()?;
            Some(Upload { name, changed })
        };
        Ok(entries.flatten().filter_map(upload).collect())
    }

    /// Removes an upload that nobody will continue; one in progress loses its name, and fails in the end.
    pub fn drop_upload(&self, name: &str) {
        if let Some(relative) = path_of(name) {
            // It may be gone; if it stays, garbage collection removes it.
            let _ = rustix::fs::unlinkat(&self.shared.folder, &relative, AtFlags::empty());
            self.drop_partial_folder();
        }
    }
}

fn hasher_of(digest: &Digest) -> Result<Hasher, Error> {
    Hasher::of(digest).map_err(|source| Error::BadBlob { digest: digest.clone(), source })
}

/// Hashes a file from where it stands to its end; returns how many bytes that were.
fn feed(file: &mut File, hasher: &mut Hasher) -> io::Result<u64> {
    let mut buffer = Buffer::new(1 << 17);
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(size),
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::address::digest;

    fn layout() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("images")).unwrap();
        (folder, layout)
    }

    #[test]
    fn an_upload_goes_on_where_it_stopped_and_gets_its_digest_in_the_end() {
        let (_folder, layout) = layout();
        let writer = layout.writer().unwrap();
        let mut upload = writer.start_upload("one").unwrap();
        upload.write_all(b"hel").unwrap();
        assert!(matches!(writer.continue_upload("one"), Err(Error::Busy { .. })), "it is in progress");
        assert!(writer.start_upload("one").is_err(), "the name is taken");
        drop(upload);
        assert_eq!(layout.uploads().unwrap()[0].name, "one");
        let mut upload = writer.continue_upload("one").unwrap().unwrap();
        assert_eq!(upload.size(), 3);
        upload.write_all(b"lo").unwrap();
        let made = upload.commit_as(&digest::sha256(b"hello"), MediaType::ImageLayer).unwrap();
        assert_eq!(layout.read(&made, 100).unwrap(), b"hello");
        assert!(writer.continue_upload("one").unwrap().is_none());
        assert!(!layout.path().join(PARTIAL).exists());
    }

    #[test]
    fn the_digest_may_have_another_algorithm() {
        let (_folder, layout) = layout();
        let writer = layout.writer().unwrap();
        let mut hasher = Hasher::named("sha512").unwrap();
        hasher.update(b"hello");
        let digest = hasher.finish();
        for announced in [false, true] {
            let mut upload = writer.start_upload("one").unwrap();
            if announced {
                upload.announce(Hasher::named("sha512").unwrap());
            }
            upload.write_all(b"hello").unwrap();
            let made = upload.commit_as(&digest, MediaType::ImageLayer).unwrap();
            assert_eq!(layout.read(&made, 100).unwrap(), b"hello", "{announced}");
        }
    }

    #[test]
    fn an_upload_with_another_digest_is_forgotten() {
        let (_folder, layout) = layout();
        let writer = layout.writer().unwrap();
        let mut upload = writer.start_upload("one").unwrap();
        upload.write_all(b"hallo").unwrap();
        let refused = upload.commit_as(&digest::sha256(b"hello"), MediaType::ImageLayer);
        assert!(matches!(refused, Err(Error::BadBlob { source: digest::Error::Mismatch { .. }, .. })));
        assert!(layout.uploads().unwrap().is_empty());
        writer.start_upload("two").unwrap().cancel();
        assert!(layout.uploads().unwrap().is_empty());
        drop(writer.start_upload("three").unwrap());
        layout.drop_upload("three");
        assert!(!layout.path().join(PARTIAL).exists());
    }

    #[test]
    fn the_name_of_an_upload_leads_nowhere_else() {
        let (_folder, layout) = layout();
        let writer = layout.writer().unwrap();
        for name in ["", "../../x", "a/b", ".", "a.b", &"a".repeat(65)] {
            assert!(writer.start_upload(name).is_err(), "{name}");
            assert!(writer.continue_upload(name).unwrap().is_none(), "{name}");
        }
    }
}
