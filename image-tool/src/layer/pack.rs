//! Packing an archive into a blob: compressing it, and hashing both sides.
//!
//! [`Packer`] takes the bytes of an archive as they come and compresses them as a whole. The forms that can be read piece by piece
//! need to know what is in the archive: `seekable` reads it and packs each file on its own. `gzip` and `pool` compress on all threads.

mod gzip;
mod pool;
mod seekable;

use std::fmt;
use std::io::{self, BufRead, Write};
use std::ops::RangeInclusive;

use oci_spec::image::Descriptor;

use super::Compression;
use super::limit::Limits;
use crate::address::digest::{Digest, Hasher};
use crate::error::Io;
use crate::layout::{BlobWriter, Error, Writer};

pub use self::gzip::Gzip;
pub use self::seekable::{Error as SeekableError, Packed, TOC_DIGEST, UNCOMPRESSED_SIZE, strip};

/// The usual level of zstd(1).
const ZSTD_LEVEL: u8 = 3;
/// The largest piece of a file that is compressed on its own, as everybody has it who writes eStargz.
const CHUNK: u32 = 4 << 20;
/// The sizes that may be asked for: smaller ones would make a table larger than the files, larger ones take memory.
const CHUNKS: RangeInclusive<u32> = 4096..=64 << 20;

/// The form of a layer's blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// An archive, compressed as a whole.
    Whole(Compression),
    /// Gzip of which each file can be read on its own (stargz-snapshotter, docs/estargz.md).
    Estargz,
    /// Zstandard of which each file can be read on its own (containers/storage, pkg/chunked).
    ZstdChunked,
}

impl Format {
    /// The form that a descriptor tells: by the media type, and by the annotations that say where the table of contents is.
    ///
    /// # Errors
    /// [`super::Error::MediaType`].
    pub fn of(descriptor: &Descriptor) -> Result<Self, super::Error> {
        let has = |key: &str| descriptor.annotations().as_ref().is_some_and(|all| all.contains_key(key));
        Ok(match Compression::of(descriptor.media_type())? {
            Compression::Gzip if has(TOC_DIGEST) => Self::Estargz,
            Compression::Zstd if has(seekable::MANIFEST_CHECKSUM) && has(seekable::MANIFEST_POSITION) => {
                Self::ZstdChunked
            }
            compression => Self::Whole(compression),
        })
    }

    /// How its bytes are compressed for whoever does not know of its table of contents.
    #[must_use]
    pub fn compression(self) -> Compression {
        match self {
            Self::Whole(compression) => compression,
            Self::Estargz => Compression::Gzip,
            Self::ZstdChunked => Compression::Zstd,
        }
    }
}

impl From<Compression> for Format {
    fn from(compression: Compression) -> Self {
        Self::Whole(compression)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(compression) => compression.fmt(formatter),
            Self::Estargz => formatter.write_str("estargz"),
            Self::ZstdChunked => formatter.write_str("zstd:chunked"),
        }
    }
}

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    format: Format,
    level: Option<u8>,
    chunk: Option<u32>,
}

/// An archive cannot be packed in this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Impossible {
    /// The compression does not have this level.
    #[error("{format} has no level {level}{}", range(*.format))]
    Level {
        /// The form.
        format: Format,
        /// The level.
        level: u8,
    },
    /// The form has no chunks.
    #[error("{format} has no chunks (estargz and zstd:chunked have)")]
    NoChunks {
        /// The form.
        format: Format,
    },
    /// The size of chunks is out of range.
    #[error("chunks of {size} bytes: expected {} to {}", CHUNKS.start(), CHUNKS.end())]
    Chunk {
        /// The size.
        size: u32,
    },
}

fn range(format: Format) -> String {
    let levels = format.compression().levels();
    levels.map_or_else(String::new, |levels| format!(" (it has {} to {})", levels.start(), levels.end()))
}

impl Packing {
    /// A form at this level, or at the usual one: 6 for gzip and estargz, 3 for zstd and zstd:chunked.
    ///
    /// # Errors
    /// [`Impossible::Level`].
    pub fn new(format: impl Into<Format>, level: Option<u8>) -> Result<Self, Impossible> {
        let format = format.into();
        match level {
            Some(level) if !format.compression().levels().is_some_and(|levels| levels.contains(&level)) => {
                Err(Impossible::Level { format, level })
            }
            _ => Ok(Self { format, level, chunk: None }),
        }
    }

    /// The same with files cut into chunks of at most so many bytes.
    ///
    /// # Errors
    /// [`Impossible::NoChunks`], [`Impossible::Chunk`].
    pub fn with_chunks_of(self, size: u32) -> Result<Self, Impossible> {
        match self.format {
            Format::Whole(_) => Err(Impossible::NoChunks { format: self.format }),
            _ if !CHUNKS.contains(&size) => Err(Impossible::Chunk { size }),
            _ => Ok(Self { chunk: Some(size), ..self }),
        }
    }

