//! The table of contents: JSON in CRFS's form, which eStargz and zstd:chunked share, with fields of their own.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;

use super::Unfit;
use super::spool::{self, Spool};
use crate::address::digest::{self, Digest};
use crate::beneath::Time;
use crate::layer::entry::{Aside, Entry, Kind};
use crate::layer::pack::Format;

/// What happens in a piece, in order.
pub(super) enum Row {
    /// An entry without content.
    Entry(Box<Meta>),
    /// A file, whose chunks follow.
    File(Box<Meta>),
    /// A chunk of the last file, at the beginning of a piece.
    Chunk(Chunk),
    /// The last file is complete, and this is its digest.
    End(Digest),
}

/// A chunk of a file.
pub(super) struct Chunk {
    /// Where it is in the file.
    pub(super) at: u64,
    pub(super) size: u64,
    pub(super) digest: Digest,
    /// Whether it is all zeros.
    pub(super) is_hole: bool,
}

/// An entry as the table has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    modtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accesstime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changetime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_name: Option<String>,
    mode: i64,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    group_name: String,
    #[serde(skip_serializing_if = "is_none")]
    dev_major: i64,
    #[serde(skip_serializing_if = "is_none")]
    dev_minor: i64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
}

/// The fields of content, of a file or of a further chunk.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    end_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_type: Option<&'static str>,
}

/// A line of the table.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    meta: &'a Meta,
    #[serde(flatten)]
    data: &'a Data,
}

/// A further chunk of a file.
#[derive(Serialize)]
struct Further<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    data: &'a Data,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_none(number: &i64) -> bool {
    *number == 0
}

impl Meta {
    /// What the table says of an entry.
    pub(super) fn of(entry: &Entry, aside: &Aside, format: Format) -> Result<Self, Unfit> {
        let is_chunked = format == Format::ZstdChunked;
        let header = || Unfit::Header(entry.path.clone());
        let text =
            |path: &std::path::Path| path.to_str().map(str::to_owned).ok_or_else(|| Unfit::Name(path.to_owned()));
        // Only what Go's archive/tar reads in the same way can be compared with the archive by those who use it.
        let is_plain = matches!(aside.flag, b'0'..=b'6' | 0) && (entry.kind == Kind::File || aside.size == 0);
        if is_chunked && (entry.sparse.is_none() && !is_plain || aside.is_odd) {
            return Err(header());
        }
        let (kind, link, device) = match &entry.kind {
            Kind::File => ("reg", None, None),
            Kind::Directory => ("dir", None, None),
            Kind::Symlink(target) => ("symlink", Some(text(target)?), None),
            Kind::HardLink(target) => ("hardlink", Some(text(target)?), None),
            Kind::Character(major, minor) => ("char", None, Some((*major, *minor))),
            Kind::Block(major, minor) => ("block", None, Some((*major, *minor))),
            Kind::Fifo => ("fifo", None, None),
        };
        let device = match device {
            _ if is_chunked => aside.device,
            Some((major, minor)) => (major.into(), minor.into()),
            None => (0, 0),
        };
        let mut xattrs = BTreeMap::new();
        for (name, value) in &entry.xattrs {
            xattrs.insert(name.to_str().ok_or_else(header)?.to_owned(), STANDARD.encode(value));
        }
        let time = |time: Time| written(time).ok_or_else(header);
        // In eStargz a time that is not there is 1970's first second.
        let modified = Some(entry.modified).filter(|time| is_chunked || *time != Time::default());
        let other = |stamp: Option<Time>| stamp.filter(|_| is_chunked).map(time).transpose();
        let owner = |name: &[u8]| {
            let name = str::from_utf8(name).ok().filter(|_| !is_chunked);
            name.unwrap_or_default().to_owned()
        };
        Ok(Self {
            name: text(&entry.path)?,
            kind,
            size: entry.size,
            modtime: modified.map(time).transpose()?,
            accesstime: other(aside.accessed)?,
            changetime: other(aside.changed)?,
            link_name: link,
            mode: aside.mode,
            uid: entry.uid,
            gid: entry.gid,
            user_name: owner(&aside.user),
            group_name: owner(&aside.group),
            dev_major: device.0,
            dev_minor: device.1,
            xattrs,
        })
    }
}

