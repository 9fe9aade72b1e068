//! The size of a layer: uncompressed, from the first or last bytes of its blob, and unpacked.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_spec::image::Descriptor;

use super::Compression;
use super::pack::{Format, UNCOMPRESSED_SIZE};
use super::stream::default_limit;

/// The size of the archive in the blob of a layer, for display. It is exact if one program compressed it in one go (for
/// gzip, below four gigabytes), or if an annotation tells it; otherwise it is the size of the blob.
#[must_use]
pub fn archive_size(blob: &mut File, descriptor: &Descriptor) -> u64 {
    let size = descriptor.size();
    let told = descriptor.annotations().as_ref().and_then(|all| all.get(UNCOMPRESSED_SIZE)?.parse().ok());
    if let Some(told) = told.filter(|told| (0..=default_limit(size)).contains(told)) {
        return told;
    }
    match Compression::of(descriptor.media_type()) {
        Ok(Compression::Gzip) => gzip(blob, size).unwrap_or(size),
        // The first of its many frames tells the size of the first headers.
        Ok(Compression::Zstd) if Format::of(descriptor).ok() == Some(Format::ZstdChunked) => size,
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

/// The sizes of all files beneath a folder, each once. What cannot be read does not count.
#[must_use]
pub fn folder(path: &Path) -> u64 {
    let (mut total, mut seen, mut left) = (0, BTreeSet::new(), vec![path.to_owned()]);
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Of the entry itself: links are not followed.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.nlink() < 2 || seen.insert((metadata.dev(), metadata.ino())) {
                total += metadata.len();
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/one"), "12345").unwrap();
        fs::hard_link(folder.path().join("a/one"), folder.path().join("two")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("link")).unwrap();
        assert_eq!(super::folder(folder.path()), 5 + 1);
        assert_eq!(super::folder(Path::new("/nonexistent")), 0);
    }
}
