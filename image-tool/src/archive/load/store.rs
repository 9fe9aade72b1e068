//! The files of an archive: small ones in memory, large ones as blobs without a name, until an image needs them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead, Write};
use std::path::{Component, Path, PathBuf};

use oci_spec::image::{Descriptor, MediaType};

use crate::address::digest::{self, Digest, Hasher};
use crate::archive::Error;
use crate::layer::Compression;
use crate::layer::entry::{Kind, Reader, Whole};
use crate::layer::limit::Limits;
use crate::layer::stream::default_limit;
use crate::layout::{BlobWriter, MANIFEST_LIMIT, Writer};

/// More files than an archive of hundreds of images has. Each large one stays open until the end.
const FILES: usize = 20_000;
/// Files up to this size stay in memory; the documents of docker and OCI are smaller.
const SMALL: u64 = 128 * 1024;
const MEMORY: u64 = 256 << 20;

/// A file of the archive.
pub(super) struct Stored {
    pub(super) content: Content,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) compression: Compression,
    /// The digest of the archive in it, once it has been decompressed.
    pub(super) diff_id: Option<Digest>,
}

pub(super) enum Content {
    Memory(Vec<u8>),
    Blob(Option<Box<BlobWriter>>),
}

/// The files of an archive, and the layout that its images go into.
pub(super) struct Archive<'a> {
    pub(super) writer: &'a Writer,
    pub(super) files: BTreeMap<PathBuf, Stored>,
    links: HashMap<PathBuf, PathBuf>,
    pub(super) committed: BTreeSet<String>,
    limits: Limits,
}

impl<'a> Archive<'a> {
    pub(super) fn new(writer: &'a Writer, limits: Limits) -> Self {
        Self { writer, files: BTreeMap::new(), links: HashMap::new(), committed: BTreeSet::new(), limits }
    }

    pub(super) fn read<R: BufRead>(&mut self, input: R) -> Result<(), Error> {
        let mut reader = Reader::new(input);
        let mut memory = 0;
        let most = self.limits.entries.map_or(FILES, |most| usize::try_from(most).unwrap_or(usize::MAX));
        while let Some(entry) = reader.next_entry()? {
            let path = normal(&entry.path);
            if self.files.len() + self.links.len() >= most {
                return Err(Error::TooMany { limit: most });
            }
            match entry.kind {
                Kind::File => {
                    if let Some(limit) = self.limits.size.filter(|limit| entry.size > *limit) {
                        return Err(malformed(&path, format!("{} bytes are more than {limit}", entry.size)));
                    }
                    // A few bytes of an archive must not fill a disk with zeros.
                    if entry.size > default_limit(entry.stored()) {
                        return Err(malformed(&path, format!("{} bytes, of which nearly all are holes", entry.size)));
                    }
                    let small = entry.size <= SMALL && memory + entry.size <= MEMORY;
                    memory += if small { entry.size } else { 0 };
                    let stored = self.store(&path, small, entry.size, &mut Whole::new(&mut reader, &entry))?;
                    self.links.remove(&path);
                    self.files.insert(path, stored);
                }
                // docker writes equal layers only once, and links for the others.
                Kind::Symlink(target) => {
                    let from = path.parent().unwrap_or(Path::new(""));
                    self.links.insert(path.clone(), normal(&from.join(target)));
                }
                Kind::HardLink(target) => {
                    self.links.insert(path, normal(&target));
                }
                _ => {}
            }
        }
        // Read to the end, so that a checksum behind the archive is verified and a writing pipe is not cut off.
        io::copy(&mut reader.into_inner(), &mut io::sink()).map_err(|error| Error::Tar(error.into()))?;
        Ok(())
    }

