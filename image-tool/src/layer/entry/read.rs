//! Reading entries.

use std::ffi::OsString;
use std::io::{self, BufRead, Read, Seek};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use tar::Header;

use super::aside::Aside;
use super::pax::{Extended, decimal, number, pax, until_nul};
use super::{BLOCK, EXTENDED, Entry, Error, Kind};
use crate::beneath::Time;

/// The stored pieces of a sparse file: offset and length.
type Pieces = Vec<(u64, u64)>;

/// Reads entries one by one. It also implements [`Read`] and [`BufRead`], for the data of the last entry.
pub struct Reader<R> {
    inner: R,
    offset: u64,
    data: u64,
    padding: u64,
    ended: bool,
    aside: Aside,
}

impl<R: BufRead> Reader<R> {
    /// Reads the archive in `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, offset: 0, data: 0, padding: 0, ended: false, aside: Aside::default() }
    }

    /// How many bytes of the archive have been read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The inner stream, between two calls.
    pub(in crate::layer) fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// What the header of the last entry says beside the entry.
    pub(in crate::layer) fn aside(&self) -> &Aside {
        &self.aside
    }

    /// The inner stream. After the last entry, it contains the padding of the archive.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry, or `None` at the end of the archive. Unread data of the last entry is skipped.
    ///
    /// # Errors
    /// [`Error`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut extended = Extended::default();
        let mut spent = 0u64;
        while !self.ended {
            self.skip_rest()?;
            let start = self.offset;
            let Some(block) = self.block()? else { break };
            if block.iter().all(|byte| *byte == 0) {
                self.ended = true;
                // Some tools write only one block of zeros, but nothing else may follow.
                if self.block()?.is_some_and(|block| block.iter().any(|byte| *byte != 0)) {
                    return Err(Error::Trailing { offset: start + BLOCK as u64 });
                }
                break;
            }
            let header = Header::from_byte_slice(&block);
            if !checksum_fits(&block) {
                return Err(Error::Checksum { offset: start });
            }
            let kind = header.as_bytes()[156];
            if let b'g' | b'x' | b'L' | b'K' = kind {
                let size = number(&header.as_old().size).and_then(|size| u64::try_from(size).ok());
                let size = size.ok_or_else(|| Error::Field { path: header_path(header), field: "size" })?;
                spent = spent.saturating_add(size);
                if spent > EXTENDED {
                    return Err(Error::TooLarge { offset: start });
                }
                self.set_data(size);
                let mut bytes = Vec::new();
                self.read_to_end(&mut bytes)?;
                if bytes.len() as u64 != size {
                    return Err(Error::Truncated);
                }
                match kind {
                    b'x' => {
                        pax(&bytes, &mut extended)
                            .map_err(|field| Error::Field { path: header_path(header), field })?;
                    }
                    b'L' => extended.path = Some(until_nul(&bytes).to_vec()),
                    b'K' => extended.link = Some(until_nul(&bytes).to_vec()),
                    _ => self.aside.has_skipped = true,
                }
                continue;
            }
            match self.entry(header, extended)? {
                Some(entry) => return Ok(Some(entry)),
                None => {
                    self.aside.has_skipped = true;
                    extended = Extended::default();
                }
            }
        }
        Ok(None)
    }

    fn entry(&mut self, header: &Header, mut extended: Extended) -> Result<Option<Entry>, Error> {
        self.aside.take(header, &mut extended);
        let sparse_name = extended.sparse_name.take().filter(|_| extended.sparse);
        let path = sparse_name
            .or(extended.path.take())
            .map_or_else(|| header_path(header), |path| OsString::from_vec(path).into());
        let fields = Fields { header, path };
        if fields.path.as_os_str().as_bytes().contains(&0) {
            return Err(fields.bad("name"));
        }
        let old = header.as_old();
        let stored = match extended.size {
            Some(size) => size,
            None => fields.unsigned(&old.size, "size")?,
        };
        let Some(kind) = fields.kind(extended.link.take())? else {
            self.set_data(stored);
            return Ok(None);
        };
        let modified = match extended.modified {
            Some(time) => time,
            None => Time { seconds: number(&old.mtime).ok_or_else(|| fields.bad("time"))?, nanoseconds: 0 },
        };
        let mut entry = Entry {
            kind,
            mode: (fields.unsigned(&old.mode, "mode")? & 0o7777) as u32,
            uid: fields.id(extended.uid, &old.uid, "user")?,
            gid: fields.id(extended.gid, &old.gid, "group")?,
            modified,
            size: 0,
            xattrs: std::mem::take(&mut extended.xattrs),
            sparse: None,
            path: fields.path.clone(),
        };
        if entry.kind == Kind::File {
            self.set_data(stored);
            match self.sparse(&fields, &extended)? {
                Some((size, map)) => (entry.size, entry.sparse) = (size, Some(map)),
                None => entry.size = stored,
            }
            if i64::try_from(entry.size).is_err() {
                return Err(fields.bad("size"));
            }
        }
        Ok(Some(entry))
    }

    /// The size of a sparse file and the stored pieces in order; `None` if the file is not sparse.
    fn sparse(&mut self, fields: &Fields<'_>, extended: &Extended) -> Result<Option<(u64, Pieces)>, Error> {
        let (size, map) = if fields.flag() == b'S' {
            let gnu = fields.header.as_gnu().ok_or_else(|| fields.bad("sparse map"))?;
            let size = fields.unsigned(&gnu.realsize, "size")?;
            // Further blocks of the map come before the data and do not count to its size.
            let (data, padding) = (self.data, self.padding);
            let map = self.old_sparse_map(fields.header)?;
            (self.data, self.padding) = (data, padding);
            (size, map)
        } else if extended.sparse {
            let size = extended.sparse_size.ok_or_else(|| fields.bad("size"))?;
            let version = (extended.sparse_major, extended.sparse_minor);
            let map = if version == (Some(1), Some(0)) { self.sparse_map()? } else { pairs(&extended.sparse_map) };
            (size, map)
        } else {
            return Ok(None);
        };
        let map = map.ok_or_else(|| fields.bad("sparse map"))?;
        let mut end = 0u64;
        let mut sum = 0u64;
        for (offset, length) in &map {
            let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= size);
            end = next.ok_or_else(|| fields.bad("sparse map"))?;
            sum += length;
        }
        if sum != self.data {
            return Err(fields.bad("sparse map"));
        }
        Ok(Some((size, map)))
    }

    /// GNU's own format: four pieces in the header, and 21 in each block after it.
    fn old_sparse_map(&mut self, header: &Header) -> Result<Option<Pieces>, Error> {
        let bytes = header.as_bytes();
        let mut map = Vec::new();
        let mut more = bytes[482] != 0;
        let mut pieces = bytes[386..482].to_vec();
        loop {
            for piece in pieces.chunks_exact(24) {
                if piece[0] == 0 || piece[12] == 0 {
                    break;
                }
                let number = |bytes: &[u8]| number(bytes).and_then(|n| u64::try_from(n).ok());
                let (Some(offset), Some(length)) = (number(&piece[..12]), number(&piece[12..])) else {
                    return Ok(None);
                };
                map.push((offset, length));
            }
            if !more {
                return Ok(Some(map));
            }
            if map.len() as u64 * 24 > EXTENDED {
                return Err(Error::TooLarge { offset: self.offset });
            }
            let block = self.block()?.ok_or(Error::Truncated)?;
            more = block[504] != 0;
            pieces = block[..504].to_vec();
        }
    }

    /// PAX 1.0: decimal numbers before the data, one a line, padded to whole blocks.
    fn sparse_map(&mut self) -> Result<Option<Pieces>, Error> {
        let mut numbers: Vec<u64> = Vec::new();
        let mut current = Vec::new();
        let mut read = 0u64;
        let mut wanted = 1;
        while numbers.len() < wanted {
            read += BLOCK as u64;
            if self.data < BLOCK as u64 {
                return Ok(None);
            }
            if read > EXTENDED {
                return Err(Error::TooLarge { offset: self.offset });
            }
            let block = self.block()?.ok_or(Error::Truncated)?;
            self.data -= BLOCK as u64;
            for byte in block {
                if numbers.len() == wanted {
                    break;
                }
                if byte != b'\n' {
                    current.push(byte);
                    continue;
                }
                let Some(number) = decimal(&current) else { return Ok(None) };
                current.clear();
                numbers.push(number);
                if numbers.len() == 1 {
                    let Some(total) = usize::try_from(number).ok().and_then(|n| n.checked_mul(2)?.checked_add(1))
                    else {
                        return Ok(None);
                    };
                    wanted = total;
                }
            }
        }
        Ok(pairs(&numbers[1..]))
    }

    /// Skips the data of the last entry without reading them.
    ///
    /// # Errors
    /// [`Error::Io`]. That the archive ends before does not show until the next entry is read.
    pub fn skip_data(&mut self) -> Result<(), Error>
    where
        R: Seek,
    {
        let rest = self.data.saturating_add(self.padding);
        let distance = i64::try_from(rest).map_err(|_| Error::Truncated)?;
        self.inner.seek_relative(distance)?;
        self.offset = self.offset.saturating_add(rest);
        (self.data, self.padding) = (0, 0);
        Ok(())
    }

    fn set_data(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        let mut rest = self.data.saturating_add(self.padding);
        self.data = 0;
        self.padding = 0;
        while rest > 0 {
            let count = read_some(&mut self.inner)?.len() as u64;
            if count == 0 {
                return Err(Error::Truncated);
            }
            let count = count.min(rest);
            self.inner.consume(count as usize);
            self.offset += count;
            rest -= count;
        }
        Ok(())
    }

    /// The next block, or `None` at the end of the stream.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = read_some(&mut self.inner)?;
            let count = bytes.len().min(BLOCK - filled);
            if count == 0 {
                return if filled == 0 { Ok(None) } else { Err(Error::Truncated) };
            }
            block[filled..filled + count].copy_from_slice(&bytes[..count]);
            self.inner.consume(count);
            filled += count;
        }
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }
}

