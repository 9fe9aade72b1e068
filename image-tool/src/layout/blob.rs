//! Writing blobs: hashed while they are written, visible only when they are complete and on disk. Those whose digest is told only at
//! the end are in `upload`.

mod upload;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::{Descriptor, MediaType};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use super::{Error, Index, Layout};
use crate::address::RefName;
use crate::address::digest::{self, Digest, Hasher};
use crate::beneath::page::Buffer;
use crate::error::{During, Io};

pub use self::upload::Upload;

/// The folder for interrupted downloads. Garbage collection empties it.
pub(crate) const PARTIAL: &str = ".partial";

/// A writer of blobs. While it exists, garbage is not collected, so blobs may be written before the entry that refers
/// to them. Clones are cheap, for threads.
#[derive(Clone, Debug)]
pub struct Writer {
    layout: Layout,
    /// Whether a blob's name is on disk once it is committed, as its bytes are.
    flushes_names: bool,
    /// Whether an image that loses its only ref stays in the index.
    keeps_former: bool,
    _lock: Arc<OwnedFd>,
}

impl Writer {
    pub(super) fn new(layout: Layout, lock: OwnedFd) -> Self {
        Self { layout, flushes_names: true, keeps_former: false, _lock: Arc::new(lock) }
    }

    /// A writer for a cache, which looks whether a blob is there: after a crash of the machine, blobs may be missing, but none is wrong.
    #[must_use]
    pub fn for_cache(self) -> Self {
        Self { flushes_names: false, ..self }
    }

    /// A writer for people who name images as with docker, where an image that loses its only ref to another stays until it is removed.
    #[must_use]
    pub fn keeping_former(self, keeps_former: bool) -> Self {
        Self { keeps_former, ..self }
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes a small blob from memory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put(&self, media_type: MediaType, bytes: &[u8]) -> Result<Descriptor, Error> {
        let descriptor = Descriptor::new(media_type.clone(), bytes.len() as u64, digest::sha256(bytes));
        // Read it again to be sure: a blob of the right size may have the wrong content.
        if self.layout.read(&descriptor, descriptor.size()).is_ok() {
            return Ok(descriptor);
        }
        let mut blob = self.blob()?;
        blob.write_all(bytes).map_err(|error| blob.error("write", error))?;
        blob.commit(media_type)
    }

    /// Starts a blob with an unknown digest.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn blob(&self) -> Result<BlobWriter, Error> {
        let (file, place) = self.temporary()?;
        Ok(BlobWriter { writer: self.clone(), file, hasher: Hasher::sha256(), size: 0, expected: None, place })
    }

    /// Starts a blob that must match `expected`; otherwise [`BlobWriter::commit`] fails.
    ///
    /// # Errors
    /// [`Error::BadBlob`] if the digest algorithm is not supported.
    pub fn expect(&self, expected: &Descriptor) -> Result<BlobWriter, Error> {
        let hasher = self.hasher(expected)?;
        let (file, place) = self.temporary()?;
        Ok(BlobWriter { writer: self.clone(), file, hasher, size: 0, expected: Some(expected.clone()), place })
    }

    /// Starts or continues a blob that must match `expected`. If it is dropped before it is committed, or the process
    /// is killed, the next call continues from there ([`BlobWriter::size`]). A second call at the same time starts from
    /// the beginning and keeps nothing.
    ///
    /// # Errors
    /// Those of [`Self::expect`].
    pub fn resume(&self, expected: &Descriptor) -> Result<BlobWriter, Error> {
        let mut hasher = self.hasher(expected)?;
        let folder = &self.layout.shared.folder;
        let relative = Path::new(PARTIAL).join(expected.digest().to_string().replace(':', "-"));
        let path = self.layout.path().join(&relative);
        let mut open = || -> io::Result<Option<(File, u64)>> {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let mut file = loop {
                match rustix::fs::mkdirat(folder, PARTIAL, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                match rustix::fs::openat(folder, &relative, flags, Mode::from_raw_mode(0o644)) {
                    // Another process finished the last download and removed the folder in between.
                    Err(rustix::io::Errno::NOENT) => {}
                    other => break File::from(other?),
                }
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // The previous owner of the lock may have committed the file, that is, renamed it to be a blob: then it
            // must not be written to.
            let held = rustix::fs::fstat(&file)?;
            match rustix::fs::statat(folder, &relative, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => {}
                _ => return Ok(None),
            }
            if file.metadata()?.len() > expected.size() {
                file.set_len(0)?;
            }
            let mut buffer = Buffer::new(1 << 17);
            let mut size = 0;
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(Some((file, size))),
                    count => hasher.update(&buffer[..count]),
                }
                size = file.stream_position()?;
            }
        };
        match open().during("open", &path)? {
            Some((file, size)) => {
                let place = Place::Kept(relative);
                Ok(BlobWriter { writer: self.clone(), file, hasher, size, expected: Some(expected.clone()), place })
            }
            None => self.expect(expected),
        }
    }

