//! Layers: changes of a file system as tar archives, plain or compressed.
//!
//! This file knows the media types and compressions. [`stream`] reads the blob of a layer, [`entry`] is the syntax of
//! the archive, [`apply`] turns an archive into a directory and [`diff`] a directory into an archive, [`merge`] turns many
//! layers into one archive or one EROFS image, which [`erofs`] writes and [`mount`] mounts; [`whiteout`] names deletions, [`owner`] maps
//! users, [`cache`] keeps layers, [`progress`] counts what is read, and [`stack`] has an image's layers as the directories of an overlay. The room may know `address`,
//! `beneath`, `error` and `layout`.

pub mod apply;
pub mod cache;
pub mod diff;
pub mod entry;
pub mod erofs;
pub mod limit;
pub mod merge;
pub mod mount;
pub mod owner;
pub mod pack;
pub mod progress;
pub mod size;
pub mod stack;
pub mod stream;
pub mod whiteout;

mod members;
mod parallel;

use std::fmt;
use std::io::{self, BufReader, Read};
use std::ops::RangeInclusive;

use oci_spec::image::MediaType;

pub use self::members::Members;

/// The compression of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A plain tar archive.
    None,
    /// Gzip (RFC 1952), with any number of members.
    Gzip,
    /// Zstandard (RFC 8878), with any number of frames.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "plain tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Why a blob cannot be read as a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The media type is not that of a layer.
    #[error("media type {media_type:?} is not that of a layer (tar, plain or compressed with gzip or zstd)")]
    MediaType {
        /// The media type.
        media_type: String,
    },
    /// The compression does not match the media type, or is not supported.
    #[error("expected {expected}, got {found}")]
    Magic {
        /// The compression according to the media type.
        expected: Compression,
        /// The compression according to the first bytes.
        found: Found,
    },
    /// The blob could not be read.
    #[error("read")]
    Read(#[source] io::Error),
}

/// What the first bytes of a stream look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A compression that layers can have, or none.
    Known(Compression),
    /// Bzip2, which only other archives can have.
    Bzip2,
    /// Xz, which only other archives can have.
    Xz,
}

impl Found {
    /// The compression according to the first bytes.
    ///
    /// A tar archive begins with a file name, so it has no magic at the start; "ustar" is at offset 257, except in the oldest
    /// format, and an empty archive is all zeros. So only compressions are recognised.
    #[must_use]
    pub fn of_magic(bytes: &[u8]) -> Self {
        match bytes {
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::Known(Compression::of_magic(bytes)),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(compression) => compression.fmt(formatter),
            Self::Bzip2 => formatter.write_str("bzip2, which layers cannot be"),
            Self::Xz => formatter.write_str("xz, which layers cannot be"),
        }
    }
}

impl Compression {
    /// The compression of a layer's media type, OCI's or docker's. A layer that may not be distributed is read like any other
    /// where it is present (image-spec layer.md, "Non-Distributable Layers").
    ///
    /// # Errors
    /// [`Error::MediaType`].
    pub fn of(media_type: &MediaType) -> Result<Self, Error> {
        let text = media_type.to_string();
        let oci = text.strip_prefix("application/vnd.oci.image.layer.");
        let oci = oci.map(|rest| rest.strip_prefix("nondistributable.").unwrap_or(rest));
        let docker = text.strip_prefix("application/vnd.docker.image.rootfs.");
        let docker = docker.map(|rest| rest.strip_prefix("foreign.").unwrap_or(rest));
        match (oci, docker) {
            (Some("v1.tar"), _) | (_, Some("diff.tar" | "diff")) => Ok(Self::None),
            (Some("v1.tar+gzip"), _) | (_, Some("diff.tar.gzip")) => Ok(Self::Gzip),
            (Some("v1.tar+zstd"), _) | (_, Some("diff.tar.zstd")) => Ok(Self::Zstd),
            _ => Err(Error::MediaType { media_type: text }),
        }
    }

