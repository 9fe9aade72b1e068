//! Archives that ADD unpacks: tar, plain or compressed with gzip, bzip2, xz or zstd, told by their bytes and not by their names.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use image_tool::layer::entry::Reader;

/// The archive in `file`, decompressed.
pub fn decoder(mut file: File) -> io::Result<Box<dyn Read>> {
    file.rewind()?;
    let mut magic = [0; 6];
    let mut length = 0;
    while length < magic.len() {
        match file.read(&mut magic[length..])? {
            0 => break,
            count => length += count,
        }
    }
    file.rewind()?;
    let file = BufReader::with_capacity(1 << 17, file);
    Ok(match &magic[..length] {
        [0x1f, 0x8b, 8, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(lzma_rust2::XzReader::new(file, true)),
        _ => Box::new(file),
    })
}

/// Whether `file` is an archive that ADD unpacks: something whose first entry can be read. Anything else is just a file.
pub fn is_archive(file: &File) -> io::Result<bool> {
    let decoder = match decoder(file.try_clone()?) {
        Ok(decoder) => decoder,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(matches!(Reader::new(BufReader::new(decoder)).next_entry(), Ok(Some(_))))
}
