//! What comes behind the pieces: the table of contents, and at the very end where it is.

use std::collections::HashMap;
use std::io::{self, Write};

use super::split::Split;
use super::spool::{self, Spooled};
use super::table::Table;
use super::{BLOCK, Error, INDEX, Packed, Unfit, failed};
use crate::address::digest::Hasher;
use crate::layer::Compression;
use crate::layer::entry::{self, Entry, Kind};
use crate::layer::pack::gzip::Gzip;
use crate::layout::BlobWriter;

/// The annotation with the digest of eStargz's table: files of the archive belong to it then.
pub const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// The annotation with the size of the archive, which Stargz Store needs before it has all of it.
pub const UNCOMPRESSED_SIZE: &str = "io.containers.estargz.uncompressed-size";
/// The annotation with the digest of zstd:chunked's compressed table.
pub(in crate::layer::pack) const MANIFEST_CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// The annotation with the place of the table: offset, size, size before it was compressed, and 1 for CRFS's form.
pub(in crate::layer::pack) const MANIFEST_POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
/// The annotation with the place of the other table: offset, size, and size before it was compressed.
const SPLIT_POSITION: &str = "io.github.containers.zstd-chunked.tarsplit-position";
/// Where containers/storage looked for the digest of the other table before it was in the first.
const SPLIT_CHECKSUM: &str = "io.github.containers.zstd-chunked.tarsplit-checksum";

/// The first bytes of a frame that readers of Zstandard skip (RFC 8878, 3.1.2).
const SKIPPED: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// The last bytes of zstd:chunked.
const MAGIC: &[u8; 8] = b"GNUlInUx";
/// The kind of zstd:chunked's table: CRFS's form.
const CRFS: u64 = 1;

/// Ends eStargz: the table is the last file of the archive, in a member of its own, and the place of that is in the header of an
/// empty one.
pub(super) fn estargz(
    mut blob: BlobWriter,
    table: Table,
    level: u8,
    (mut hasher, mut size): (Hasher, u64),
) -> Result<Packed, Error> {
    let offset = blob.size();
    let Spooled { mut file, digest, size: length } = table.finish(None).and_then(spool::end).map_err(failed)?;
    let mut member = Gzip::at_level(&mut blob, level);
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        size += bytes.len() as u64;
        member.write_all(bytes).map_err(failed)
    };
    let mut archive = entry::Writer::new(Vec::new());
    archive.entry(&Entry { size: length, ..Entry::new(INDEX, Kind::File, 0o644) }).map_err(failed)?;
    put(&archive.into_inner())?;
    let mut buffer = vec![0; 1 << 17];
    loop {
        match io::Read::read(&mut file, &mut buffer).map_err(failed)? {
            0 => break,
            count => put(&buffer[..count])?,
        }
    }
    put(&[0; BLOCK][..length.wrapping_neg() as usize % BLOCK])?;
    put(&[0; 2 * BLOCK])?;
    member.finish().map_err(failed)?;
    blob.write_all(&footer(offset)).map_err(failed)?;
    let annotations = [(TOC_DIGEST, digest.to_string()), (UNCOMPRESSED_SIZE, size.to_string())];
    committed(blob, Compression::Gzip, hasher, annotations)
}

/// The last 51 bytes of eStargz: an empty member of gzip whose extra field has the place of the table (docs/estargz.md, "Footer").
fn footer(offset: u64) -> Vec<u8> {
    let field = format!("{offset:016x}STARGZ");
    let extra = [b"SG", &(field.len() as u16).to_le_bytes()[..], field.as_bytes()].concat();
    let header = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
    // The last block, stored, of no bytes; then their sum and number.
    let rest = [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    [&header[..], &(extra.len() as u16).to_le_bytes(), &extra, &rest].concat()
}

/// Ends zstd:chunked: both tables and the footer are frames that other readers skip, so the archive stays as it is.
pub(super) fn zstd_chunked(
    mut blob: BlobWriter,
    table: Table,
    split: Split,
    level: u8,
    (hasher, size): (Hasher, u64),
) -> Result<Packed, Error> {
    let (split, split_length) = split.finish().map_err(failed)?;
    let mut text = table.finish(Some(&split.digest)).and_then(spool::end).map_err(failed)?;
    let mut encoder = zstd::stream::write::Encoder::new(spool::begin(), level.into()).map_err(failed)?;
    io::copy(&mut text.file, &mut encoder).map_err(failed)?;
    let table = encoder.finish().and_then(spool::end).map_err(failed)?;
    let (table_size, table_digest) = (table.size, table.digest.clone());
    let (split_size, split_digest) = (split.size, split.digest.clone());
    let table_at = skipped(&mut blob, table)?;
    let split_at = skipped(&mut blob, split)?;
    let numbers = [table_at, table_size, text.size, CRFS, split_at, split_size, split_length];
    let mut footer = [&SKIPPED[..], &64u32.to_le_bytes()].concat();
    footer.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    footer.extend_from_slice(MAGIC);
    blob.write_all(&footer).map_err(failed)?;
    let annotations = [
        (MANIFEST_CHECKSUM, table_digest.to_string()),
        (MANIFEST_POSITION, format!("{table_at}:{table_size}:{}:{CRFS}", text.size)),
        (SPLIT_POSITION, format!("{split_at}:{split_size}:{split_length}")),
        (SPLIT_CHECKSUM, split_digest.to_string()),
        (UNCOMPRESSED_SIZE, size.to_string()),
    ];
    committed(blob, Compression::Zstd, hasher, annotations)
}

/// Writes a frame that is skipped; returns where its content is.
fn skipped(blob: &mut BlobWriter, mut content: Spooled) -> Result<u64, Error> {
    let length = u32::try_from(content.size).map_err(|_| Unfit::Table)?;
    blob.write_all(&SKIPPED).map_err(failed)?;
    blob.write_all(&length.to_le_bytes()).map_err(failed)?;
    let offset = blob.size();
    io::copy(&mut content.file, blob).map_err(failed)?;
    Ok(offset)
}

fn committed<const N: usize>(
    blob: BlobWriter,
    compression: Compression,
    hasher: Hasher,
    annotations: [(&str, String); N],
) -> Result<Packed, Error> {
    let mut descriptor = blob.commit(compression.media_type())?;
    let annotations: HashMap<String, String> =
        annotations.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    descriptor.set_annotations(Some(annotations));
    Ok(Packed { descriptor, diff_id: hasher.finish() })
}
