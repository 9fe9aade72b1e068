//! A layer's blob as the archive it holds: read, verified and decompressed beside the consumer.
//!
//! One thread reads the blob, holds it against its digest and size and decompresses; the consumer's thread hashes the
//! archive for the diff id and does its own work. On two cores that splits the cost in halves: inflating and hashing
//! the compressed bytes on one, hashing the archive and writing the files on the other. Between them travel a few
//! buffers that are used again and again, so the memory is bounded, whatever the layer's size.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use oci_spec::image::Descriptor;

use super::{Compression, Decoder};
use crate::address::digest::{self, Digest, Hasher, Verifier};

/// Why a layer is not what was promised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is no layer, or not compressed as its media type says.
    #[error(transparent)]
    Layer(#[from] super::Error),
    /// The digest cannot be verified.
    #[error(transparent)]
    Digest(#[from] digest::Error),
    /// The archive is not the one that the image's config names.
    #[error("diff id: expected {expected}, got {actual}")]
    DiffId {
        /// By the config's `rootfs.diff_ids`.
        expected: Digest,
        /// By the bytes.
        actual: Digest,
    },
    /// The blob could not be read, is not what its digest says, or is no valid compressed data.
    #[error("read")]
    Read(#[source] io::Error),
    /// No thread could be started.
    #[error("start a thread")]
    Thread(#[source] io::Error),
}

impl Error {
    /// What reading reported, with the digest's verdict brought out of it.
    fn of_read(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<digest::Error>()) {
            Some(verdict) => Self::Digest(verdict.clone()),
            None => Self::Read(error),
        }
    }
}

const CHUNK: usize = 256 * 1024;
const CHUNKS: usize = 8;

/// How large the archive in a blob may be, unless the caller says otherwise: enough for any real layer (text packs
/// about twenty to one), and far too little for the thousand to one of a bomb.
#[must_use]
pub fn default_limit(blob: u64) -> u64 {
    blob.saturating_mul(128).max(8 << 30)
}

/// The archive in a layer's blob. Nothing that was read is proved until [`Stream::finish`] says so.
pub struct Stream {
    chunks: Option<Receiver<io::Result<Vec<u8>>>>,
    emptied: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    length: u64,
    hasher: Option<Hasher>,
    expected: Option<Digest>,
    thread: Option<JoinHandle<()>>,
    failure: Option<io::Error>,
}

impl Stream {
    /// Starts to read `blob`, described by `descriptor`. With a `diff_id` the archive is held against it.
    ///
    /// # Errors
    /// [`Error`]; what is wrong with the bytes shows while they are read.
    pub fn open<R: Read + Send + 'static>(
        blob: R,
        descriptor: &Descriptor,
        diff_id: Option<&Digest>,
        limit: u64,
    ) -> Result<Self, Error> {
        let compression = Compression::of(descriptor.media_type())?;
        let verifier = Verifier::new(blob, descriptor.digest(), descriptor.size())?;
        let decoder = match Decoder::new(verifier, compression) {
            Err(super::Error::Read(error)) => return Err(Error::of_read(error)),
            other => other?,
        };
        let hasher = diff_id.map_or_else(|| Ok(Hasher::sha256()), Hasher::of)?;
        let (sender, chunks) = sync_channel(CHUNKS);
        let (emptied, recycled) = channel();
        let work = move || produce(decoder, limit, &sender, &recycled);
        let thread = std::thread::Builder::new().name("layer".into()).spawn(work).map_err(Error::Thread)?;
        Ok(Self {
            chunks: Some(chunks),
            emptied,
            current: Vec::new(),
            position: 0,
            length: 0,
            hasher: Some(hasher),
            expected: diff_id.cloned(),
            thread: Some(thread),
            failure: None,
        })
    }

    /// How many bytes of the archive have been handed out or are ready.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads what is left and comes to the verdict: the archive's digest, which is the one that was promised.
    ///
    /// # Errors
    /// [`Error::DiffId`], [`Error::Digest`], [`Error::Read`].
    pub fn finish(mut self) -> Result<Digest, Error> {
        self.verdict()
    }

    /// As [`Stream::finish`], for whoever only lent the stream. What reading failed with is told again.
    ///
    /// # Errors
    /// As [`Stream::finish`].
    pub fn verdict(&mut self) -> Result<Digest, Error> {
        loop {
            self.position = self.current.len();
            match self.fill_buf() {
                Ok([]) => break,
                Ok(_) => {}
                Err(error) => return Err(Error::of_read(error)),
            }
        }
        // A thread that panicked closed its channel as one that is done does.
        let panicked = self.thread.take().is_some_and(|thread| thread.join().is_err());
        let Some(hasher) = self.hasher.take().filter(|_| !panicked) else {
            return Err(Error::Read(io::Error::other("the stream has ended")));
        };
        let actual = hasher.finish();
        match self.expected.take() {
            Some(expected) if expected != actual => Err(Error::DiffId { expected, actual }),
            _ => Ok(actual),
        }
    }
}

/// The same error once more.
fn again(error: &io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<digest::Error>()) {
        Some(verdict) => io::Error::new(error.kind(), verdict.clone()),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(failure) = &self.failure {
            return Err(again(failure));
        }
        if self.position == self.current.len() {
            let empty = std::mem::take(&mut self.current);
            self.position = 0;
            if empty.capacity() > 0 {
                // The reader's thread may have ended; then nobody needs the buffer.
                let _ = self.emptied.send(empty);
            }
            match self.chunks.as_ref().map(Receiver::recv) {
                Some(Ok(Ok(chunk))) => {
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&chunk);
                    }
                    self.length += chunk.len() as u64;
                    self.current = chunk;
                }
                Some(Ok(Err(error))) => {
                    self.failure = Some(again(&error));
                    return Err(error);
                }
                Some(Err(_)) | None => {}
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position = (self.position + count).min(self.current.len());
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // With the receiver gone the thread's next send fails and it ends.
        self.chunks = None;
        if let Some(thread) = self.thread.take() {
            // It only panics on a bug, which its own message has told.
            let _ = thread.join();
        }
    }
}