/// The fields of a header, with the name of the entry for errors.
struct Fields<'a> {
    header: &'a Header,
    path: PathBuf,
}

impl Fields<'_> {
    fn bad(&self, field: &'static str) -> Error {
        Error::Field { path: self.path.clone(), field }
    }

    fn flag(&self) -> u8 {
        self.header.as_bytes()[156]
    }

    fn unsigned(&self, bytes: &[u8], field: &'static str) -> Result<u64, Error> {
        number(bytes).and_then(|number| u64::try_from(number).ok()).ok_or_else(|| self.bad(field))
    }

    fn id(&self, extended: Option<u64>, bytes: &[u8], field: &'static str) -> Result<u32, Error> {
        let id = extended.map_or_else(|| self.unsigned(bytes, field), Ok)?;
        // The kernel uses the last ID for "unchanged".
        u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| self.bad(field))
    }

    /// The type of the entry, with the link target of an extended header if there was one; `None` for a volume label.
    fn kind(&self, link: Option<Vec<u8>>) -> Result<Option<Kind>, Error> {
        let link = || -> Result<PathBuf, Error> {
            let link = link.unwrap_or_else(|| until_nul(&self.header.as_old().linkname).to_vec());
            if link.is_empty() || link.contains(&0) {
                Err(self.bad("link name"))
            } else {
                Ok(OsString::from_vec(link).into())
            }
        };
        let device = || -> Result<(u32, u32), Error> {
            let bytes = self.header.as_bytes();
            let part =
                |bytes: &[u8]| number(bytes).and_then(|n| u32::try_from(n).ok()).ok_or_else(|| self.bad("device"));
            Ok((part(&bytes[329..337])?, part(&bytes[337..345])?))
        };
        Ok(Some(match self.flag() {
            // Before POSIX, a directory was a file with a trailing slash.
            0 if self.path.as_os_str().as_bytes().ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink(link()?),
            b'2' => Kind::Symlink(link()?),
            b'3' => device().map(|(major, minor)| Kind::Character(major, minor))?,
            b'4' => device().map(|(major, minor)| Kind::Block(major, minor))?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            // A volume label, which GNU tar writes first on request.
            b'V' => return Ok(None),
            other => return Err(Error::Kind { path: self.path.clone(), kind: char::from(other) }),
        }))
    }
}