    /// The compression according to the first bytes.
    #[must_use]
    pub fn of_magic(bytes: &[u8]) -> Self {
        match bytes {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            // A frame, or a skippable frame, with which `zstd --patch-from` and seekable archives begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The levels that it has, from fast to small.
    #[must_use]
    pub fn levels(self) -> Option<RangeInclusive<u8>> {
        match self {
            Self::None => None,
            Self::Gzip => Some(0..=9),
            Self::Zstd => Some(0..=22),
        }
    }

    /// The OCI media type of a layer with this compression.
    #[must_use]
    pub fn media_type(self) -> MediaType {
        match self {
            Self::None => MediaType::ImageLayer,
            Self::Gzip => MediaType::ImageLayerGzip,
            Self::Zstd => MediaType::ImageLayerZstd,
        }
    }
}

/// A decompressing reader.
pub enum Decoder<R: Read> {
    /// A plain stream.
    Plain(BufReader<Sniffed<R>>),
    /// Gzip.
    Gzip(Members<BufReader<Sniffed<R>>>),
    /// Zstandard.
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Sniffed<R>>>>),
    /// Bzip2.
    Bzip2(Box<bzip2::bufread::MultiBzDecoder<BufReader<Sniffed<R>>>>),
    /// Xz.
    Xz(Box<lzma_rust2::XzReader<BufReader<Sniffed<R>>>>),
}

/// How much memory xz may use, in KiB: twice what its strongest setting takes.
const XZ_MEMORY: u32 = 128 * 1024;

impl<R: Read> Decoder<R> {
    /// Reads `inner`, which the media type says is `expected`, and compares the first bytes. Docker looks at the bytes,
    /// other engines at the media type: if the two disagreed, they would see different files.
    ///
    /// # Errors
    /// [`Error::Magic`], [`Error::Read`].
    pub fn new(inner: R, expected: Compression) -> Result<Self, Error> {
        let (reader, found) = sniff(inner)?;
        if found == Found::Known(expected) { Self::over(reader, found) } else { Err(Error::Magic { expected, found }) }
    }

    /// Reads `inner` according to its first bytes, and returns their compression. For archives that are not layers.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn detect(inner: R) -> Result<(Self, Found), Error> {
        let (reader, found) = sniff(inner)?;
        Ok((Self::over(reader, found)?, found))
    }

    fn over(reader: BufReader<Sniffed<R>>, found: Found) -> Result<Self, Error> {
        Ok(match found {
            Found::Known(Compression::None) => Self::Plain(reader),
            Found::Known(Compression::Gzip) => Self::Gzip(Members::new(reader)),
            Found::Known(Compression::Zstd) => {
                Self::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(reader).map_err(Error::Read)?))
            }
            Found::Bzip2 => Self::Bzip2(Box::new(bzip2::bufread::MultiBzDecoder::new(reader))),
            Found::Xz => Self::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(reader, true, XZ_MEMORY))),
        })
    }

    /// The inner reader. After a stream has been read to its end, no bytes are buffered.
    pub fn into_inner(self) -> R {
        match self {
            Self::Plain(reader) => reader.into_inner().inner,
            Self::Gzip(decoder) => decoder.into_inner().into_inner().inner,
            Self::Zstd(decoder) => decoder.finish().into_inner().inner,
            Self::Bzip2(decoder) => decoder.into_inner().into_inner().inner,
            Self::Xz(decoder) => decoder.into_inner().into_inner().inner,
        }
    }
}

/// A stream whose first bytes can be inspected.
pub struct Sniffed<R> {
    head: [u8; 6],
    length: usize,
    position: usize,
    inner: R,
}

