//! A blob on its way out: read in pieces as the client takes them, and verified while it is sent.

use std::fs::File;
use std::future::Future as _;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use image_tool::address::digest::{Digest, Hasher};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

/// How much is read at once: enough that the system calls do not count, little enough that a thousand clients fit into memory.
const PIECE: usize = 128 << 10;

/// What becomes known at the end of a blob: whether it is sound.
type Verdict = Box<dyn FnOnce(bool) + Send + Sync>;

/// A blob, or a part of it, as a stream of bytes.
///
/// A whole blob may be verified on its way. Its last piece is held back until the digest is known, and never sent if it is wrong:
/// the connection breaks, and the client cannot take what it has for the whole.
pub(super) struct BlobStream {
    file: Arc<File>,
    offset: u64,
    left: u64,
    check: Option<(Hasher, Digest, Verdict)>,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    /// Whether the file system reads only what is in memory, if asked to.
    is_eager: bool,
}

impl BlobStream {
    pub(super) fn new(file: File, offset: u64, length: u64) -> Self {
        Self { file: Arc::new(file), offset, left: length, check: None, reading: None, is_eager: true }
    }

    /// Verifies the blob while it is sent, and tells the outcome. Only for one that is sent from its beginning to its end.
    pub(super) fn verified(mut self, hasher: Hasher, digest: Digest, verdict: Verdict) -> Self {
        self.check = Some((hasher, digest, verdict));
        self
    }

    /// How many bytes are still to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match &mut self.reading {
            Some(reading) => {
                let read = ready!(Pin::new(reading).poll(context));
                self.reading = None;
                read.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            None => match self.at_hand() {
                Some(piece) => Ok(piece),
                None => {
                    self.reading = Some(self.read_elsewhere());
                    return self.poll_next(context);
                }
            },
        };
        Poll::Ready(Some(piece.and_then(|piece| self.pass(piece))))
    }

    fn next_length(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE)
    }

    /// The next piece if the kernel has it in memory, as it mostly does: then no other thread is needed.
    fn at_hand(&mut self) -> Option<Vec<u8>> {
        if !self.is_eager {
            return None;
        }
        let mut piece = vec![0; self.next_length()];
        let slice = &mut [io::IoSliceMut::new(&mut piece)];
        match rustix::io::preadv2(&*self.file, slice, self.offset, ReadWriteFlags::NOWAIT) {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some(piece)
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => {
                self.is_eager = false;
                None
            }
        }
    }

    fn read_elsewhere(&self) -> JoinHandle<io::Result<Vec<u8>>> {
        let (file, offset, length) = (Arc::clone(&self.file), self.offset, self.next_length());
        tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; length];
            let count = loop {
                match file.read_at(&mut piece, offset) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result?,
                }
            };
            piece.truncate(count);
            Ok(piece)
        })
    }

    /// Takes note of a piece; the last one passes only if the blob is what it should be.
    fn pass(&mut self, piece: Vec<u8>) -> io::Result<Bytes> {
        if piece.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the blob has become shorter"));
        }
        self.offset += piece.len() as u64;
        self.left -= piece.len() as u64;
        if let Some((hasher, ..)) = &mut self.check {
            hasher.update(&piece);
        }
        if self.left == 0
            && let Some((hasher, digest, verdict)) = self.check.take()
        {
            let is_sound = hasher.finish() == digest;
            verdict(is_sound);
            if !is_sound {
                tracing::error!("blob {digest}: its bytes have another digest (image-tool verify)");
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the blob is damaged"));
            }
        }
        Ok(Bytes::from(piece))
    }
}