    /// The form.
    #[must_use]
    pub fn format(self) -> Format {
        self.format
    }

    /// Whether files can be read on their own.
    #[must_use]
    pub fn is_seekable(self) -> bool {
        !matches!(self.format, Format::Whole(_))
    }

    /// Whether a blob of this form need not be packed anew. At which level it was packed, nobody knows.
    #[must_use]
    pub fn is_met_by(self, format: Format) -> bool {
        self.level.is_none() && self.chunk.is_none() && self.format == format
    }

    /// The compression as a whole, at the same level: for what has no place in a table of contents.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { format: self.format.compression().into(), chunk: None, ..self }
    }

    /// Packs an archive in a form in which files can be read on their own. Without `strips`, what is read is kept as it is where the
    /// form can; with it, the table of contents of another form is left out.
    ///
    /// # Errors
    /// [`SeekableError`].
    pub fn pack(
        self,
        archive: impl BufRead,
        writer: &Writer,
        limits: Limits,
        strips: bool,
    ) -> Result<Packed, SeekableError> {
        let most = self.chunk.unwrap_or(CHUNK) as usize;
        let order = seekable::Order { format: self.format, level: self.level_or_usual(), most, limits, strips };
        seekable::pack(archive, writer, &order)
    }

    fn level_or_usual(self) -> u8 {
        self.level.unwrap_or(match self.format.compression() {
            Compression::Zstd => ZSTD_LEVEL,
            Compression::Gzip | Compression::None => gzip::LEVEL,
        })
    }
}

impl From<Format> for Packing {
    fn from(format: Format) -> Self {
        Self { format, level: None, chunk: None }
    }
}

impl From<Compression> for Packing {
    fn from(compression: Compression) -> Self {
        Format::from(compression).into()
    }
}

/// The blob of a layer in the making, compressed as a whole. Write the archive to it.
pub struct Packer {
    hasher: Hasher,
    output: Output,
    compression: Compression,
}

enum Output {
    Plain(Box<BlobWriter>),
    Gzip(Box<Gzip<BlobWriter>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, BlobWriter>>),
}

impl Packer {
    /// Starts a blob. A form with a table of contents becomes its compression only: [`Packing::pack`] writes that.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(writer: &Writer, packing: impl Into<Packing>) -> Result<Self, Error> {
        let packing = packing.into();
        let (compression, level) = (packing.format.compression(), packing.level_or_usual());
        let blob = writer.blob()?;
        let output = match compression {
            Compression::None => Output::Plain(Box::new(blob)),
            Compression::Gzip => Output::Gzip(Box::new(Gzip::at_level(blob, level))),
            Compression::Zstd => match zstd::stream::write::Encoder::new(blob, level.into()) {
                Ok(encoder) => Output::Zstd(Box::new(encoder)),
                Err(source) => {
                    return Err(Io::new("compress", writer.layout().path().join("blobs"), source).into());
                }
            },
        };
        Ok(Self { hasher: Hasher::sha256(), output, compression })
    }

    /// Finishes the blob; returns its descriptor, and the digest of the archive: the diff ID.
    ///
    /// # Errors
    /// [`Error`].
    pub fn finish(self) -> Result<(Descriptor, Digest), Error> {
        let failed = |source: io::Error| Io::new("write", "blob", source);
        let blob = match self.output {
            Output::Plain(blob) => *blob,
            Output::Gzip(gzip) => gzip.finish().map_err(failed)?,
            Output::Zstd(encoder) => encoder.finish().map_err(failed)?,
        };
        Ok((blob.commit(self.compression.media_type())?, self.hasher.finish()))
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.output {
            Output::Plain(blob) => blob.write(bytes)?,
            Output::Gzip(gzip) => gzip.write(bytes)?,
            Output::Zstd(encoder) => encoder.write(bytes)?,
        };
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_its_levels_and_chunks() {
        for (format, level, is_right) in [
            (Compression::Gzip.into(), 9, true),
            (Compression::Gzip.into(), 10, false),
            (Compression::Gzip.into(), 0, true),
            (Compression::Zstd.into(), 22, true),
            (Compression::Zstd.into(), 23, false),
            (Compression::None.into(), 1, false),
            (Format::Estargz, 9, true),
            (Format::Estargz, 10, false),
            (Format::ZstdChunked, 22, true),
        ] {
            assert_eq!(Packing::new(format, Some(level)).is_ok(), is_right, "{format} {level}");
        }
        let said = Packing::new(Compression::Gzip, Some(10)).unwrap_err().to_string();
        assert_eq!(said, "gzip has no level 10 (it has 0 to 9)");
        let said = |format: Format, size| Packing::from(format).with_chunks_of(size).unwrap_err().to_string();
        assert_eq!(said(Compression::Zstd.into(), 65_536), "zstd has no chunks (estargz and zstd:chunked have)");
        assert_eq!(said(Format::Estargz, 1), "chunks of 1 bytes: expected 4096 to 67108864");
    }
}