    fn store(&self, path: &Path, small: bool, size: u64, reader: &mut impl BufRead) -> Result<Stored, Error> {
        let promised = promised(path);
        let mut hasher = match &promised {
            Some(digest) => Hasher::of(digest).map_err(|error| malformed(path, error))?,
            None => Hasher::sha256(),
        };
        let mut content = if small {
            Content::Memory(Vec::new())
        } else if let Some(digest) = &promised {
            let descriptor = Descriptor::new(MediaType::ImageLayer, size, digest.clone());
            Content::Blob(Some(Box::new(self.writer.expect(&descriptor)?)))
        } else {
            Content::Blob(Some(Box::new(self.writer.blob()?)))
        };
        let mut compression = None;
        loop {
            let bytes = reader.fill_buf().map_err(|error| Error::Tar(error.into()))?;
            if bytes.is_empty() {
                break;
            }
            compression.get_or_insert_with(|| Compression::of_magic(bytes));
            match &mut content {
                Content::Memory(memory) => {
                    memory.extend_from_slice(bytes);
                    hasher.update(bytes);
                }
                // The blob does its own hashing.
                Content::Blob(Some(blob)) => blob.write_all(bytes).map_err(|error| blob.error("write", error))?,
                Content::Blob(None) => hasher.update(bytes),
            }
            let count = bytes.len();
            reader.consume(count);
        }
        let digest = match &content {
            Content::Blob(Some(blob)) => blob.digest(),
            _ => hasher.finish(),
        };
        if let Some(promised) = promised.filter(|promised| *promised != digest) {
            return Err(malformed(path, digest::Error::Mismatch { expected: promised, actual: digest }));
        }
        Ok(Stored { content, digest, size, compression: compression.unwrap_or(Compression::None), diff_id: None })
    }

    /// The path of a file, with links resolved.
    pub(super) fn find(&self, path: &Path) -> Option<PathBuf> {
        let mut path = normal(path);
        for _ in 0..16 {
            if self.files.contains_key(&path) {
                return Some(path);
            }
            path = self.links.get(&path)?.clone();
        }
        None
    }

    pub(super) fn file(&mut self, path: &Path) -> Result<(PathBuf, &mut Stored), Error> {
        let found = self.find(path).ok_or_else(|| Error::Missing { path: path.to_path_buf() })?;
        let stored = self.files.get_mut(&found).ok_or_else(|| Error::Missing { path: path.to_path_buf() })?;
        Ok((found, stored))
    }

    /// The content of a document.
    pub(super) fn bytes(&mut self, path: &Path) -> Result<Vec<u8>, Error> {
        let (found, stored) = self.file(path)?;
        let size = stored.size;
        match &mut stored.content {
            Content::Memory(bytes) => Ok(bytes.clone()),
            _ if size > MANIFEST_LIMIT => Err(malformed(
                &found,
                format!("{size} bytes exceed the limit of {MANIFEST_LIMIT} for this kind of document"),
            )),
            Content::Blob(Some(blob)) => blob
                .read_back(|reader| {
                    let mut bytes = Vec::new();
                    reader.read_to_end(&mut bytes).map(|_| bytes)
                })
                .map_err(|error| Error::Tar(error.into())),
            Content::Blob(None) => {
                let descriptor = Descriptor::new(MediaType::ImageLayer, size, stored.digest.clone());
                Ok(self.writer.layout().read(&descriptor, MANIFEST_LIMIT)?)
            }
        }
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&mut self, path: &Path) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes(path)?).map_err(|error| malformed(path, error))
    }

    /// Commits a file to the layout as a blob of this type.
    pub(super) fn commit(&mut self, path: &Path, media_type: MediaType) -> Result<Descriptor, Error> {
        let writer = self.writer;
        let found = self.find(path).ok_or_else(|| Error::Missing { path: path.to_path_buf() })?;
        let stored = self.files.get_mut(&found).ok_or_else(|| Error::Missing { path: path.to_path_buf() })?;
        let descriptor = Descriptor::new(media_type.clone(), stored.size, stored.digest.clone());
        match &mut stored.content {
            Content::Memory(bytes) => {
                if !self.committed.contains(descriptor.digest().as_ref()) {
                    let mut blob = writer.expect(&descriptor)?;
                    blob.write_all(bytes).map_err(|error| blob.error("write", error))?;
                    blob.commit(media_type)?;
                }
            }
            Content::Blob(blob) => {
                if let Some(blob) = blob.take() {
                    blob.commit(media_type)?;
                }
            }
        }
        self.committed.insert(descriptor.digest().to_string());
        Ok(descriptor)
    }
}

pub(super) fn malformed(path: &Path, reason: impl ToString) -> Error {
    Error::Malformed { path: path.to_path_buf(), reason: reason.to_string() }
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            _ => {}
        }
    }
    normal
}

/// The digest in a path of the form `blobs/sha256/HEX`.
fn promised(path: &Path) -> Option<Digest> {
    let mut parts = path.iter().map(|part| part.to_str());
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some("blobs")), Some(Some(algorithm)), Some(Some(hex)), None) => {
            digest::parse(&format!("{algorithm}:{hex}")).ok()
        }
        _ => None,
    }
}
