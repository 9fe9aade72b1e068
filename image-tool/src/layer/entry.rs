//! The syntax of a layer's archive: tar entries read from a stream and written to one.
//!
//! The crate `tar` knows the header's fields; what is in between is here, because a layer comes from a stranger: the
//! extended headers of one entry are bounded (`tar` reads a long name of ten gigabytes into memory), a PAX value may
//! hold any byte (`tar` splits records at newlines, and `security.capability` often has one), sparse files of all of
//! GNU tar's formats are known, and file data is handed out from the caller's buffer without a copy.
//!
//! Where readers of tar disagree, this one sides with Go's `archive/tar`, through which docker, podman, containerd and
//! BuildKit see layers: global headers are skipped, links and devices have no data whatever their size says.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::beneath::Time;

const BLOCK: usize = 512;
/// All extended headers of one entry together, as Go bounds them.
const EXTENDED: u64 = 1 << 20;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive ends in the middle of something.
    #[error("the archive ends in the middle of an entry")]
    Truncated,
    /// A header's checksum is wrong: this is no tar, or a damaged one.
    #[error("at byte {offset}: not a tar header")]
    Checksum {
        /// Where in the archive.
        offset: u64,
    },
    /// A field of a header makes no sense.
    #[error("entry {path:?}: bad {field}")]
    Field {
        /// The entry, as far as its name was known.
        path: PathBuf,
        /// The field.
        field: &'static str,
    },
    /// An entry of a kind that layers do not have.
    #[error("entry {path:?}: unknown type {kind:?}")]
    Kind {
        /// The entry.
        path: PathBuf,
        /// Its type flag.
        kind: char,
    },
    /// The extended headers are larger than any real ones.
    #[error("at byte {offset}: extended headers of more than {EXTENDED} bytes")]
    TooLarge {
        /// Where in the archive.
        offset: u64,
    },
    /// There is something behind the end of the archive, which other readers might take for more entries.
    #[error("at byte {offset}: data after the end of the archive")]
    Trailing {
        /// Where in the archive.
        offset: u64,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
            Self::Truncated
        } else {
            Self::Io(error)
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of a file in the image.
    HardLink(PathBuf),
    /// A symbolic link, with its text.
    Symlink(PathBuf),
    /// A character device: major and minor.
    Character(u32, u32),
    /// A block device: major and minor.
    Block(u32, u32),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry of an archive, but for the data of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as it stands in the archive.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, setuid, setgid and sticky among them.
    pub mode: u32,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When it was last changed.
    pub modified: Time,
    /// The size of a regular file.
    pub size: u64,
    /// Extended attributes.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
    /// Where the data of a sparse file goes, offset and length; the rest is holes.
    pub sparse: Option<Vec<(u64, u64)>>,
}

impl Entry {
    /// An entry of root's without time or attributes.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, kind: Kind, mode: u32) -> Self {
        let time = Time::default();
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            modified: time,
            size: 0,
            xattrs: Vec::new(),
            sparse: None,
        }
    }
}

/// What extended headers say about the entry behind them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    modified: Option<Time>,
    xattrs: Vec<(OsString, Vec<u8>)>,
    sparse_name: Option<Vec<u8>>,
    sparse_size: Option<u64>,
    sparse_major: Option<u64>,
    sparse_minor: Option<u64>,
    sparse_map: Vec<u64>,
    sparse: bool,
}