    /// Takes a blob from another layout: by a hard link on the same file system, otherwise by a verified copy. Does
    /// nothing if the blob exists.
    ///
    /// # Errors
    /// [`Error::MissingBlob`], [`Error::BadBlob`], [`Error::Io`].
    pub fn take(&self, from: &Layout, descriptor: &Descriptor) -> Result<(), Error> {
        if self.layout.has(descriptor) {
            return Ok(());
        }
        let source = from.open_blob(descriptor)?;
        let target = Layout::blob_path(descriptor.digest());
        self.make_algorithm_folder(descriptor.digest())?;
        if link(&source, self.layout.shared.folder.as_fd(), &target).is_ok() {
            return Ok(());
        }
        let mut blob = self.expect(descriptor)?;
        let mut reader = from.blob(descriptor)?;
        io::copy(&mut reader, &mut blob).map_err(|error| from.read_error(descriptor, error))?;
        blob.commit(descriptor.media_type().clone()).map(drop)
    }

    /// Gives a ref to an image whose blobs have been written.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`] if `index.json` is not an index.
    pub fn publish(&self, reference: &RefName, descriptor: Descriptor) -> Result<(), Error> {
        self.layout.update_index(|index| {
            self.name(index, reference, &descriptor);
            Ok(())
        })
    }

    /// Gives a ref to an image in an index that is being changed.
    pub fn name(&self, index: &mut Index, reference: &RefName, descriptor: &Descriptor) {
        if self.keeps_former {
            index.take_over(reference, descriptor);
        } else {
            index.set(reference, descriptor);
        }
    }

    fn hasher(&self, expected: &Descriptor) -> Result<Hasher, Error> {
        Hasher::of(expected.digest()).map_err(|source| Error::BadBlob { digest: expected.digest().clone(), source })
    }

    /// A file without a name if the file system supports that, so that nothing is ever left behind.
    fn temporary(&self) -> Result<(File, Place), Error> {
        let folder = &self.layout.shared.folder;
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::openat(folder, "blobs", flags, Mode::from_raw_mode(0o644)) {
            Ok(file) => return Ok((File::from(file), Place::Nameless)),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(Io::new("create a file in", self.layout.path().join("blobs"), error).into()),
        }
        let named = tempfile::Builder::new().prefix(".new-").tempfile_in(self.layout.path().join("blobs"));
        let (file, path) = named.during("create a file in", self.layout.path().join("blobs"))?.into_parts();
        Ok((file, Place::Named(path)))
    }

    fn make_algorithm_folder(&self, digest: &Digest) -> Result<(), Error> {
        let relative = Path::new("blobs").join(digest.algorithm().as_ref());
        match rustix::fs::mkdirat(&self.layout.shared.folder, &relative, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(Io::new("create", self.layout.path().join(relative), error).into()),
        }
    }
}

impl Layout {
    /// Removes the folder of interrupted downloads if it is empty, so that a layout contains only what the spec
    /// describes.
    pub(super) fn drop_partial_folder(&self) {
        // It is not empty if another download is in progress or waits to be resumed.
        let _ = rustix::fs::unlinkat(&self.shared.folder, PARTIAL, AtFlags::REMOVEDIR);
    }
}

