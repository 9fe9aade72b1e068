//! Packing an archive so that each of its files can be read without the rest: eStargz (stargz-snapshotter, docs/estargz.md) and
//! zstd:chunked (containers/storage, pkg/chunked). Both are what their media types say, gzip and zstd, for everybody else.
//!
//! The archive is read once, entry by entry, and cut into pieces that are compressed on their own: `cut` says where a file is cut,
//! `piece` compresses on all threads and counts, `table` writes the table of contents, `split` what zstd:chunked has beside it
//! to make the archive again, and `end` what comes behind the pieces. What is kept is on disk as soon as it is large (`spool`).
//!
//! Not every archive has a place in a table: where one name is used twice or is no text, other programs would see another tree than the
//! one that is unpacked from the archive. [`Error::Unfit`] says so, and the archive is to be packed as a whole.

mod cut;
mod end;
mod piece;
mod record;
mod split;
mod spool;
mod table;

use std::collections::HashSet;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::image::Descriptor;

use self::cut::{Cutter, Rule};
use self::piece::Pieces;
use self::record::{Rest, Step, Walk};
use self::split::Split;
use self::table::{Chunk, Meta, Row};
use super::Format;
use crate::address::digest::{self, Digest, Hasher};
use crate::beneath::clean;
use crate::error::Io;
use crate::layer::entry::{self, Entry, Kind, Reader, Whole};
use crate::layer::limit::Limits;
use crate::layout::{self, Writer};

pub(super) use self::end::{MANIFEST_CHECKSUM, MANIFEST_POSITION};
pub use self::end::{TOC_DIGEST, UNCOMPRESSED_SIZE};

/// The file at the end of eStargz that is its table of contents.
const INDEX: &str = "stargz.index.json";
/// The file at the beginning of eStargz that says that nothing need be fetched in advance.
const LANDMARK: &str = ".no.prefetch.landmark";
/// The files of eStargz itself, at the top of the tree.
const OWN: [&str; 3] = [INDEX, LANDMARK, ".prefetch.landmark"];
/// How large a piece becomes by headers alone.
const PIECE: usize = 4 << 20;
/// How much behind the archive is recorded at once.
const REST: usize = 1 << 20;
const BLOCK: usize = 512;

/// Why an archive was not packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is no archive.
    #[error(transparent)]
    Archive(#[from] entry::Error),
    /// It has too many entries.
    #[error("more than {limit} entries")]
    TooMany {
        /// The maximum number of entries.
        limit: u64,
    },
    /// It has no place in a table of contents.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The blob could not be written.
    #[error(transparent)]
    Layout(#[from] layout::Error),
}

/// What has no place in a table of contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// A name that comes twice: the table does not say which of the two is there.
    #[error("{0:?} is in the archive twice")]
    Twice(PathBuf),
    /// A link to a file of another layer.
    #[error("{0:?} is a hard link to a file that is not in the archive before it")]
    Target(PathBuf),
    /// A name that is not text, which JSON consists of.
    #[error("the name {0:?} is not UTF-8")]
    Name(PathBuf),
    /// A header that others read in another way, or not at all.
    #[error("{0:?} has a header that tables of contents cannot repeat")]
    Header(PathBuf),
    /// A sparse file that is too large with its holes.
    #[error("{0:?} is a sparse file of too many zeros")]
    Sparse(PathBuf),
    /// A header that belongs to no file.
    #[error("the archive has a header that belongs to no file")]
    Global,
    /// A table that does not fit behind the archive.
    #[error("the table of contents is too large")]
    Table,
}

/// How an archive is to be packed.
pub(super) struct Order {
    pub(super) format: Format,
    pub(super) level: u8,
    /// The largest chunk of a file.
    pub(super) most: usize,
    pub(super) limits: Limits,
    /// Whether what eStargz has added to the archive is left out.
    pub(super) strips: bool,
}

/// A blob that was packed.
#[derive(Debug)]
pub struct Packed {
    /// Its descriptor, with the annotations that say where the table of contents is.
    pub descriptor: Descriptor,
    /// The digest of the archive in it.
    pub diff_id: Digest,
}

/// Packs an archive.
pub(super) fn pack(archive: impl BufRead, writer: &Writer, order: &Order) -> Result<Packed, Error> {
    let strips = order.strips || order.format == Format::Estargz;
    let mut walk = Walk::new(archive, order.limits);
    let mut press = Press::new(writer, order)?;
    while let Some(step) = walk.next()? {
        if walk.reader().aside().has_skipped {
            return Err(Unfit::Global.into());
        }
        if strips && is_own(&step.entry.path) {
            // Its padding goes with it, but not that of the file before.
            press.owed.get_or_insert(step.padding);
            walk.skip()?;
        } else {
            press.entry(step, walk.reader())?;
        }
    }
    if walk.reader().aside().has_skipped {
        return Err(Unfit::Global.into());
    }
    let (end, rest) = walk.into_rest()?;
    press.rest(end, rest)?;
    press.finish()
}

