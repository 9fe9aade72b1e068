//! A blob on its way out: read in pieces as the client takes them, behind whoever verifies it or brings it.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use image_tool::address::digest::{Digest, Hasher};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::transfer::growth::Growth;
use crate::transfer::piece::{PIECE, Piece};

/// A blob that is still arriving, or being verified.
struct Arrival {
    growth: watch::Receiver<Growth>,
    /// The size of the whole blob.
    total: u64,
    /// Ready once it has grown, with whether anybody still sees to that.
    waiting: Option<Pin<Box<dyn Future<Output = bool> + Send + Sync>>>,
}

impl Arrival {
    /// How many bytes of `file` may be sent from `offset` on. The last one only goes out once the blob is known to be sound.
    fn ready(&mut self, file: &Arc<File>, offset: u64, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        loop {
            let there = self.growth.borrow_and_update().ready(file, offset, self.total)?;
            if there > 0 {
                self.waiting = None;
                return Poll::Ready(Ok(there));
            }
            let growth = &self.growth;
            let waiting = self.waiting.get_or_insert_with(|| {
                let mut growth = growth.clone();
                Box::pin(async move { growth.changed().await.is_ok() })
            });
            let is_alive = ready!(waiting.as_mut().poll(context));
            self.waiting = None;
            if !is_alive && self.growth.borrow().end.is_none() {
                return Poll::Ready(Err(io::Error::other("the blob arrives no more")));
            }
        }
    }
}

/// A blob, or a part of it, as a stream of bytes.
///
/// The end of a whole blob is held back until its digest is known, and never sent if that is wrong: the connection breaks, and the
/// client cannot take what it has for the whole.
pub(super) struct BlobStream {
    file: Arc<File>,
    offset: u64,
    left: u64,
    check: Option<(Hasher, Digest)>,
    reading: Option<JoinHandle<io::Result<Piece>>>,
    /// Whether the file system reads only what is in memory, if asked to.
    is_eager: bool,
    /// If the blob is still arriving, or being verified.
    arrival: Option<Arrival>,
}

impl BlobStream {
    pub(super) fn new(file: File, offset: u64, length: u64) -> Self {
        Self::of(Arc::new(file), offset, length, None)
    }

    /// A blob of `total` bytes, or a part of it, that is still arriving in `file` or being verified: each byte goes out once it is
    /// there, the last one when the blob is known to be sound.
    pub(super) fn growing(
        file: Arc<File>,
        offset: u64,
        length: u64,
        total: u64,
        growth: watch::Receiver<Growth>,
    ) -> Self {
        Self::of(file, offset, length, Some(Arrival { growth, total, waiting: None }))
    }

    fn of(file: Arc<File>, offset: u64, left: u64, arrival: Option<Arrival>) -> Self {
        Self { file, offset, left, check: None, reading: None, is_eager: true, arrival }
    }

    /// Verifies the blob while it is sent. Only for one that is sent from its beginning to its end.
    pub(super) fn verified(mut self, hasher: Hasher, digest: Digest) -> Self {
        self.check = Some((hasher, digest));
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
            None => {
                let length = match &mut self.arrival {
                    None => self.left,
                    Some(arrival) => match ready!(arrival.ready(&self.file, self.offset, context)) {
                        Ok(there) => there.min(self.left),
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    },
                };
                let length = usize::try_from(length).unwrap_or(usize::MAX).min(PIECE);
                match self.at_hand(length) {
                    Some(piece) => Ok(piece),
                    None => {
                        self.reading = Some(self.read_elsewhere(length));
                        return self.poll_next(context);
                    }
                }
            }
        };
        Poll::Ready(Some(piece.and_then(|piece| self.pass(piece))))
    }

    /// The next piece if the kernel has it in memory, as it mostly does: then no other thread is needed.
    fn at_hand(&mut self, length: usize) -> Option<Piece> {
        if !self.is_eager {
            return None;
        }
        let read = Piece::read(length, |memory| {
            rustix::io::preadv2(&*self.file, &mut [IoSliceMut::new(memory)], self.offset, ReadWriteFlags::NOWAIT)
        });
        match read {
            Ok(piece) => Some(piece).filter(|piece| !piece.as_ref().is_empty()),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => {
                self.is_eager = false;
                None
            }
        }
    }

    fn read_elsewhere(&self, length: usize) -> JoinHandle<io::Result<Piece>> {
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        tokio::task::spawn_blocking(move || Piece::at(&file, offset, length))
    }

    /// Takes note of a piece; the last one passes only if the blob is what it should be.
    fn pass(&mut self, piece: Piece) -> io::Result<Bytes> {
        let bytes = piece.as_ref();
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the blob has become shorter"));
        }
        self.offset += bytes.len() as u64;
        self.left -= bytes.len() as u64;
        if let Some((hasher, _)) = &mut self.check {
            hasher.update(bytes);
        }
        if self.left == 0
            && let Some((hasher, digest)) = self.check.take()
            && hasher.finish() != digest
        {
            tracing::error!("blob {digest}: its bytes have another digest (image-tool verify)");
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the blob is damaged"));
        }
        Ok(piece.into())
    }
}