/// Reads entries one after the other. It is also a [`Read`] and [`BufRead`] of the data of the entry last returned.
pub struct Reader<R> {
    inner: R,
    offset: u64,
    data: u64,
    padding: u64,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the archive in `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, offset: 0, data: 0, padding: 0, ended: false }
    }

    /// How many bytes of the archive have been read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The stream below; behind the last entry lies what the archive is padded with.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry, or `None` at the end of the archive. What is left of the data of the last one is skipped.
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
                // The second block of zeros is missing in archives of some tools, but nothing else may be there.
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
                        pax(&bytes, &mut extended).map_err(|field| Error::Field { path: header_path(header), field })?
                    }
                    b'L' => extended.path = Some(until_nul(&bytes).to_vec()),
                    b'K' => extended.link = Some(until_nul(&bytes).to_vec()),
                    _ => {}
                }
                continue;
            }
            match self.entry(header, extended)? {
                Some(entry) => return Ok(Some(entry)),
                None => extended = Extended::default(),
            }
        }
        Ok(None)
    }

    fn entry(&mut self, header: &Header, mut extended: Extended) -> Result<Option<Entry>, Error> {
        let old = header.as_old();
        let sparse_name = extended.sparse_name.take().filter(|_| extended.sparse);
        let path = sparse_name
            .or(extended.path.take())
            .map_or_else(|| header_path(header), |path| OsString::from_vec(path).into());
        let bad = |field| Error::Field { path: path.clone(), field };
        if path.as_os_str().as_bytes().contains(&0) {
            return Err(bad("name"));
        }
        let unsigned =
            |bytes: &[u8], field| number(bytes).and_then(|n| u64::try_from(n).ok()).ok_or_else(|| bad(field));
        let stored = match extended.size {
            Some(size) => size,
            None => unsigned(&old.size, "size")?,
        };
        let flag = header.as_bytes()[156];
        let link = |extended: &mut Extended| -> Result<PathBuf, Error> {
            let link = extended.link.take().unwrap_or_else(|| until_nul(&old.linkname).to_vec());
            if link.is_empty() || link.contains(&0) {
                Err(bad("link name"))
            } else {
                Ok(OsString::from_vec(link).into())
            }
        };
        let device = || -> Result<(u32, u32), Error> {
            let bytes = header.as_bytes();
            let part = |bytes: &[u8]| number(bytes).and_then(|n| u32::try_from(n).ok()).ok_or_else(|| bad("device"));
            Ok((part(&bytes[329..337])?, part(&bytes[337..345])?))
        };
        let kind = match flag {
            // Before POSIX a directory was a file with a slash at its end.
            0 if path.as_os_str().as_bytes().ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink(link(&mut extended)?),
            b'2' => Kind::Symlink(link(&mut extended)?),
            b'3' => device().map(|(major, minor)| Kind::Character(major, minor))?,
            b'4' => device().map(|(major, minor)| Kind::Block(major, minor))?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            // The name of a volume, which GNU tar puts first on request.
            b'V' => {
                self.set_data(stored);
                return Ok(None);
            }
            other => return Err(Error::Kind { path: path.clone(), kind: char::from(other) }),
        };
        let id = |extended: Option<u64>, bytes: &[u8], field| -> Result<u32, Error> {
            let id = extended.map_or_else(|| unsigned(bytes, field), Ok)?;
            // The last one is the kernel's word for "leave it".
            u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| bad(field))
        };
        let mode = unsigned(&old.mode, "mode")?;
        let modified = match extended.modified {
            Some(time) => time,
            None => Time { seconds: number(&old.mtime).ok_or_else(|| bad("time"))?, nanoseconds: 0 },
        };
        let mut entry = Entry {
            kind,
            mode: (mode & 0o7777) as u32,
            uid: id(extended.uid, &old.uid, "user")?,
            gid: id(extended.gid, &old.gid, "group")?,
            modified,
            size: 0,
            xattrs: std::mem::take(&mut extended.xattrs),
            sparse: None,
            path: path.clone(),
        };
        if entry.kind == Kind::File {
            self.set_data(stored);
            entry.size = stored;
            let map = if flag == b'S' {
                let gnu = header.as_gnu().ok_or_else(|| bad("sparse map"))?;
                entry.size = unsigned(&gnu.realsize, "size")?;
                // The map's further blocks come before the data and are not counted in its size.
                let (data, padding) = (self.data, self.padding);
                let map = self.old_sparse_map(header)?;
                (self.data, self.padding) = (data, padding);
                Some(map.ok_or_else(|| bad("sparse map"))?)
            } else if extended.sparse {
                entry.size = extended.sparse_size.ok_or_else(|| bad("size"))?;
                if extended.sparse_major == Some(1) && extended.sparse_minor == Some(0) {
                    Some(self.sparse_map()?.ok_or_else(|| bad("sparse map"))?)
                } else {
                    Some(pairs(&extended.sparse_map).ok_or_else(|| bad("sparse map"))?)
                }
            } else {
                None
            };
            if let Some(map) = &map {
                let mut end = 0u64;
                let mut sum = 0u64;
                for (offset, length) in map {
                    let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= entry.size);
                    end = next.ok_or_else(|| bad("sparse map"))?;
                    sum += length;
                }
                if sum != self.data {
                    return Err(bad("sparse map"));
                }
            }
            if i64::try_from(entry.size).is_err() {
                return Err(bad("size"));
            }
            entry.sparse = map;
        }
        Ok(Some(entry))
    }

    /// GNU's own format: four pieces in the header, 21 in each block behind it.
    fn old_sparse_map(&mut self, header: &Header) -> Result<Option<Vec<(u64, u64)>>, Error> {
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

    /// PAX 1.0: decimal numbers in front of the data, a line each, padded to whole blocks.
    fn sparse_map(&mut self) -> Result<Option<Vec<(u64, u64)>>, Error> {
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

    /// The next block, or `None` where the stream ends.
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

fn read_some<R: BufRead>(reader: &mut R) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            // Asked twice because the borrow of a first answer could not be returned out of a loop.
            Ok(_) => return reader.fill_buf(),
        }
    }
}

impl<R: BufRead> BufRead for Reader<R> {
    /// The next piece of the entry's data as it is stored, from the buffer below; empty at its end.
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

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())]
}

/// The name in the header itself, with POSIX's prefix.
fn header_path(header: &Header) -> PathBuf {
    let name = until_nul(&header.as_old().name);
    let prefix = header.as_ustar().map_or(&[][..], |ustar| until_nul(&ustar.prefix));
    let path = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
    OsString::from_vec(path).into()
}

/// The header's checksum counts its own field as spaces; some old tars summed signed bytes.
fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let spaces = 8 * i64::from(b' ');
    let rest = || block[..148].iter().chain(&block[156..]);
    let unsigned: i64 = rest().map(|byte| i64::from(*byte)).sum();
    let signed: i64 = rest().map(|byte| i64::from(byte.cast_signed())).sum();
    number(&block[148..156]).is_some_and(|sum| sum == unsigned + spaces || sum == signed + spaces)
}

/// A numeric field: octal digits among spaces and NULs, or GNU's base 256, whose first bit is set.
fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Two's complement over the field, of which the first bit is the mark and the second the sign.
        let negative = first & 0x40 != 0;
        let mut value = i128::from(if negative { (first | 0x80).cast_signed() } else { (first & 0x7f).cast_signed() });
        for byte in rest {
            value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
        }
        return i64::try_from(value).ok();
    }
    let text = until_nul(field).trim_ascii();
    text.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with a fraction, as PAX has them.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or(b"");
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds =
        (0..9).fold(0, |sum, place| sum * 10 + fraction.get(place).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

/// Reads PAX records, `LENGTH KEY=VALUE\n`. The length rules, so a value may hold newlines and zeros.
fn pax(mut bytes: &[u8], extended: &mut Extended) -> Result<(), &'static str> {
    const BAD: &str = "extended header";
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or(BAD)?;
        let length = decimal(&bytes[..space]).and_then(|length| usize::try_from(length).ok()).ok_or(BAD)?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(BAD);
        }
        let record = &bytes[space + 1..length - 1];
        bytes = &bytes[length..];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        // POSIX: an empty value takes back what was said before.
        let text = || (!value.is_empty()).then(|| value.to_vec());
        let numeral = || if value.is_empty() { Ok(None) } else { decimal(value).map(Some).ok_or(BAD) };
        match key {
            b"path" => extended.path = text(),
            b"linkpath" => extended.link = text(),
            b"size" => extended.size = numeral()?,
            b"uid" => extended.uid = numeral()?,
            b"gid" => extended.gid = numeral()?,
            b"mtime" => extended.modified = if value.is_empty() { None } else { Some(time(value).ok_or(BAD)?) },
            b"GNU.sparse.name" => extended.sparse_name = text(),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                extended.sparse = true;
                extended.sparse_size = numeral()?;
            }
            b"GNU.sparse.major" => {
                extended.sparse = true;
                extended.sparse_major = numeral()?;
            }
            b"GNU.sparse.minor" => extended.sparse_minor = numeral()?,
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').filter(|part| !part.is_empty()).map(decimal);
                extended.sparse_map = numbers.collect::<Option<_>>().ok_or(BAD)?;
            }
            // Format 0.0 has these two in turn, once for every piece.
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let offset = key == b"GNU.sparse.offset";
                if offset != extended.sparse_map.len().is_multiple_of(2) {
                    return Err(BAD);
                }
                extended.sparse_map.push(decimal(value).ok_or(BAD)?);
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.contains(&0) {
                        return Err(BAD);
                    }
                    extended.xattrs.retain(|(known, _)| known.as_bytes() != name);
                    extended.xattrs.push((OsStr::from_bytes(name).to_os_string(), value.to_vec()));
                }
            }
        }
    }
    Ok(())
}

/// Writes entries: POSIX ustar, with a PAX header only where ustar cannot say it, so that equal trees give equal bytes
/// and old readers read what they can.
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

    /// Writes the header of `entry`. If it is a file, exactly its size in bytes follows through [`Write`]. Owners are
    /// numbers; user names would depend on the host. Sparse files are written whole.
    ///
    /// # Errors
    /// The stream's; `InvalidInput` if the data of the entry before is not complete.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_data()?;
        let mut records = Vec::new();
        let mut header = Header::new_ustar();
        let mut path = entry.path.as_os_str().as_bytes().to_vec();
        if entry.kind == Kind::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let block = header.as_mut_bytes();
        if let Some((prefix, name)) = split_name(&path) {
            block[..name.len()].copy_from_slice(name);
            block[345..345 + prefix.len()].copy_from_slice(prefix);
        } else {
            record(&mut records, b"path", &path);
            let short = &path[..path.len().min(100)];
            block[..short.len()].copy_from_slice(short);
        }
        let (flag, device) = match &entry.kind {
            Kind::File => (EntryType::Regular, (0, 0)),
            Kind::HardLink(_) => (EntryType::Link, (0, 0)),
            Kind::Symlink(_) => (EntryType::Symlink, (0, 0)),
            Kind::Character(major, minor) => (EntryType::Char, (*major, *minor)),
            Kind::Block(major, minor) => (EntryType::Block, (*major, *minor)),
            Kind::Directory => (EntryType::Directory, (0, 0)),
            Kind::Fifo => (EntryType::Fifo, (0, 0)),
        };
        block[156] = flag.as_byte();
        if let Kind::HardLink(target) | Kind::Symlink(target) = &entry.kind {
            let target = target.as_os_str().as_bytes();
            if target.len() > 100 {
                record(&mut records, b"linkpath", target);
            }
            let short = &target[..target.len().min(100)];
            block[157..157 + short.len()].copy_from_slice(short);
        }
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
        if let EntryType::Char | EntryType::Block = flag {
            let fits = octal(&mut block[329..337], device.0.into()) && octal(&mut block[337..345], device.1.into());
            if !fits {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "device number too large for tar"));
            }
        }
        let mut xattrs: Vec<_> = entry.xattrs.iter().collect();
        xattrs.sort();
        for (name, value) in xattrs {
            record(&mut records, &[b"SCHILY.xattr.", name.as_bytes()].concat(), value);
        }
        if !records.is_empty() {
            let mut extended = Header::new_ustar();
            // A name for readers that know no PAX; of it only that it is no file's matters.
            let last = entry.path.file_name().map_or(&b"root"[..], OsStrExt::as_bytes);
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
            self.inner.write_all(&records)?;
            self.inner.write_all(&[0; BLOCK][..records.len().wrapping_neg() % BLOCK])?;
        }
        header.set_cksum();
        self.inner.write_all(header.as_bytes())?;
        self.data = size;
        {
            self.padding = (size.wrapping_neg() % BLOCK as u64) as usize;
        }
        Ok(())
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// The stream's.
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

    /// Ends the archive and gives the stream back.
    ///
    /// # Errors
    /// As [`Writer::entry`].
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

/// Splits a name over ustar's two fields, if it can be.
fn split_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    // The slash at a directory's end separates nothing.
    let slash = path[..path.len() - 1].iter().enumerate().take(156).rev().find(|(_, byte)| **byte == b'/')?.0;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!prefix.is_empty() && name.len() <= 100).then_some((prefix, name))
}

/// Writes an octal number with a NUL at its end, or zero and `false` if it does not fit.
fn octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let fits = value < 1 << (3 * digits);
    let text = format!("{:0digits$o}", if fits { value } else { 0 });
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
    fits
}

fn pax_time(time: Time) -> String {
    let fraction =
        |nanoseconds: u32| format!(".{nanoseconds:09}").trim_end_matches('0').trim_end_matches('.').to_string();
    if time.seconds < 0 && time.nanoseconds > 0 {
        return format!("-{}{}", -(time.seconds + 1), fraction(1_000_000_000 - time.nanoseconds));
    }
    format!("{}{}", time.seconds, fraction(time.nanoseconds))
}

/// Appends a record, whose length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

/// A path as an archive names it: without a `/` in front.
#[must_use]
pub fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
        let mut reader = Reader::new(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            let mut data = Vec::new();
            reader.read_to_end(&mut data)?;
            entries.push((entry, data));
        }
        Ok(entries)
    }

    fn write_all(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in entries {
            writer.entry(entry).unwrap();
            writer.write_all(data).unwrap();
        }
        writer.finish().unwrap()
    }

    fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
        let name = || proptest::collection::vec("[a-zé]{1,90}", 1..5).prop_map(|parts| PathBuf::from(parts.join("/")));
        let kind = prop_oneof![
            4 => Just(Kind::File),
            1 => Just(Kind::Directory),
            1 => Just(Kind::Fifo),
            1 => name().prop_map(Kind::Symlink),
            1 => name().prop_map(Kind::HardLink),
            1 => (0u32..0x1f_ffff, 0u32..0x1f_ffff).prop_map(|(major, minor)| Kind::Block(major, minor)),
        ];
        let xattrs =
            proptest::collection::btree_map("user\\.[a-z]{1,9}", proptest::collection::vec(any::<u8>(), 0..40), 0..3);
        let time = (any::<i32>(), 0u32..1_000_000_000)
            .prop_map(|(s, nanoseconds)| Time { seconds: i64::from(s) * 9, nanoseconds });
        let data = proptest::collection::vec(any::<u8>(), 0..1500);
        (name(), kind, 0u32..0o10000, 0..u32::MAX, 0..u32::MAX, time, xattrs, data).prop_map(
            |(path, kind, mode, uid, gid, modified, xattrs, data)| {
                let data = if kind == Kind::File { data } else { Vec::new() };
                let xattrs = xattrs.into_iter().map(|(key, value)| (key.into(), value)).collect();
                let entry =
                    Entry { mode, uid, gid, modified, size: data.len() as u64, xattrs, ..Entry::new(path, kind, 0) };
                (entry, data)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in proptest::collection::vec(any_entry(), 0..6)) {
            let bytes = write_all(&entries);
            prop_assert_eq!(bytes.len() % BLOCK, 0);
            let mut read = read_all(&bytes).unwrap();
            for (entry, _) in &mut read {
                let path = entry.path.as_os_str().as_bytes();
                entry.path = OsStr::from_bytes(path.strip_suffix(b"/").unwrap_or(path)).into();
            }
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..3000), start in 0usize..3, entry in any_entry()) {
            let mut archive = write_all(&[entry]);
            archive.truncate(start * BLOCK);
            archive.append(&mut bytes);
            let _ = read_all(&archive);
        }

        #[test]
        fn a_changed_byte_is_an_error_or_another_archive(entry in any_entry(), place: prop::sample::Index, value: u8) {
            let mut archive = write_all(&[entry]);
            let place = place.index(archive.len());
            archive[place] = value;
            let _ = read_all(&archive);
        }
    }

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"12345678", None),
            (b"\x80\0\0\0\x01\0\0\0", Some(1 << 24)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"-1\0", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }

    #[test]
    fn times_before_1970_keep_their_fraction() {
        for (text, seconds, nanoseconds) in
            [("12.5", 12, 500_000_000), ("-1.25", -2, 750_000_000), ("-3", -3, 0), ("7", 7, 0)]
        {
            let parsed = time(text.as_bytes()).unwrap();
            assert_eq!(parsed, Time { seconds, nanoseconds }, "{text}");
            assert_eq!(pax_time(parsed), text);
        }
        for bad in ["", ".", "1.x", "--1", "1e3"] {
            assert_eq!(time(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn headers_without_end_are_refused() {
        for kind in [b'x', b'L', b'K', b'g'] {
            let mut header = Header::new_gnu();
            header.as_mut_bytes()[156] = kind;
            header.set_size(10 << 30);
            header.set_cksum();
            assert!(matches!(read_all(header.as_bytes()), Err(Error::TooLarge { .. })), "{}", char::from(kind));
        }
    }

    #[test]
    fn a_second_archive_behind_the_first_is_refused() {
        let archive = write_all(&[(Entry::new("a", Kind::Fifo, 0), Vec::new())]);
        let hidden = [&archive[..BLOCK * 2], &archive[..]].concat();
        assert!(matches!(read_all(&hidden), Err(Error::Trailing { .. })));
        assert_eq!(read_all(&archive[..BLOCK]).unwrap().len(), 1, "an end that is not marked");
    }

    #[test]
    fn the_sparse_formats_of_gnu_tar_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(folder.path().join("sparse")).unwrap();
        let mut whole = vec![0; 3_000_000];
        for place in [0usize, 131_072, 1_000_000, 2_999_990] {
            std::os::unix::fs::FileExt::write_all_at(&file, b"data", place as u64).unwrap();
            whole[place..place + 4].copy_from_slice(b"data");
        }
        file.set_len(3_000_000).unwrap();
        for format in [
            &["--format=gnu"][..],
            &["--format=posix", "--sparse-version=0.0"],
            &["--format=posix", "--sparse-version=0.1"],
            &["--format=posix", "--sparse-version=1.0"],
        ] {
            let output = std::process::Command::new("tar")
                .args(format)
                .args(["--sparse", "-cf", "-", "sparse"])
                .current_dir(folder.path())
                .output()
                .unwrap();
            let entries = read_all(&output.stdout).unwrap();
            let [(entry, data)] = &entries[..] else { panic!("{format:?}: {entries:?}") };
            assert_eq!((entry.path.to_str(), entry.size), (Some("sparse"), 3_000_000), "{format:?}");
            let mut expanded = vec![0; 3_000_000];
            let mut rest = &data[..];
            for (offset, length) in entry.sparse.as_ref().unwrap() {
                let (piece, after) = rest.split_at(*length as usize);
                expanded[*offset as usize..][..piece.len()].copy_from_slice(piece);
                rest = after;
            }
            assert!(rest.is_empty() && expanded == whole, "{format:?}");
        }
    }
}
