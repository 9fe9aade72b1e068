//! Reading the blob of a layer as an archive: verified and decompressed in the background.
//!
//! One thread reads the blob, verifies its digest and size, and decompresses it. The thread of the consumer hashes the
//! archive for the diff ID and does its own work. On two cores this halves the time. A few buffers travel between them
//! again and again, so memory use is constant, whatever the size of the layer.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use oci_spec::image::Descriptor;

use super::{Compression, Decoder, progress};
use crate::address::digest::{self, Digest, Hasher, Verifier};

/// Why a layer is not what its descriptor says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The blob is not a layer, or not compressed according to its media type.
    #[error(transparent)]
    Layer(#[from] super::Error),
    /// The digest or size of the blob is wrong, or the algorithm is not supported.
    #[error(transparent)]
    Digest(#[from] digest::Error),
    /// The archive does not have the diff ID from the config.
    #[error("diff id: expected {expected}, got {actual}")]
    DiffId {
        /// The diff ID in the config.
        expected: Digest,
        /// The digest of the archive.
        actual: Digest,
    },
    /// The blob could not be read or decompressed.
    #[error("read")]
    Read(#[source] io::Error),
    /// A thread could not be started.
    #[error("start a thread")]
    Thread(#[source] io::Error),
}

impl Error {
    /// Converts an error of reading; a digest error inside it is taken out.
    fn of_read(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<digest::Error>()) {
            Some(verdict) => Self::Digest(verdict.clone()),
            None => Self::Read(error),
        }
    }
}

const CHUNK: usize = 256 * 1024;
const CHUNKS: usize = 8;

/// The default limit for the size of an archive: enough for any real layer (text compresses about twenty to one), and
/// far too little for a bomb (a thousand to one).
#[must_use]
pub fn default_limit(blob: u64) -> u64 {
    blob.saturating_mul(128).max(8 << 30)
}

/// The archive in the blob of a layer. Its bytes are not verified until [`Stream::finish`] succeeds.
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
    /// Starts to read `blob`, described by `descriptor`. With a `diff_id`, the archive is verified too.
    ///
    /// # Errors
    /// [`Error`]. Errors in the data appear while it is read.
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

    /// How many bytes of the archive have been read, including those that are buffered.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads the rest and verifies it; returns the digest of the archive.
    ///
    /// # Errors
    /// [`Error::DiffId`], [`Error::Digest`], [`Error::Read`].
    pub fn finish(mut self) -> Result<Digest, Error> {
        self.verdict()
    }

    /// Like [`Stream::finish`], if the stream was only lent. An error of reading is returned again.
    ///
    /// # Errors
    /// Those of [`Stream::finish`].
    pub fn verdict(&mut self) -> Result<Digest, Error> {
        loop {
            self.position = self.current.len();
            match self.fill_buf() {
                Ok([]) => break,
                Ok(_) => {}
                Err(error) => return Err(Error::of_read(error)),
            }
        }
        // A thread that panics closes its channel like one that is done.
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

/// A copy of the error.
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
                // If the reading thread has ended, nobody needs the buffer.
                let _ = self.emptied.send(empty);
            }
            crate::interrupt::check()?;
            match self.chunks.as_ref().map(Receiver::recv) {
                Some(Ok(Ok(chunk))) => {
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&chunk);
                    }
                    self.length += chunk.len() as u64;
                    progress::add_bytes(chunk.len());
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
        // Without a receiver, the next send of the thread fails, and it ends.
        self.chunks = None;
        if let Some(thread) = self.thread.take() {
            // It panics only because of a bug, and has printed a message.
            let _ = thread.join();
        }
    }
}

/// Sends the whole archive in chunks, or an error. The sender is dropped only after everything is verified.
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
            let message = format!("the archive is larger than {limit} bytes, which is the limit for its blob");
            let _ = sender.send(Err(io::Error::new(io::ErrorKind::InvalidData, message)));
            return;
        }
        chunk.truncate(filled);
        let last = filled < CHUNK;
        if last {
            // The decompressor is done, but the blob may continue or be too short.
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
