//! Adding a layer to an image.

use std::io::{self, BufReader, Read, Write};

use jiff::Timestamp;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

use crate::address::digest::{Digest, Hasher};
use crate::layer::apply::ENTRIES;
use crate::layer::entry::{self, Reader};
use crate::layer::limit::TooManyLayers;
use crate::layer::pack::{Packer, SeekableError};
use crate::layer::{Compression, Decoder, Found, Sniffed};
use crate::layout::{self, Image, Writer};

/// Why a layer could not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The layout could not be read or written.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The layer is not compressed in a supported way, or could not be read.
    #[error(transparent)]
    Layer(#[from] crate::layer::Error),
    /// A layer of the image is corrupt.
    #[error(transparent)]
    Source(#[from] crate::layer::cache::Error),
    /// The image has too many layers.
    #[error("image refused")]
    Layers(#[from] TooManyLayers),
    /// A layer of the image cannot be read as an archive.
    #[error("layer {digest}")]
    Unread {
        /// The digest of the blob.
        digest: Digest,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A layer has too many entries.
    #[error("more than {limit} entries")]
    TooMany {
        /// The maximum number of entries.
        limit: u64,
    },
    /// The layer is not a tar archive.
    #[error(transparent)]
    Archive(#[from] entry::Error),
    /// The layer has no place in a table of contents.
    #[error(transparent)]
    Seekable(SeekableError),
    /// The input is empty.
    #[error("empty input (even a tar archive without files has 1024 bytes)")]
    Empty,
    /// The config or manifest of the image lacks a field that the layer is added to.
    #[error("the image's {document} has no {field}")]
    Field {
        /// `config` or `manifest`.
        document: &'static str,
        /// The name of the missing field.
        field: &'static str,
    },
}

impl From<SeekableError> for Error {
    fn from(error: SeekableError) -> Self {
        match error {
            SeekableError::Archive(error) => Self::Archive(error),
            SeekableError::TooMany { limit } => Self::TooMany { limit },
            SeekableError::Layout(error) => Self::Layout(error),
            other @ SeekableError::Unfit(_) => Self::Seekable(other),
        }
    }
}

/// A new layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The blob of the layer.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed archive: the diff ID.
    pub diff_id: Digest,
    /// The latest modification time of its entries, in seconds since 1970.
    pub latest: i64,
}

/// A reader that copies what it reads to a writer.
pub(super) struct Tee<R, W> {
    pub(super) reader: R,
    pub(super) writer: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.writer.write_all(&buffer[..count])?;
        Ok(count)
    }
}

struct Hashing<R> {
    reader: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Writes a tar archive to a layout as the blob of a layer. A plain archive is compressed as requested, and so is one that is
/// compressed as layers cannot be (bzip2, xz); any other is stored as it is. The archive is parsed on the way, so that every layer can be unpacked.
///
/// # Errors
/// [`Error`].
pub fn layer<R: Read>(input: R, writer: &Writer, compression: Compression) -> Result<Layer, Error> {
    let sniffed = Sniffed::new(input).map_err(crate::layer::Error::Read)?;
    if sniffed.head().is_empty() {
        return Err(Error::Empty);
    }
    match Found::of_magic(sniffed.head()) {
        // A layer can be neither bzip2 nor xz.
        Found::Known(Compression::None) | Found::Bzip2 | Found::Xz => {
            let mut packer = Packer::new(writer, compression)?;
            let (reader, _) = Decoder::detect(sniffed)?;
            let latest = read_through(Tee { reader, writer: &mut packer }, ENTRIES)?.0;
            let (descriptor, diff_id) = packer.finish()?;
            Ok(Layer { descriptor, diff_id, latest })
        }
        Found::Known(found) => {
            let mut blob = writer.blob()?;
            let (decoder, _) = Decoder::detect(Tee { reader: sniffed, writer: &mut blob })?;
            let hashing = Hashing { reader: decoder, hasher: Hasher::sha256() };
            let (latest, Hashing { reader, hasher }) = read_through(hashing, ENTRIES)?;
            // The blob includes what the decompressor did not need to read.
            io::copy(&mut reader.into_inner(), &mut io::sink()).map_err(crate::layer::Error::Read)?;
            Ok(Layer { descriptor: blob.commit(found.media_type())?, diff_id: hasher.finish(), latest })
        }
    }
}

/// Reads all entries, of which there may be so many, and what follows them; returns the latest time, and the reader.
pub(super) fn read_through<R: Read>(reader: R, limit: u64) -> Result<(i64, R), Error> {
    let mut reader = Reader::new(BufReader::with_capacity(256 * 1024, reader));
    let (mut latest, mut count) = (0, 0);
    while let Some(entry) = reader.next_entry()? {
        count += 1;
        if count > limit {
            return Err(Error::TooMany { limit });
        }
        latest = latest.max(entry.modified.seconds);
    }
    let mut rest = reader.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(entry::Error::from)?;
    Ok((latest, rest.into_inner()))
}

/// A step of the history.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The command that created the layer.
    pub created_by: String,
    /// A comment.
    pub comment: Option<String>,
    /// The author.
    pub author: Option<String>,
    /// The time, in seconds since 1970.
    pub created: i64,
}

/// Writes the manifest and config of `image` with a layer added. Unknown fields are preserved.
///
/// # Errors
/// [`Error`].
pub fn append(image: &Image, writer: &Writer, layer: &Layer, history: &History) -> Result<Descriptor, Error> {
    rewrite(image, writer, |config, manifest| {
        let created = time(history.created);
        let mut entry = json!({"created": created, "created_by": history.created_by});
        for (key, value) in [("comment", &history.comment), ("author", &history.author)] {
            if let Some(value) = value {
                entry[key] = value.as_str().into();
            }
        }
        // A config may lack the history of its layers; then a single entry would not match them.
        let known = config["history"].as_array().is_some_and(|known| !known.is_empty());
        if known || image.manifest().layers().is_empty() {
            match config["history"].as_array_mut() {
                Some(known) => known.push(entry),
                None => config["history"] = json!([entry]),
            }
        }
        let diff_ids = config["rootfs"]["diff_ids"].as_array_mut();
        let diff_ids = diff_ids.ok_or(Error::Field { document: "config", field: "rootfs.diff_ids" })?;
        diff_ids.push(layer.diff_id.to_string().into());
        config["created"] = created.into();
        let layers = manifest["layers"].as_array_mut().ok_or(Error::Field { document: "manifest", field: "layers" })?;
        layers.push(serde_json::to_value(flavoured(&layer.descriptor, image)?).expect("a descriptor is serialisable"));
        Ok(())
    })
}

/// The descriptor of a layer with the media type that matches the image: OCI's or docker's.
pub(super) fn flavoured(layer: &Descriptor, image: &Image) -> Result<Descriptor, Error> {
    let mut descriptor = layer.clone();
    if image.manifest().config().media_type().to_string().starts_with("application/vnd.docker.") {
        descriptor.set_media_type(MediaType::Other(match Compression::of(descriptor.media_type())? {
            Compression::None => "application/vnd.docker.image.rootfs.diff.tar".into(),
            Compression::Gzip => "application/vnd.docker.image.rootfs.diff.tar.gzip".into(),
            Compression::Zstd => "application/vnd.docker.image.rootfs.diff.tar.zstd".into(),
        }));
    }
    Ok(descriptor)
}

/// Writes the config and manifest of an image after `change`.
pub(super) fn rewrite(
    image: &Image,
    writer: &Writer,
    change: impl FnOnce(&mut Value, &mut Value) -> Result<(), Error>,
) -> Result<Descriptor, Error> {
    let parse = |what: &str, bytes: &[u8]| {
        let malformed =
            |error: serde_json::Error| layout::Error::Malformed { what: what.into(), reason: error.to_string() };
        serde_json::from_slice::<Value>(bytes).map_err(malformed)
    };
    let mut config = parse("config", image.config_bytes())?;
    let mut manifest = parse("manifest", image.manifest_bytes())?;
    change(&mut config, &mut manifest)?;
    let blob = writer.put(image.manifest().config().media_type().clone(), config.to_string().as_bytes())?;
    manifest["config"]["digest"] = blob.digest().to_string().into();
    manifest["config"]["size"] = blob.size().into();
    Ok(writer.put(media_type(image, &manifest), manifest.to_string().as_bytes())?)
}

/// The media type of a changed manifest. The descriptor may say OCI and the document docker, or the other way round; both are
/// right, but the new descriptor says what its document says.
pub(super) fn media_type(image: &Image, manifest: &Value) -> MediaType {
    manifest["mediaType"].as_str().map_or_else(|| image.descriptor().media_type().clone(), MediaType::from)
}

/// A time as RFC 3339, from seconds since 1970.
pub(super) fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}
