//! Layers: changes of a file system as tar archives, plain or compressed.
//!
//! This file knows the media types and compressions. [`stream`] reads the blob of a layer, [`entry`] is the syntax of
//! the archive, [`apply`] turns an archive into a directory and [`diff`] a directory into an archive, [`whiteout`]
//! names deletions, [`owner`] maps users, and [`cache`] keeps unpacked layers. The room may know `address`, `beneath`,
//! `error` and `layout`.

pub mod apply;
pub mod cache;
pub mod diff;
pub mod entry;
pub mod owner;
pub mod pack;
pub mod size;
pub mod stream;
pub mod whiteout;

use std::fmt;
use std::io::{self, BufReader, Read};

use oci_spec::image::MediaType;

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
    /// A foreign layer, which must be fetched from its vendor and is not in the layout.
    #[error("media type {media_type:?} is that of a foreign layer, which is not supported")]
    Foreign {
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

/// What the first bytes of a blob look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A supported compression.
    Known(Compression),
    /// An unsupported compression.
    Other,
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(compression) => compression.fmt(formatter),
            Self::Other => formatter.write_str("bzip2 or xz, which layers cannot be"),
        }
    }
}

impl Compression {
    /// The compression of a layer's media type, OCI's or docker's.
    ///
    /// # Errors
    /// [`Error::MediaType`], [`Error::Foreign`].
    pub fn of(media_type: &MediaType) -> Result<Self, Error> {
        let text = media_type.to_string();
        match text.as_str() {
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff" => Ok(Self::None),
            "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
                Ok(Self::Gzip)
            }
            "application/vnd.oci.image.layer.v1.tar+zstd" | "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
                Ok(Self::Zstd)
            }
            foreign if foreign.contains(".nondistributable.") || foreign.contains(".foreign.") => {
                Err(Error::Foreign { media_type: text })
            }
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
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<Sniffed<R>>>>),
    /// Zstandard.
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Sniffed<R>>>>),
}

impl<R: Read> Decoder<R> {
    /// Reads `inner`, which the media type says is `expected`, and compares the first bytes. Docker looks at the bytes,
    /// other engines at the media type: if the two disagreed, they would see different files.
    ///
    /// # Errors
    /// [`Error::Magic`], [`Error::Read`].
    pub fn new(inner: R, expected: Compression) -> Result<Self, Error> {
        let (reader, found) = sniff(inner)?;
        if found == Found::Known(expected) {
            Self::over(reader, expected)
        } else {
            Err(Error::Magic { expected, found })
        }
    }

    /// Reads `inner` according to its first bytes, and returns their compression.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Magic`].
    pub fn detect(inner: R) -> Result<(Self, Compression), Error> {
        let (reader, found) = sniff(inner)?;
        match found {
            Found::Known(compression) => Ok((Self::over(reader, compression)?, compression)),
            Found::Other => Err(Error::Magic { expected: Compression::None, found }),
        }
    }

    fn over(reader: BufReader<Sniffed<R>>, compression: Compression) -> Result<Self, Error> {
        Ok(match compression {
            Compression::None => Self::Plain(reader),
            Compression::Gzip => Self::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(reader))),
            Compression::Zstd => {
                Self::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(reader).map_err(Error::Read)?))
            }
        })
    }

    /// The inner reader. After a stream has been read to its end, no bytes are buffered.
    pub fn into_inner(self) -> R {
        match self {
            Self::Plain(reader) => reader.into_inner().inner,
            Self::Gzip(decoder) => decoder.into_inner().into_inner().inner,
            Self::Zstd(decoder) => decoder.finish().into_inner().inner,
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
    let found = match Compression::of_magic(sniffed.head()) {
        // A tar archive begins with a file name, so it has no magic at the start; "ustar" is at offset 257, except in
        // the oldest format, and an empty archive is all zeros. So only other magics are recognized.
        Compression::None if sniffed.head().starts_with(b"BZh") || sniffed.head().starts_with(b"\xfd7zXZ\0") => {
            Found::Other
        }
        compression => Found::Known(compression),
    };
    Ok((BufReader::with_capacity(128 * 1024, sniffed), found))
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

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
        ] {
            assert_eq!(of(text).unwrap(), expected, "{text}");
        }
        assert!(matches!(of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), Err(Error::Foreign { .. })));
        assert!(matches!(of("application/vnd.oci.image.layer.nondistributable.v1.tar"), Err(Error::Foreign { .. })));
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