#[derive(Debug)]
enum Place {
    Nameless,
    Named(#[expect(dead_code, reason = "held for its drop, which removes the file")] tempfile::TempPath),
    Kept(PathBuf),
}

/// A blob in the making. Dropped without [`Self::commit`], it leaves nothing; from [`Writer::resume`], it leaves what
/// was written.
pub struct BlobWriter {
    writer: Writer,
    file: File,
    hasher: Hasher,
    size: u64,
    expected: Option<Descriptor>,
    place: Place,
}

impl BlobWriter {
    /// The number of bytes so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of the bytes so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Reads what has been written, from the beginning. Writing can continue afterwards.
    ///
    /// # Errors
    /// The error of reading or seeking.
    pub fn read_back<T>(&mut self, read: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> io::Result<T> {
        self.file.seek(SeekFrom::Start(0))?;
        let result = read(&mut self.file)?;
        self.file.seek(SeekFrom::Start(self.size))?;
        Ok(result)
    }

    /// The file that is written to, for whoever reads by position what is already there. It stays the blob's once that is committed.
    ///
    /// # Errors
    /// The error of duplicating the descriptor.
    pub fn view(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Discards what has been written, if the source cannot continue from the middle.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn restart(&mut self) -> Result<(), Error> {
        let restart = |file: &mut File| file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        restart(&mut self.file).map_err(|error| self.error("truncate", error))?;
        self.hasher = match &self.expected {
            Some(expected) => self.writer.hasher(expected)?,
            None => Hasher::sha256(),
        };
        self.size = 0;
        Ok(())
    }

    /// Makes the blob durable and visible under its digest.
    ///
    /// # Errors
    /// [`Error::BadBlob`] if it is not what was expected; nothing is kept then. [`Error::Io`].
    pub fn commit(self, media_type: MediaType) -> Result<Descriptor, Error> {
        let actual = self.hasher.clone().finish();
        if let Some(expected) = &self.expected {
            let digest = expected.digest().clone();
            let wrong = if self.size != expected.size() {
                Some(digest::Error::Size { expected: expected.size(), actual: self.size })
            } else if actual != digest {
                Some(digest::Error::Mismatch { expected: digest.clone(), actual: actual.clone() })
            } else {
                None
            };
            if let Some(source) = wrong {
                self.discard();
                return Err(Error::BadBlob { digest, source });
            }
        }
        self.writer.make_algorithm_folder(&actual)?;
        self.file.sync_all().map_err(|error| self.error("fsync", error))?;
        let layout = self.writer.layout.clone();
        let folder = layout.shared.folder.as_fd();
        let target = Layout::blob_path(&actual);
        let failed = |error: io::Error| Error::from(Io::new("write", layout.path().join(&target), error));
        let descriptor = Descriptor::new(media_type, self.size, actual.clone());
        match &self.place {
            Place::Kept(relative) => {
                rustix::fs::renameat(folder, relative, folder, &target).map_err(|error| failed(error.into()))?;
                layout.drop_partial_folder();
            }
            Place::Nameless | Place::Named(_) => match link(&self.file, folder, &target) {
                Ok(()) => {}
                // The blob exists. It is kept only if it is sound: a corrupt one, from a crash or a bad disk, must not
                // survive the good one that we have.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let sound = layout.blob(&descriptor).is_ok_and(|reader| reader.finish().is_ok());
                    if !sound {
                        self.replace(&target).map_err(failed)?;
                    }
                }
                Err(error) => return Err(failed(error)),
            },
        }
        if self.writer.flushes_names {
            let parent = layout.path().join(&target);
            let parent = parent.parent().expect("a blob's path has a folder");
            File::open(parent).and_then(|folder| folder.sync_all()).during("fsync", parent)?;
        }
        Ok(descriptor)
    }

    /// Replaces a corrupt blob by ours in one step.
    fn replace(&self, target: &Path) -> io::Result<()> {
        let folder = self.writer.layout.shared.folder.as_fd();
        let temporary = format!("blobs/.new-{}-{}", std::process::id(), digest::short(&self.hasher.clone().finish()));
        link(&self.file, folder, Path::new(&temporary))?;
        rustix::fs::renameat(folder, &temporary, folder, target).map_err(|error| {
            // Report only the error of the rename.
            let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
            error.into()
        })
    }

    fn discard(self) {
        if let Place::Kept(relative) = &self.place {
            // If it cannot be removed, it is found to be wrong again next time.
            let _ = rustix::fs::unlinkat(&self.writer.layout.shared.folder, relative, AtFlags::empty());
            self.writer.layout.drop_partial_folder();
        }
    }

    /// Adds the path of the layout to an error of writing.
    #[must_use]
    pub fn error(&self, operation: &'static str, source: io::Error) -> Error {
        Io::new(operation, self.writer.layout.path().join("blobs"), source).into()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(expected) = &self.expected
            && self.size + bytes.len() as u64 > expected.size()
        {
            let actual = self.size + bytes.len() as u64;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                digest::Error::Size { expected: expected.size(), actual },
            ));
        }
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Gives an open file a name beneath `folder`.
fn link(file: &File, folder: impl AsFd, target: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    // Before Linux 6.10, linkat(AT_EMPTY_PATH) needs CAP_DAC_READ_SEARCH; a path in /proc does not.
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(rustix::fs::CWD, source, folder, target, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("images")).unwrap();
        (folder, layout)
    }

