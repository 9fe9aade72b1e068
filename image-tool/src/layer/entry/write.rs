//! Writing entries.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{EntryType, Header};

use super::pax::{pax_time, record};
use super::{BLOCK, EXTENDED, Entry, Kind};
use crate::beneath::Time;

/// Writes entries as POSIX ustar, with a PAX header only if ustar is not sufficient. So equal trees give equal bytes,
/// and old readers can read most of it.
pub struct Writer<W> {
    inner: W,
    data: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Writes an archive to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, data: 0, padding: 0 }
    }

    /// Writes the header of `entry`. For a file, exactly as many bytes must follow through [`Write`] as it has stored
    /// ([`Entry::stored`]). Owners are numeric, since names depend on the host. Sparse files are written in GNU tar's format
    /// for PAX, version 1.0, which Go, bsdtar and Python read too.
    ///
    /// # Errors
    /// The error of the stream; `InvalidInput` if data of the previous entry is missing, or for more holes than readers accept.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_data()?;
        let mut records = Vec::new();
        let mut header = Header::new_ustar();
        let block = header.as_mut_bytes();
        let pieces = entry.sparse.as_deref().filter(|_| entry.kind == Kind::File);
        let map = pieces.map_or_else(Vec::new, sparse_map);
        if map.len() as u64 > EXTENDED {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a sparse file has too many holes for tar"));
        }
        if pieces.is_some() {
            put_sparse(block, &mut records, entry);
        } else {
            put_path(block, &mut records, entry);
        }
        put_kind(block, &mut records, &entry.kind)?;
        octal(&mut block[100..108], entry.mode.into());
        for (range, key, id) in [(108..116, b"uid", entry.uid), (116..124, b"gid", entry.gid)] {
            if !octal(&mut block[range], id.into()) {
                record(&mut records, key, id.to_string().as_bytes());
            }
        }
        let stored = entry.stored();
        let size = stored + map.len() as u64;
        if !octal(&mut block[124..136], size) {
            record(&mut records, b"size", size.to_string().as_bytes());
        }
        let Time { seconds, nanoseconds } = entry.modified;
        let whole = u64::try_from(seconds).is_ok_and(|seconds| octal(&mut block[136..148], seconds));
        if !whole || nanoseconds != 0 {
            record(&mut records, b"mtime", pax_time(entry.modified).as_bytes());
        }
        let mut xattrs: Vec<_> = entry.xattrs.iter().collect();
        xattrs.sort();
        for (name, value) in xattrs {
            record(&mut records, &[b"SCHILY.xattr.", name.as_bytes()].concat(), value);
        }
        if !records.is_empty() {
            self.extended(&entry.path, &records)?;
        }
        header.set_cksum();
        self.inner.write_all(header.as_bytes())?;
        self.inner.write_all(&map)?;
        self.data = stored;
        self.padding = (stored.wrapping_neg() % BLOCK as u64) as usize;
        Ok(())
    }

    /// Writes a PAX header with these records for the next entry.
    fn extended(&mut self, path: &Path, records: &[u8]) -> io::Result<()> {
        let mut extended = Header::new_ustar();
        // Readers that do not know PAX unpack it as a file, so its name must not be that of another file.
        let last = path.file_name().map_or(&b"root"[..], OsStrExt::as_bytes);
        let name = [b"PaxHeaders.0/", &last[..last.len().min(80)]].concat();
        let block = extended.as_mut_bytes();
        block[..name.len()].copy_from_slice(&name);
        block[156] = EntryType::XHeader.as_byte();
        octal(&mut block[100..108], 0o644);
        octal(&mut block[108..116], 0);
        octal(&mut block[116..124], 0);
        octal(&mut block[124..136], records.len() as u64);
        octal(&mut block[136..148], 0);
        extended.set_cksum();
        self.inner.write_all(extended.as_bytes())?;
        self.inner.write_all(records)?;
        self.inner.write_all(&[0; BLOCK][..records.len().wrapping_neg() % BLOCK])
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// The error of the stream.
    pub fn file(&mut self, entry: &Entry, bytes: &[u8]) -> io::Result<()> {
        self.entry(&Entry { size: bytes.len() as u64, ..entry.clone() })?;
        self.write_all(bytes)
    }

    /// What has been written, without an end.
    pub(in crate::layer) fn into_inner(self) -> W {
        self.inner
    }

    fn end_data(&mut self) -> io::Result<()> {
        if self.data > 0 {
            let message = format!("{} bytes of a file are missing", self.data);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let padding = std::mem::take(&mut self.padding);
        self.inner.write_all(&[0; BLOCK][..padding])
    }

    /// Finishes the archive and returns the stream.
    ///
    /// # Errors
    /// Those of [`Writer::entry`].
    pub fn finish(mut self) -> io::Result<W> {
        self.end_data()?;
        self.inner.write_all(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = usize::try_from(self.data).unwrap_or(usize::MAX).min(bytes.len());
        let count = self.inner.write(&bytes[..left])?;
        self.data -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The map of a sparse file, in front of its data: the number of pieces, then offset and length of each, in whole blocks.
fn sparse_map(pieces: &[(u64, u64)]) -> Vec<u8> {
    let mut map = format!("{}\n", pieces.len());
    for (offset, length) in pieces {
        map.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// Stores the path and the size of a sparse file in records. Readers that do not know them unpack the map and the pieces as a
/// file, so the name in the header is another.
fn put_sparse(block: &mut [u8; BLOCK], records: &mut Vec<u8>, entry: &Entry) {
    for (key, value) in [(&b"GNU.sparse.major"[..], &b"1"[..]), (b"GNU.sparse.minor", b"0")] {
        record(records, key, value);
    }
    record(records, b"GNU.sparse.name", entry.path.as_os_str().as_bytes());
    record(records, b"GNU.sparse.realsize", entry.size.to_string().as_bytes());
    let last = entry.path.file_name().map_or(&b"file"[..], OsStrExt::as_bytes);
    let name = [b"GNUSparseFile.0/", &last[..last.len().min(80)]].concat();
    block[..name.len()].copy_from_slice(&name);
}

/// Stores the path of an entry in its header, or in a record if it does not fit.
fn put_path(block: &mut [u8; BLOCK], records: &mut Vec<u8>, entry: &Entry) {
    let mut path = entry.path.as_os_str().as_bytes().to_vec();
    if entry.kind == Kind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    if let Some((prefix, name)) = split_name(&path) {
        block[..name.len()].copy_from_slice(name);
        block[345..345 + prefix.len()].copy_from_slice(prefix);
    } else {
        record(records, b"path", &path);
        let short = &path[..path.len().min(100)];
        block[..short.len()].copy_from_slice(short);
    }
}

/// Stores the type of an entry in its header, with the target of a link and the number of a device.
fn put_kind(block: &mut [u8; BLOCK], records: &mut Vec<u8>, kind: &Kind) -> io::Result<()> {
    let (flag, device) = match kind {
        Kind::File => (EntryType::Regular, None),
        Kind::HardLink(_) => (EntryType::Link, None),
        Kind::Symlink(_) => (EntryType::Symlink, None),
        Kind::Character(major, minor) => (EntryType::Char, Some((*major, *minor))),
        Kind::Block(major, minor) => (EntryType::Block, Some((*major, *minor))),
        Kind::Directory => (EntryType::Directory, None),
        Kind::Fifo => (EntryType::Fifo, None),
    };
    block[156] = flag.as_byte();
    if let Kind::HardLink(target) | Kind::Symlink(target) = kind {
        let target = target.as_os_str().as_bytes();
        if target.len() > 100 {
            record(records, b"linkpath", target);
        }
        let short = &target[..target.len().min(100)];
        block[157..157 + short.len()].copy_from_slice(short);
    }
    if let Some((major, minor)) = device {
        let fits = octal(&mut block[329..337], major.into()) && octal(&mut block[337..345], minor.into());
        if !fits {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "device number too large for tar"));
        }
    }
    Ok(())
}

/// Splits a name into the two fields of ustar, if possible.
fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    // The slash at the end of a directory does not count.
    let slash = path[..path.len() - 1].iter().enumerate().take(156).rev().find(|(_, byte)| **byte == b'/')?.0;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!prefix.is_empty() && name.len() <= 100).then_some((prefix, name))
}

/// Writes an octal number with a trailing NUL, or zero and returns `false` if it does not fit.
fn octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let fits = value < 1 << (3 * digits);
    let text = format!("{:0digits$o}", if fits { value } else { 0 });
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
    fits
}