/// Copies an archive without what eStargz has added to it.
///
/// # Errors
/// [`Error::Archive`], also if the output fails; [`Error::TooMany`].
pub fn strip(archive: impl BufRead, output: &mut impl Write, limits: Limits) -> Result<(), Error> {
    let mut put = |bytes: &[u8]| output.write_all(bytes).map_err(entry::Error::from);
    let mut walk = Walk::new(archive, limits);
    let mut is_kept = true;
    while let Some(step) = walk.next()? {
        put(if is_kept { &step.padding } else { &[] })?;
        is_kept = !is_own(&step.entry.path);
        if !is_kept {
            walk.skip()?;
            continue;
        }
        put(&step.header)?;
        loop {
            let bytes = walk.reader().fill_buf().map_err(entry::Error::from)?;
            let count = bytes.len();
            if count == 0 {
                break;
            }
            put(bytes)?;
            walk.reader().consume(count);
        }
    }
    let (end, mut rest) = walk.into_rest()?;
    put(if is_kept { &end.padding } else { &[] })?;
    put(&end.header)?;
    io::copy(&mut rest, output).map_err(entry::Error::from)?;
    Ok(())
}

/// Whether a name is that of a file which eStargz has added.
fn is_own(path: &Path) -> bool {
    clean(path).is_ok_and(|name| OWN.iter().any(|own| name == Path::new(own)))
}

/// A blob in the making.
struct Press {
    format: Format,
    level: u8,
    /// How large the archive may become by the holes of sparse files.
    room: u64,
    pieces: Pieces,
    /// The piece that grows, and the rows of the table that belong to it.
    current: Vec<u8>,
    rows: Vec<Row>,
    cutter: Cutter,
    split: Option<Split>,
    /// The archive so far.
    hasher: Hasher,
    size: u64,
    /// What is due behind the last file, if not the padding that follows in the archive which is read.
    owed: Option<Vec<u8>>,
    /// The names so far, as digests: an archive may have millions.
    names: HashSet<u128>,
}

impl Press {
    fn new(writer: &Writer, order: &Order) -> Result<Self, Error> {
        let is_estargz = order.format == Format::Estargz;
        let rule = if is_estargz { Rule::Even } else { Rule::Content };
        let mut press = Self {
            format: order.format,
            level: order.level,
            room: order.limits.archive(0),
            pieces: Pieces::new(writer.blob()?, order.format, order.level),
            current: Vec::new(),
            rows: Vec::new(),
            cutter: Cutter::new(rule, order.most),
            split: if is_estargz { None } else { Some(Split::new(order.level).map_err(failed)?) },
            hasher: Hasher::sha256(),
            size: 0,
            owed: None,
            names: HashSet::new(),
        };
        if is_estargz {
            press.landmark()?;
        }
        Ok(press)
    }

    /// The first file of eStargz: nothing need be fetched in advance. Which files a container reads first, nobody has told.
    fn landmark(&mut self) -> Result<(), Error> {
        let entry = Entry { size: 1, ..Entry::new(LANDMARK, Kind::File, 0o644) };
        let mut archive = entry::Writer::new(Vec::new());
        archive.file(&entry, &[0xf]).map_err(failed)?;
        let archive = archive.finish().map_err(failed)?;
        let mut reader = Reader::new(&archive[..]);
        let entry = reader.next_entry()?.expect("it was written");
        let step = Step { entry, padding: Vec::new(), header: archive[..BLOCK].to_vec() };
        self.entry(step, &mut reader)?;
        self.owed = Some(vec![0; BLOCK - 1]);
        Ok(())
    }