fn read_some<R: BufRead>(reader: &mut R) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            // Called twice because a borrow from a first call could not be returned from a loop.
            Ok(_) => return reader.fill_buf(),
        }
    }
}

impl<R: BufRead> BufRead for Reader<R> {
    /// The next piece of stored data, from the buffer below; empty at the end of the entry.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.data == 0 {
            return Ok(&[]);
        }
        let left = usize::try_from(self.data).unwrap_or(usize::MAX);
        let bytes = read_some(&mut self.inner)?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(&bytes[..bytes.len().min(left)])
    }

    fn consume(&mut self, count: usize) {
        let count = usize::try_from(self.data).unwrap_or(usize::MAX).min(count);
        self.inner.consume(count);
        self.data -= count as u64;
        self.offset += count as u64;
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

fn pairs(numbers: &[u64]) -> Option<Vec<(u64, u64)>> {
    if numbers.len() % 2 == 1 {
        return None;
    }
    Some(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// The name in the header, with POSIX's prefix.
fn header_path(header: &Header) -> PathBuf {
    let name = until_nul(&header.as_old().name);
    let prefix = header.as_ustar().map_or(&[][..], |ustar| until_nul(&ustar.prefix));
    let path = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
    OsString::from_vec(path).into()
}

/// The checksum of a header treats its own field as spaces; some old tools summed signed bytes.
fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let spaces = 8 * i64::from(b' ');
    let rest = || block[..148].iter().chain(&block[156..]);
    let unsigned: i64 = rest().map(|byte| i64::from(*byte)).sum();
    let signed: i64 = rest().map(|byte| i64::from(byte.cast_signed())).sum();
    number(&block[148..156]).is_some_and(|sum| sum == unsigned + spaces || sum == signed + spaces)
}
