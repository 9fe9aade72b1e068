//! Gzip on several threads: blocks of one MiB, joined as by `pigz` to one member, with a full flush after each block. The result
//! depends only on the input, not on the number of threads.

use std::io::{self, Write};

use flate2::{Compress, FlushCompress, Status};

use super::pool::Pool;

const BLOCK: usize = 1 << 20;
/// The usual level of gzip(1).
pub(super) const LEVEL: u8 = 6;

/// RFC 1952: magic, deflate, no flags, no time, no compression hint, and Unix, as everybody writes it.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// A gzip compressor on several threads.
pub struct Gzip<W: Write> {
    output: W,
    level: u8,
    block: Vec<u8>,
    crc: flate2::Crc,
    pool: Option<Pool<(Vec<u8>, bool)>>,
}

impl<W: Write> Gzip<W> {
    /// Compresses what is written to `output`.
    pub fn new(output: W) -> Self {
        Self::at_level(output, LEVEL)
    }

    /// As [`Self::new`], at a level from 0 (not at all) to 9 (small).
    pub(super) fn at_level(output: W, level: u8) -> Self {
        Self { output, level, block: Vec::with_capacity(BLOCK), crc: flate2::Crc::new(), pool: None }
    }

    /// Finishes the stream and returns the output.
    ///
    /// # Errors
    /// The error of the output.
    pub fn finish(mut self) -> io::Result<W> {
        let last = std::mem::take(&mut self.block);
        if self.pool.is_none() {
            // Small: a thread would cost more than it saves.
            self.output.write_all(&HEADER)?;
            self.output.write_all(&deflate(&last, true, self.level))?;
        } else {
            self.submit(last, true)?;
            while self.collect()? {}
        }
        self.output.write_all(&self.crc.sum().to_le_bytes())?;
        self.output.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.output)
    }

    fn submit(&mut self, block: Vec<u8>, last: bool) -> io::Result<()> {
        let level = self.level;
        let pool = match &mut self.pool {
            Some(pool) => pool,
            None => {
                self.output.write_all(&HEADER)?;
                self.pool.insert(Pool::new(move |(block, last): (Vec<u8>, bool)| Ok(deflate(&block, last, level))))
            }
        };
        pool.submit((block, last))?;
        while self.pool.as_ref().is_some_and(Pool::is_full) {
            self.collect()?;
        }
        Ok(())
    }

    /// Writes the next block; returns whether there was one.
    fn collect(&mut self) -> io::Result<bool> {
        let Some(bytes) = self.pool.as_mut().and_then(Pool::collect) else { return Ok(false) };
        self.output.write_all(&bytes?)?;
        Ok(true)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full block is compressed only when more data comes, so that the last one can be marked as such.
        if self.block.len() == BLOCK {
            let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
            self.submit(block, false)?;
        }
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        self.crc.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn deflate(block: &[u8], last: bool, level: u8) -> Vec<u8> {
    let mut compress = Compress::new(flate2::Compression::new(level.into()), false);
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut bytes = Vec::with_capacity(block.len() / 2 + 64);
    loop {
        let done = compress.total_in() as usize;
        let room = bytes.capacity() - bytes.len();
        let status = compress.compress_vec(&block[done..], &mut bytes, flush).expect("deflate fails on wrong use only");
        // A flush is complete if it leaves room in the output.
        if status == Status::StreamEnd
            || (!last && compress.total_in() as usize == block.len() && bytes.len() < bytes.capacity() && room > 0)
        {
            return bytes;
        }
        bytes.reserve(block.len() / 4 + 64);
    }
}

/// Compresses a block as a member of its own.
pub(super) fn member(block: &[u8], level: u8) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(block);
    let mut bytes = HEADER.to_vec();
    bytes.append(&mut deflate(block, true, level));
    bytes.extend_from_slice(&crc.sum().to_le_bytes());
    bytes.extend_from_slice(&crc.amount().to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn gzip_in_blocks_is_one_gzip_member() {
        let noise = |length: usize| -> Vec<u8> {
            (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59) as u8).collect()
        };
        for length in [0, 1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77] {
            let bytes = noise(length);
            let pack = |chunk: usize| {
                let mut gzip = Gzip::new(Vec::new());
                bytes.chunks(chunk).for_each(|piece| gzip.write_all(piece).unwrap());
                gzip.finish().unwrap()
            };
            let packed = pack(4096);
            assert!(packed == pack(BLOCK * 2), "any chunking gives the same bytes: {length}");
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{length}");
        }
    }
}