    fn descriptor(bytes: &[u8]) -> Descriptor {
        Descriptor::new(MediaType::ImageLayer, bytes.len() as u64, digest::sha256(bytes))
    }

    #[test]
    fn an_uncommitted_blob_leaves_nothing() {
        let (_folder, layout) = layout();
        let mut blob = layout.writer().unwrap().blob().unwrap();
        blob.write_all(b"half").unwrap();
        drop(blob);
        let left = walkdir::WalkDir::new(layout.path().join("blobs"))
            .into_iter()
            .filter(|entry| entry.as_ref().unwrap().file_type().is_file());
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn a_blob_that_is_not_what_was_expected_is_refused() {
        let (_folder, layout) = layout();
        let writer = layout.writer().unwrap();
        let expected = descriptor(b"hello");
        let mut blob = writer.expect(&expected).unwrap();
        blob.write_all(b"hallo").unwrap();
        assert!(matches!(
            blob.commit(MediaType::ImageLayer),
            Err(Error::BadBlob { source: digest::Error::Mismatch { .. }, .. })
        ));
        let mut blob = writer.expect(&expected).unwrap();
        assert_eq!(blob.write_all(b"hello!").unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(matches!(
            blob.commit(MediaType::ImageLayer),
            Err(Error::BadBlob { source: digest::Error::Size { .. }, .. })
        ));
        assert!(!layout.has(&expected));
    }

    #[test]
    fn a_cut_download_goes_on_where_it_stopped() {
        let (_folder, layout) = layout();
        let writer = layout.writer().unwrap();
        let expected = descriptor(b"hello");
        let mut blob = writer.resume(&expected).unwrap();
        blob.write_all(b"hel").unwrap();
        assert_eq!(writer.resume(&expected).unwrap().size(), 0, "two at once do not share a file");
        drop(blob);
        let mut blob = writer.resume(&expected).unwrap();
        assert_eq!(blob.size(), 3);
        blob.write_all(b"lo").unwrap();
        blob.commit(MediaType::ImageLayer).unwrap();
        assert_eq!(layout.read(&expected, 100).unwrap(), b"hello");
        assert!(!layout.path().join(PARTIAL).exists(), "nothing waits to be resumed");
        assert_eq!(writer.resume(&expected).unwrap().size(), 0);
    }

    #[test]
    fn a_wrong_partial_file_is_forgotten() {
        let (_folder, layout) = layout();
        let writer = layout.writer().unwrap();
        let expected = descriptor(b"hello");
        let mut blob = writer.resume(&expected).unwrap();
        blob.write_all(b"hallo").unwrap();
        assert!(blob.commit(MediaType::ImageLayer).is_err());
        assert_eq!(writer.resume(&expected).unwrap().size(), 0);
    }

    #[test]
    fn a_broken_blob_is_replaced_by_the_good_one() {
        let (_folder, layout) = layout();
        let writer = layout.writer().unwrap();
        let expected = writer.put(MediaType::ImageLayer, b"hello").unwrap();
        let path = layout.path().join(Layout::blob_path(expected.digest()));
        std::fs::write(&path, "hallo").unwrap();
        assert!(matches!(layout.read(&expected, 100), Err(Error::BadBlob { .. })));
        writer.put(MediaType::ImageLayer, b"hello").unwrap();
        assert_eq!(layout.read(&expected, 100).unwrap(), b"hello");
    }

    #[test]
    fn a_blob_moves_between_layouts_by_a_link() {
        use std::os::unix::fs::MetadataExt as _;
        let (_folder, one) = layout();
        let (_other_folder, two) = layout();
        let blob = one.writer().unwrap().put(MediaType::ImageLayer, b"hello").unwrap();
        two.writer().unwrap().take(&one, &blob).unwrap();
        assert_eq!(two.read(&blob, 100).unwrap(), b"hello");
        let inode =
            |layout: &Layout| std::fs::metadata(layout.path().join(Layout::blob_path(blob.digest()))).unwrap().ino();
        assert_eq!(inode(&one), inode(&two));
    }

    #[test]
    fn garbage_collection_waits_for_writers() {
        let (_folder, layout) = layout();
        let writer = layout.writer().unwrap();
        assert!(matches!(layout.lock_blobs(), Err(Error::Busy { .. })));
        drop(writer);
        let lock = layout.lock_blobs().unwrap();
        drop(lock);
        assert!(layout.writer().is_ok());
    }
}
