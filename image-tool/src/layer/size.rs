//! The size of an uncompressed layer, from the first or last bytes of its blob.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use oci_spec::image::Descriptor;

use super::Compression;

/// The size of the archive in the blob of a layer, for display. It is exact if one program compressed it in one go (for
/// gzip, below four gigabytes); otherwise it is the size of the blob.
#[must_use]
pub fn archive_size(blob: &mut File, descriptor: &Descriptor) -> u64 {
    let size = descriptor.size();
    match Compression::of(descriptor.media_type()) {
        Ok(Compression::Gzip) => gzip(blob, size).unwrap_or(size),
        Ok(Compression::Zstd) => zstd(blob).unwrap_or(size),
        _ => size,
    }
}

/// RFC 1952: a member ends with the size of its content modulo 2^32.
fn gzip(blob: &mut File, size: u64) -> Option<u64> {
    let mut end = [0; 4];
    blob.seek(SeekFrom::End(-4)).ok()?;
    blob.read_exact(&mut end).ok()?;
    let told = u64::from(u32::from_le_bytes(end));
    // Deflate expands data by at most a few bytes in a thousand. If the size is less than that of the blob, the archive
    // is larger than four gigabytes, or the blob has several members and this is the size of the last one.
    let least = size - size / 100;
    match size {
        _ if told + 100 >= least => Some(told),
        400_000_000.. => Some(told + (least - told).div_ceil(1 << 32) * (1 << 32)),
        _ => None,
    }
}

fn zstd(blob: &mut File) -> Option<u64> {
    let mut start = [0; 18];
    blob.rewind().ok()?;
    blob.read_exact(&mut start).ok()?;
    zstd::zstd_safe::get_frame_content_size(&start).ok().flatten()
}