    fn entry<R: BufRead>(&mut self, step: Step, reader: &mut Reader<R>) -> Result<(), Error> {
        let Step { entry, padding, mut header } = step;
        let unfit = |kind: fn(PathBuf) -> Unfit| Err(Error::from(kind(entry.path.clone())));
        let is_sparse = entry.sparse.is_some();
        let meta = if is_sparse {
            if self.size.saturating_add(entry.size) > self.room {
                return unfit(Unfit::Sparse);
            }
            // A lazy puller hands out what is stored, so all of it is.
            let mut whole = entry::Writer::new(Vec::new());
            whole.entry(&Entry { sparse: None, ..entry.clone() }).map_err(failed)?;
            header = whole.into_inner();
            let mut reader = Reader::new(&header[..]);
            let entry = reader.next_entry()?.expect("it was written");
            Meta::of(&entry, reader.aside(), self.format)?
        } else {
            Meta::of(&entry, reader.aside(), self.format)?
        };
        if let Kind::HardLink(target) = &entry.kind
            && !self.names.contains(&key(target)?)
        {
            return unfit(Unfit::Target);
        }
        if !self.names.insert(key(&entry.path)?) {
            return unfit(Unfit::Twice);
        }
        header.splice(..0, self.owed.take().unwrap_or(padding));
        if let Some(split) = &mut self.split {
            split.segment(&header).map_err(failed)?;
        }
        self.put(&header)?;
        let name = meta.name.clone();
        let sum = if entry.kind == Kind::File && entry.size > 0 {
            Some(self.file(meta, Whole::new(reader, &entry))?)
        } else {
            self.rows.push(Row::Entry(Box::new(meta)));
            None
        };
        if let Some(split) = &mut self.split {
            split.file(&name, sum.map(|sum| (entry.size, sum))).map_err(failed)?;
        }
        if is_sparse {
            self.owed = Some(vec![0; (entry.size.wrapping_neg() % BLOCK as u64) as usize]);
        }
        Ok(())
    }

    /// Adds the content of a file; returns its sum for the other table.
    fn file(&mut self, meta: Meta, mut content: impl BufRead) -> Result<u64, Error> {
        self.cut()?;
        self.rows.push(Row::File(Box::new(meta)));
        let (mut hasher, mut sum, mut at) = (Hasher::sha256(), split::Sum::default(), 0);
        loop {
            self.cutter.fill(&mut content).map_err(entry::Error::from)?;
            let Some((range, is_hole)) = self.cutter.next() else { break };
            if at > 0 {
                self.cut()?;
            }
            let bytes = &self.cutter.bytes()[range];
            hasher.update(bytes);
            if self.split.is_some() {
                sum.update(bytes);
            }
            // Most files have one chunk, which need not be hashed twice.
            let digest = if at == 0 { hasher.clone().finish() } else { digest::sha256(bytes) };
            self.hasher.update(bytes);
            self.current.extend_from_slice(bytes);
            let size = bytes.len() as u64;
            self.rows.push(Row::Chunk(Chunk { at, size, digest, is_hole }));
            (self.size, at) = (self.size + size, at + size);
        }
        self.rows.push(Row::End(hasher.finish()));
        if self.split.is_some() {
            self.cut()?;
        }
        Ok(sum.finish())
    }

    /// Adds bytes that are no file's content.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.current.extend_from_slice(bytes);
        if self.current.len() >= PIECE { self.cut() } else { Ok(()) }
    }

    /// Ends the piece. The next byte is the first of another one.
    fn cut(&mut self) -> Result<(), Error> {
        if !self.current.is_empty() {
            self.pieces.push(std::mem::take(&mut self.current), std::mem::take(&mut self.rows)).map_err(failed)?;
        }
        Ok(())
    }

    /// Adds what is behind the last entry. eStargz has an end of its own.
    fn rest(&mut self, end: Rest, mut rest: impl Read) -> Result<(), Error> {
        let mut piece = self.owed.take().unwrap_or(end.padding);
        if self.format == Format::Estargz {
            self.put(&piece)?;
            io::copy(&mut rest, &mut io::sink()).map_err(entry::Error::from)?;
            return Ok(());
        }
        piece.extend_from_slice(&end.header);
        loop {
            if let Some(split) = self.split.as_mut().filter(|_| !piece.is_empty()) {
                split.segment(&piece).map_err(failed)?;
            }
            self.put(&piece)?;
            piece.clear();
            if rest.by_ref().take(REST as u64).read_to_end(&mut piece).map_err(entry::Error::from)? == 0 {
                return Ok(());
            }
        }
    }

    fn finish(mut self) -> Result<Packed, Error> {
        self.cut()?;
        let (blob, table) = self.pieces.finish().map_err(failed)?;
        match self.split {
            None => end::estargz(blob, table, self.level, (self.hasher, self.size)),
            Some(split) => end::zstd_chunked(blob, table, split, self.level, (self.hasher, self.size)),
        }
    }
}

/// A name in the set of names.
fn key(path: &Path) -> Result<u128, Unfit> {
    let name = clean(path).map_err(|_| Unfit::Header(path.to_owned()))?;
    let digest = digest::sha256(name.as_os_str().as_bytes());
    Ok(u128::from_str_radix(&digest.digest()[..32], 16).expect("a digest consists of hexadecimal digits"))
}

/// An error of writing the blob or what is kept beside it.
fn failed(source: io::Error) -> Error {
    layout::Error::from(Io::new("write", "blob", source)).into()
}
