//! Writing entries.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{EntryType, Header};

use super::pax::{pax_time, record};
use super::{BLOCK, Entry, Kind};
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

    /// Writes the header of `entry`. For a file, exactly `size` bytes must follow through [`Write`]. Owners are
    /// numeric, since names depend on the host. Sparse files are written whole.
    ///
    /// # Errors
    /// The error of the stream; `InvalidInput` if data of the previous entry is missing.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_data()?;
        let mut records = Vec::new();
        let mut header = Header::new_ustar();
        let block = header.as_mut_bytes();
        put_path(block, &mut records, entry);
        put_kind(block, &mut records, &entry.kind)?;
        octal(&mut block[100..108], entry.mode.into());
        for (range, key, id) in [(108..116, b"uid", entry.uid), (116..124, b"gid", entry.gid)] {
            if !octal(&mut block[range], id.into()) {
                record(&mut records, key, id.to_string().as_bytes());
            }
        }
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
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
        self.data = size;
        self.padding = (size.wrapping_neg() % BLOCK as u64) as usize;
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
