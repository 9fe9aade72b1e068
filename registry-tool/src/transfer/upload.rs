//! One blob from a layout into a repository: not sent if it is there, mounted if the registry has it elsewhere, else sent; a
//! large one in chunks, so that an interrupted upload resumes.
//!
//! Whatever is sent is verified against its digest a step ahead, and its last byte waits for the outcome: what a bad disk made of a
//! blob never becomes one at the registry.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use image_tool::layout::{self, Layout};
use oci_spec::image::Descriptor;
use thiserror::Error;
use tokio::sync::watch;
use tracing::info;

use super::batch::Stopped;
use super::event::{Event, Outcome, Watcher};
use super::growth::{Growth, verify};
use super::piece::{PIECE, Piece};
use crate::client::{ClientError, Registry, Sent, Upload};

/// How many repositories are asked for a mount before the blob is sent.
const MOUNT_ATTEMPTS: usize = 3;

/// Why a blob was not sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UploadError {
    /// The registry or the network failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The layout cannot be read, or the blob in it is damaged.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The upload was torn down from outside.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// How blobs are sent.
#[derive(Clone)]
pub struct Sending {
    /// Blobs larger than this many bytes are sent in chunks of this size.
    pub chunk: u64,
    /// Who is told of progress.
    pub watcher: Watcher,
}

/// Brings one blob into the repository. `sources` are other repositories of the registry that may have it.
///
/// # Errors
/// [`UploadError`].
pub async fn upload(
    registry: &Registry,
    layout: &Layout,
    descriptor: &Descriptor,
    sources: &[String],
    sending: &Sending,
) -> Result<(), UploadError> {
    let digest = descriptor.digest().to_string();
    let done = |outcome: Outcome<'_>| (sending.watcher)(Event::Done(descriptor, outcome));
    if registry.has_blob(&digest, descriptor.size()).await? {
        done(Outcome::Held);
        return Ok(());
    }
    for source in sources.iter().take(MOUNT_ATTEMPTS) {
        if registry.mount(&digest, source).await? {
            done(Outcome::Mounted(source));
            return Ok(());
        }
    }
    let news = watch::Sender::new(Growth::unverified(Arc::new(layout.open_blob(descriptor)?)));
    let growth = news.subscribe();
    // The first failure ends the other, so that a damaged blob is reported as one.
    tokio::try_join!(verified(layout, descriptor, news), send(registry, descriptor, growth, sending))?;
    done(Outcome::Pushed);
    Ok(())
}

/// Sends a blob as far as it is known to be there.
///
/// # Errors
/// [`UploadError`].
pub(super) async fn send(
    registry: &Registry,
    descriptor: &Descriptor,
    growth: watch::Receiver<Growth>,
    sending: &Sending,
) -> Result<(), UploadError> {
    let digest = descriptor.digest().to_string();
    let blob = Blob { registry, descriptor, digest: &digest, growth, watcher: &sending.watcher };
    if descriptor.size() <= sending.chunk || !blob.send_chunks(sending.chunk).await? {
        blob.send_whole().await?;
    }
    Ok(())
}

/// Reads the whole blob once, off the threads that serve the network, as long as it is being sent.
async fn verified(layout: &Layout, descriptor: &Descriptor, news: watch::Sender<Growth>) -> Result<(), UploadError> {
    let (layout, descriptor) = (layout.clone(), descriptor.clone());
    let task = tokio::task::spawn_blocking(move || {
        let go_on = || if news.is_closed() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) };
        verify(&news, &descriptor, go_on).map_err(|error| layout.read_error(&descriptor, error))
    });
    Ok(task.await.map_err(|_| Stopped)??)
}

/// A blob on its way.
struct Blob<'a> {
    registry: &'a Registry,
    descriptor: &'a Descriptor,
    digest: &'a str,
    growth: watch::Receiver<Growth>,
    watcher: &'a Watcher,
}

impl Blob<'_> {
    /// In one request; again from the start if the connection breaks.
    async fn send_whole(&self) -> Result<(), UploadError> {
        let size = self.descriptor.size();
        let mut attempt = 0;
        loop {
            let error = match self.registry.put_blob(self.digest, size, || Some(self.body(0, size))).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let wait = self.registry.retry().wait(attempt, None).filter(|_| error.is_transient());
            let Some(wait) = wait else { return Err(error.into()) };
            self.tell_retry(&error);
            // Asking for its head honours Retry-After; and a blob that arrived all the same is not sent twice.
            if matches!(error, ClientError::Status { .. }) && self.registry.has_blob(self.digest, size).await? {
                return Ok(());
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// In chunks. `false` if the registry does not take any.
    async fn send_chunks(&self, chunk: u64) -> Result<bool, UploadError> {
        let size = self.descriptor.size();
        let mut upload = Upload::begin(self.registry, self.digest, size).await?;
        let chunk = chunk.max(upload.least_chunk());
        let (mut offset, mut attempt) = (0, 0);
        while offset < size {
            let end = size.min(offset + chunk);
            let error = match upload.send(offset, end, || self.body(offset, end)).await? {
                Sent::UpTo(reached) => {
                    (offset, attempt) = (reached, 0);
                    continue;
                }
                Sent::Unsupported(status) => {
                    info!(%status, "the registry takes no chunks");
                    return Ok(false);
                }
                Sent::Lost(error) => error,
            };
            let Some(wait) = self.registry.retry().wait(attempt, None) else { return Err(error.into()) };
            self.tell_retry(&error);
            tokio::time::sleep(wait).await;
            attempt += 1;
            offset = upload.resume().await?;
        }
        upload.finish().await?;
        Ok(true)
    }

    fn tell_retry(&self, error: &ClientError) {
        let reason = error.to_string();
        info!(digest = self.digest, reason, "sending again");
        (self.watcher)(Event::Retrying(self.descriptor, &reason));
    }

    /// A part of the file as a stream. Pieces come out of the page cache, where the verification has just brought them.
    fn body(&self, from: u64, to: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let file = self.growth.borrow().file.clone();
        let body = Body { file, to, growth: self.growth.clone(), descriptor: self.descriptor.clone() };
        let watcher = self.watcher.clone();
        stream::try_unfold((from, body), move |(offset, mut body)| {
            let watcher = watcher.clone();
            async move {
                let Some((piece, position)) = body.next(offset).await? else { return Ok(None) };
                watcher(Event::At(&body.descriptor, position));
                Ok(Some((piece, (position, body))))
            }
        })
    }
}

/// The bytes up to `to` of a blob that is being verified.
struct Body {
    file: Option<Arc<File>>,
    to: u64,
    growth: watch::Receiver<Growth>,
    descriptor: Descriptor,
}

impl Body {
    /// The piece from `offset` on, and where it ends.
    async fn next(&mut self, offset: u64) -> io::Result<Option<(Bytes, u64)>> {
        let Some(file) = self.file.as_ref().filter(|_| offset < self.to) else { return Ok(None) };
        let ready = |growth: &Growth| growth.ready(file, offset, self.descriptor.size()).unwrap_or(0);
        let there = self.growth.wait_for(|growth| ready(growth) > 0).await.map(|growth| ready(&growth)).ok();
        let Some(there) = there.map(|there| there.min(self.to - offset)) else {
            // It is damaged; whoever verified it says so, and ends this.
            return std::future::pending().await;
        };
        let piece = Piece::at(file, offset, usize::try_from(there).unwrap_or(PIECE))?;
        let end = offset + piece.as_ref().len() as u64;
        if end == offset {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some((piece.into(), end)))
    }
}