/// Sends the whole archive in chunks, or an error. The sender is dropped only when all is proved.
fn produce<R: Read>(
    mut decoder: Decoder<Verifier<R>>,
    limit: u64,
    sender: &SyncSender<io::Result<Vec<u8>>>,
    recycled: &Receiver<Vec<u8>>,
) {
    let mut total = 0u64;
    let mut made = 0;
    loop {
        let mut chunk = match recycled.try_recv() {
            Ok(chunk) => chunk,
            Err(_) if made < CHUNKS + 2 => {
                made += 1;
                vec![0; CHUNK]
            }
            Err(_) => match recycled.recv() {
                Ok(chunk) => chunk,
                Err(_) => return,
            },
        };
        chunk.resize(CHUNK, 0);
        let filled = match fill(&mut decoder, &mut chunk) {
            Ok(filled) => filled,
            Err(error) => {
                let _ = sender.send(Err(error));
                return;
            }
        };
        total += filled as u64;
        if total > limit {
            let message = format!("the archive is larger than {limit} bytes, out of proportion to its blob");
            let _ = sender.send(Err(io::Error::new(io::ErrorKind::InvalidData, message)));
            return;
        }
        chunk.truncate(filled);
        let last = filled < CHUNK;
        if last {
            // The decompressor is content, but the blob may go on, or fall short of its size.
            if let Err(error) = decoder.into_inner().finish() {
                let _ = sender.send(Err(error));
                return;
            }
            if filled > 0 {
                let _ = sender.send(Ok(chunk));
            }
            return;
        }
        if sender.send(Ok(chunk)).is_err() {
            return;
        }
    }
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use oci_spec::image::MediaType;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn descriptor(bytes: &[u8]) -> Descriptor {
        Descriptor::new(MediaType::ImageLayerGzip, bytes.len() as u64, digest::sha256(bytes))
    }

    #[test]
    fn a_stream_proves_blob_and_archive() {
        let archive: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        let blob = gzip(&archive);
        let diff_id = digest::sha256(&archive);
        let open = |bytes: &[u8], diff_id: Option<&Digest>| {
            Stream::open(io::Cursor::new(bytes.to_vec()), &descriptor(&blob), diff_id, 1 << 30)
        };

        let mut stream = open(&blob, Some(&diff_id)).unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).unwrap();
        assert!(read == archive);
        assert_eq!(stream.finish().unwrap(), diff_id);
        assert_eq!(open(&blob, None).unwrap().finish().unwrap(), diff_id);

        assert!(matches!(open(&blob, Some(&digest::sha256(b""))).unwrap().finish(), Err(Error::DiffId { .. })));
        assert!(matches!(
            open(&blob[..blob.len() - 1], Some(&diff_id)).and_then(Stream::finish),
            Err(Error::Digest(digest::Error::Size { .. }))
        ));
        assert!(matches!(
            open(&[&blob[..], b"x"].concat(), Some(&diff_id)).and_then(Stream::finish),
            Err(Error::Digest(digest::Error::Size { .. }))
        ));
        let mut wrong = blob.clone();
        wrong[9] ^= 1; // the header's "operating system": gzip does not mind, the digest does
        assert!(matches!(
            open(&wrong, Some(&diff_id)).and_then(Stream::finish),
            Err(Error::Digest(digest::Error::Mismatch { .. }))
        ));
        drop(open(&blob, None));
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let blob = gzip(&vec![0; 4 << 20]);
        let stream = Stream::open(io::Cursor::new(blob.clone()), &descriptor(&blob), None, 1 << 20).unwrap();
        assert!(matches!(stream.finish(), Err(Error::Read(_))));
    }
}
