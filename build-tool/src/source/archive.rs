//! Archives that ADD unpacks: tar, plain or compressed with gzip, bzip2, xz or zstd, recognised by their bytes, not
//! their names.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use image_tool::layer::entry::{Kind, Reader};

/// Decompresses the archive in `file`.
pub fn decoder(mut file: File) -> io::Result<Box<dyn Read>> {
    file.rewind()?;
    let head = head(&mut file)?;
    decode(head, file)
}

/// Reads the first bytes of a stream, enough to recognise it.
pub fn head(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(512).read_to_end(&mut head)?;
    Ok(head)
}

/// Decompresses the archive that begins with `head` and continues in `rest`.
pub fn decode(head: Vec<u8>, rest: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let compression = Compression::of(&head);
    let stream = BufReader::with_capacity(1 << 17, io::Cursor::new(head).chain(rest));
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stream)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(stream)?),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(stream)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(stream, true)),
        Compression::None => Box::new(stream),
    })
}

/// Whether a stream that begins with `head` is text: neither compressed, nor a tar, whose header is full of zeros.
pub fn is_text(head: &[u8]) -> bool {
    Compression::of(head) == Compression::None && !head.contains(&0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }
}

/// The time of the newest file of an archive, in seconds since 1970; `None` if `file` is not an archive, or holds no file.
pub fn newest(file: &File) -> io::Result<Option<i64>> {
    if !is_archive(file)? {
        return Ok(None);
    }
    let mut reader = Reader::new(BufReader::new(decoder(file.try_clone()?)?));
    let mut newest = None;
    while let Some(entry) = reader.next_entry().map_err(io::Error::other)? {
        if entry.kind == Kind::File {
            newest = newest.max(Some(entry.modified.seconds));
        }
    }
    Ok(newest)
}

/// Whether ADD unpacks `file`: its first entry can be read. Anything else is copied as a file.
pub fn is_archive(file: &File) -> io::Result<bool> {
    let decoder = match decoder(file.try_clone()?) {
        Ok(decoder) => decoder,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(matches!(Reader::new(BufReader::new(decoder)).next_entry(), Ok(Some(_))))
}