impl<R: Read> Sniffed<R> {
    /// Reads the first bytes, which may arrive one by one.
    ///
    /// # Errors
    /// The error of the stream.
    pub fn new(mut inner: R) -> io::Result<Self> {
        let (mut head, mut length) = ([0; 6], 0);
        while length < head.len() {
            match inner.read(&mut head[length..]) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { head, length, position: 0, inner })
    }

    /// The first bytes; fewer than six only at the end of the stream.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head[..self.length]
    }
}

impl<R: Read> Read for Sniffed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position < self.length {
            let count = (&self.head[self.position..self.length]).read(buffer)?;
            self.position += count;
            return Ok(count);
        }
        self.inner.read(buffer)
    }
}

fn sniff<R: Read>(inner: R) -> Result<(BufReader<Sniffed<R>>, Found), Error> {
    let sniffed = Sniffed::new(inner).map_err(Error::Read)?;
    let found = Found::of_magic(sniffed.head());
    Ok((BufReader::with_capacity(128 * 1024, sniffed), found))
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Bzip2(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// "text", compressed with xz.
    const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x03\x74\x65\x78\x74\x00\x55\xcd\xe8\x33\xff\x4a\x0c\x17\x00\x01\x1c\x04\x6f\x2c\x9c\xc1\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_media_type_names_its_compression_or_is_refused() {
        let of = |text: &str| Compression::of(&MediaType::from(text));
        for (text, expected) in [
            ("application/vnd.oci.image.layer.v1.tar", Compression::None),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::Gzip),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar", Compression::None),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Compression::Zstd),
        ] {
            assert_eq!(of(text).unwrap(), expected, "{text}");
        }
        assert!(matches!(of("application/vnd.oci.image.layer.v1.tar+xz"), Err(Error::MediaType { .. })));
        assert!(matches!(of("application/json"), Err(Error::MediaType { .. })));
    }

    #[test]
    fn bytes_that_contradict_the_media_type_are_refused() {
        let zstd = zstd::encode_all(&b"x"[..], 0).unwrap();
        let cases: [(&[u8], Compression, bool); 6] = [
            (&gzip(b"x"), Compression::Gzip, true),
            (&zstd, Compression::Zstd, true),
            (b"plain", Compression::None, true),
            (b"plain", Compression::Gzip, false),
            (&zstd, Compression::Gzip, false),
            (&gzip(b"x"), Compression::None, false),
        ];
        for (bytes, compression, fits) in cases {
            assert_eq!(Decoder::new(bytes, compression).is_ok(), fits, "{compression} {bytes:?}");
        }
    }

    #[test]
    fn archives_may_be_bzip2_or_xz_and_layers_may_not() {
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(b"text").unwrap();
        let bzip2 = bzip2.finish().unwrap();
        for (bytes, expected) in [(bzip2, Found::Bzip2), (XZ.to_vec(), Found::Xz)] {
            let (mut decoder, found) = Decoder::detect(&bytes[..]).unwrap();
            let mut text = String::new();
            decoder.read_to_string(&mut text).unwrap();
            assert_eq!((found, text.as_str()), (expected, "text"));
            let error = Decoder::new(&bytes[..], Compression::Gzip).err().unwrap().to_string();
            assert!(error.contains("which layers cannot be"), "{error}");
        }
    }

    #[test]
    fn all_members_and_frames_are_read() {
        let both = [gzip(b"one "), gzip(b"two")].concat();
        let mut text = String::new();
        Decoder::new(&both[..], Compression::Gzip).unwrap().read_to_string(&mut text).unwrap();
        let both = [zstd::encode_all(&b"one "[..], 0).unwrap(), zstd::encode_all(&b"two"[..], 0).unwrap()].concat();
        Decoder::new(&both[..], Compression::Zstd).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "one twoone two");
        for end in 4..both.len() {
            let cut = Decoder::new(&both[..end], Compression::Zstd).unwrap().read_to_string(&mut text);
            assert!(cut.is_err() || end == both.len() / 2 + 1 || end == 17, "{end}");
        }
    }
}
