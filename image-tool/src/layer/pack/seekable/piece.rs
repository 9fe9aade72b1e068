//! Pieces of an archive, each compressed on its own, one after the other in a blob.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::table::{Row, Table};
use crate::layer::Compression;
use crate::layer::pack::pool::Pool;
use crate::layer::pack::{Format, gzip};
use crate::layout::BlobWriter;

/// How much is compressed at once, so that memory has a bound whatever the pieces are.
const UNDER_WAY: usize = 32 << 20;

/// A blob of pieces, with the table that tells where they are.
pub(super) struct Pieces {
    blob: BlobWriter,
    table: Table,
    pool: Pool<Vec<u8>>,
    waiting: VecDeque<(usize, Vec<Row>)>,
    under_way: usize,
}

impl Pieces {
    pub(super) fn new(blob: BlobWriter, format: Format, level: u8) -> Self {
        let pool = match format.compression() {
            Compression::Zstd => Pool::new(move |piece: Vec<u8>| zstd::bulk::compress(&piece, level.into())),
            Compression::Gzip | Compression::None => Pool::new(move |piece: Vec<u8>| Ok(gzip::member(&piece, level))),
        };
        Self { blob, table: Table::new(format), pool, waiting: VecDeque::new(), under_way: 0 }
    }

    /// Adds a piece, and the rows of the table that begin in it.
    pub(super) fn push(&mut self, piece: Vec<u8>, rows: Vec<Row>) -> io::Result<()> {
        self.under_way += piece.len();
        self.waiting.push_back((piece.len(), rows));
        self.pool.submit(piece)?;
        while self.pool.is_full() || self.under_way > UNDER_WAY {
            if !self.collect()? {
                break;
            }
        }
        Ok(())
    }

    /// The blob with all pieces, and the table.
    pub(super) fn finish(mut self) -> io::Result<(BlobWriter, Table)> {
        while self.collect()? {}
        Ok((self.blob, self.table))
    }

    /// Writes the next piece; returns whether there was one.
    fn collect(&mut self) -> io::Result<bool> {
        let Some(bytes) = self.pool.collect() else { return Ok(false) };
        let start = self.blob.size();
        self.blob.write_all(&bytes?)?;
        if let Some((length, rows)) = self.waiting.pop_front() {
            self.under_way -= length;
            for row in rows {
                self.table.add(row, start..self.blob.size())?;
            }
        }
        Ok(true)
    }
}