/// A time as RFC 3339, which has four digits for the year.
fn written(time: Time) -> Option<String> {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let nanoseconds = i32::try_from(time.nanoseconds).ok()?;
    let time = Some(time).filter(|time| YEARS.contains(&time.seconds))?;
    Some(Timestamp::new(time.seconds, nanoseconds).ok()?.to_string())
}

/// A table in the making.
pub(super) struct Table {
    format: Format,
    text: Spool,
    is_begun: bool,
    open: Option<Open>,
}

/// A file whose chunks are being told.
struct Open {
    meta: Box<Meta>,
    first: Data,
    /// The lines of the further chunks: a file may have millions.
    further: Option<Spool>,
    end: u64,
}

impl Table {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: spool::begin(), is_begun: false, open: None }
    }

    /// Adds a row, whose piece is at this place in the blob.
    pub(super) fn add(&mut self, row: Row, piece: Range<u64>) -> io::Result<()> {
        match row {
            Row::Entry(meta) => {
                let is_empty_file = meta.kind == "reg" && self.format == Format::Estargz;
                let digest = is_empty_file.then(|| digest::sha256(b"").to_string());
                self.line(&Line { meta: &meta, data: &Data { digest, ..Data::default() } })
            }
            Row::File(meta) => {
                self.open = Some(Open { meta, first: Data::default(), further: None, end: 0 });
                Ok(())
            }
            Row::Chunk(chunk) => self.chunk(&chunk, &piece),
            Row::End(digest) => self.end(&digest),
        }
    }

    fn chunk(&mut self, chunk: &Chunk, piece: &Range<u64>) -> io::Result<()> {
        let open = self.open.as_mut().expect("a file comes before its chunks");
        let is_last = chunk.at + chunk.size == open.meta.size;
        let is_estargz = self.format == Format::Estargz;
        let data = Data {
            offset: piece.start,
            end_offset: if is_last && !is_estargz { piece.end } else { 0 },
            chunk_offset: chunk.at,
            // In eStargz, one without a size is the last.
            chunk_size: if is_last && is_estargz { 0 } else { chunk.size },
            chunk_digest: Some(chunk.digest.to_string()),
            chunk_type: (chunk.is_hole && !is_estargz).then_some("zeros"),
            ..Data::default()
        };
        open.end = piece.end;
        if chunk.at == 0 {
            open.first = data;
            return Ok(());
        }
        let further = open.further.get_or_insert_with(spool::begin);
        further.write_all(b",\n")?;
        serde_json::to_writer(further, &Further { name: &open.meta.name, kind: "chunk", data: &data })?;
        Ok(())
    }

    fn end(&mut self, digest: &Digest) -> io::Result<()> {
        let Open { meta, first, further, end } = self.open.take().expect("a file begins before it ends");
        let mut data = Data { digest: Some(digest.to_string()), ..first };
        if self.format == Format::ZstdChunked {
            data.end_offset = end;
            if further.is_none() {
                // A file of one chunk is told as a whole.
                data = Data { chunk_size: 0, chunk_digest: None, chunk_type: None, ..data };
            }
        }
        self.line(&Line { meta: &meta, data: &data })?;
        if let Some(further) = further {
            io::copy(&mut spool::end(further)?.file, &mut self.text)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let before: &[u8] = if self.is_begun { b",\n" } else { b"{\"version\":1,\"entries\":[\n" };
        self.is_begun = true;
        self.text.write_all(before)?;
        serde_json::to_writer(&mut self.text, line)?;
        Ok(())
    }

    /// The whole document. zstd:chunked names the digest of its other table in it.
    pub(super) fn finish(mut self, other: Option<&Digest>) -> io::Result<Spool> {
        if !self.is_begun {
            self.text.write_all(b"{\"version\":1,\"entries\":[")?;
        }
        match other {
            Some(digest) => writeln!(self.text, "\n],\"tarSplitDigest\":\"{digest}\"}}")?,
            None => self.text.write_all(b"\n]}\n")?,
        }
        Ok(self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_reads_them() {
        let at = |seconds, nanoseconds| written(Time { seconds, nanoseconds });
        assert_eq!(at(0, 0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(at(1_700_000_000, 120_000_000).as_deref(), Some("2023-11-14T22:13:20.12Z"));
        assert_eq!(at(-2, 750_000_000).as_deref(), Some("1969-12-31T23:59:58.75Z"));
        assert_eq!(at(253_402_300_800, 0), None, "the year 10000");
    }
}
