//! Packing an archive into a blob: compressing it, and hashing both sides.
//!
//! Gzip is compressed in blocks of one MiB on all threads and joined as by `pigz`: one member, with a full flush after
//! each block. The result depends only on the input, not on the number of threads.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use flate2::{Compress, FlushCompress, Status};
use oci_spec::image::Descriptor;

use super::Compression;
use crate::address::digest::{Digest, Hasher};
use crate::error::Io;
use crate::layout::{BlobWriter, Error, Writer};

const BLOCK: usize = 1 << 20;
/// The usual levels of gzip(1) and zstd(1).
const GZIP_LEVEL: u8 = 6;
const ZSTD_LEVEL: u8 = 3;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    compression: Compression,
    level: Option<u8>,
}

/// A compression does not have this level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{compression} has no level {level}{}", range(*.compression))]
pub struct NoSuchLevel {
    compression: Compression,
    level: u8,
}

fn range(compression: Compression) -> String {
    compression.levels().map_or_else(String::new, |levels| format!(" (it has {} to {})", levels.start(), levels.end()))
}

impl Packing {
    /// A compression at this level, or at the usual one: 6 for gzip, 3 for zstd.
    ///
    /// # Errors
    /// [`NoSuchLevel`].
    pub fn new(compression: Compression, level: Option<u8>) -> Result<Self, NoSuchLevel> {
        match level {
            Some(level) if !compression.levels().is_some_and(|levels| levels.contains(&level)) => {
                Err(NoSuchLevel { compression, level })
            }
            _ => Ok(Self { compression, level }),
        }
    }

    /// Whether a blob of this compression need not be packed anew. At which level it was packed, nobody knows.
    #[must_use]
    pub fn is_met_by(self, compression: Compression) -> bool {
        self.level.is_none() && self.compression == compression
    }
}

impl From<Compression> for Packing {
    fn from(compression: Compression) -> Self {
        Self { compression, level: None }
    }
}

/// The blob of a layer in the making. Write the archive to it.
pub struct Packer {
    hasher: Hasher,
    output: Output,
    compression: Compression,
}

enum Output {
    Plain(Box<BlobWriter>),
    Gzip(Box<Gzip<BlobWriter>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, BlobWriter>>),
}

impl Packer {
    /// Starts a blob.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(writer: &Writer, packing: impl Into<Packing>) -> Result<Self, Error> {
        let Packing { compression, level } = packing.into();
        let blob = writer.blob()?;
        let output = match compression {
            Compression::None => Output::Plain(Box::new(blob)),
            Compression::Gzip => Output::Gzip(Box::new(Gzip::at_level(blob, level.unwrap_or(GZIP_LEVEL)))),
            Compression::Zstd => match zstd::stream::write::Encoder::new(blob, level.unwrap_or(ZSTD_LEVEL).into()) {
                Ok(encoder) => Output::Zstd(Box::new(encoder)),
                Err(source) => {
                    return Err(Io::new("compress", writer.layout().path().join("blobs"), source).into());
                }
            },
        };
        Ok(Self { hasher: Hasher::sha256(), output, compression })
    }

    /// Finishes the blob; returns its descriptor, and the digest of the archive: the diff ID.
    ///
    /// # Errors
    /// [`Error`].
    pub fn finish(self) -> Result<(Descriptor, Digest), Error> {
        let failed = |source: io::Error| Io::new("write", "blob", source);
        let blob = match self.output {
            Output::Plain(blob) => *blob,
            Output::Gzip(gzip) => gzip.finish().map_err(failed)?,
            Output::Zstd(encoder) => encoder.finish().map_err(failed)?,
        };
        Ok((blob.commit(self.compression.media_type())?, self.hasher.finish()))
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.output {
            Output::Plain(blob) => blob.write(bytes)?,
            Output::Gzip(gzip) => gzip.write(bytes)?,
            Output::Zstd(encoder) => encoder.write(bytes)?,
        };
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Job = (Vec<u8>, bool, SyncSender<Vec<u8>>);

/// A gzip compressor on several threads.
pub struct Gzip<W: Write> {
    output: W,
    level: u8,
    block: Vec<u8>,
    crc: flate2::Crc,
    started: bool,
    jobs: Option<SyncSender<Job>>,
    pending: VecDeque<Receiver<Vec<u8>>>,
    threads: Vec<JoinHandle<()>>,
}

/// RFC 1952: magic, deflate, no flags, no time, no compression hint, and Unix, as everybody writes it.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

impl<W: Write> Gzip<W> {
    /// Compresses what is written to `output`.
    pub fn new(output: W) -> Self {
        Self::at_level(output, GZIP_LEVEL)
    }

    /// As [`Self::new`], at a level from 0 (not at all) to 9 (small).
    fn at_level(output: W, level: u8) -> Self {
        Self {
            output,
            level,
            block: Vec::with_capacity(BLOCK),
            crc: flate2::Crc::new(),
            started: false,
            jobs: None,
            pending: VecDeque::new(),
            threads: Vec::new(),
        }
    }

    /// Finishes the stream and returns the output.
    ///
    /// # Errors
    /// The error of the output.
    pub fn finish(mut self) -> io::Result<W> {
        let last = std::mem::take(&mut self.block);
        if self.jobs.is_none() {
            // Small: a thread would cost more than it saves.
            let bytes = deflate(&last, true, self.level);
            self.start()?;
            self.output.write_all(&bytes)?;
        } else {
            self.submit(last, true)?;
            while !self.pending.is_empty() {
                self.collect()?;
            }
        }
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic would show as a missing block.
            let _ = thread.join();
        }
        self.output.write_all(&self.crc.sum().to_le_bytes())?;
        self.output.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.output)
    }

    fn start(&mut self) -> io::Result<()> {
        if !self.started {
            self.started = true;
            self.output.write_all(&HEADER)?;
        }
        Ok(())
    }

    fn submit(&mut self, block: Vec<u8>, last: bool) -> io::Result<()> {
        self.start()?;
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let level = self.level;
        let jobs = match &self.jobs {
            Some(jobs) => jobs,
            None => {
                let (sender, receiver) = sync_channel::<Job>(count);
                let receiver = Arc::new(Mutex::new(receiver));
                for _ in 0..count {
                    let receiver = Arc::clone(&receiver);
                    let work = move || {
                        while let Some((block, last, result)) = receiver.lock().ok().and_then(|jobs| jobs.recv().ok()) {
                            // If the stream was abandoned, nobody waits for the result.
                            let _ = result.send(deflate(&block, last, level));
                        }
                    };
                    self.threads.push(std::thread::Builder::new().name("gzip".into()).spawn(work)?);
                }
                self.jobs.insert(sender)
            }
        };
        let (sender, receiver) = sync_channel(1);
        jobs.send((block, last, sender)).map_err(|_| io::Error::other("the compressing threads have ended"))?;
        self.pending.push_back(receiver);
        while self.pending.len() > 2 * count {
            self.collect()?;
        }
        Ok(())
    }

    fn collect(&mut self) -> io::Result<()> {
        if let Some(receiver) = self.pending.pop_front() {
            let bytes = receiver.recv().map_err(|_| io::Error::other("a compressing thread has ended"))?;
            self.output.write_all(&bytes)?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_compression_has_its_levels() {
        for (compression, level, is_right) in [
            (Compression::Gzip, 9, true),
            (Compression::Gzip, 10, false),
            (Compression::Gzip, 0, true),
            (Compression::Zstd, 22, true),
            (Compression::Zstd, 23, false),
            (Compression::None, 1, false),
        ] {
            assert_eq!(Packing::new(compression, Some(level)).is_ok(), is_right, "{compression} {level}");
        }
        let said = Packing::new(Compression::Gzip, Some(10)).unwrap_err().to_string();
        assert_eq!(said, "gzip has no level 10 (it has 0 to 9)");
    }

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
