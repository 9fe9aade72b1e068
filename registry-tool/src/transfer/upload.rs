//! One blob from a layout into a repository: not sent if it is there, mounted if the registry has it elsewhere, else sent; a
//! large one in chunks, so that an interrupted upload resumes.
//!
//! Whatever is sent was verified against its digest before: what a bad disk made of a blob never leaves this machine.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use image_tool::layout::{self, Layout};
use oci_spec::image::Descriptor;
use thiserror::Error;
use tracing::info;

use super::batch::Stopped;
use super::event::{Event, Outcome, Watcher};
use crate::client::{ClientError, Registry, Sent, Upload};

/// How many bytes of a file are read at once.
const PIECE: usize = 1 << 17;
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
    let file = verified(layout, descriptor).await?;
    send(registry, descriptor, file, sending).await?;
    done(Outcome::Pushed);
    Ok(())
}

/// Sends a file that is known to be the blob.
///
/// # Errors
/// [`UploadError`].
pub(super) async fn send(
    registry: &Registry,
    descriptor: &Descriptor,
    file: File,
    sending: &Sending,
) -> Result<(), UploadError> {
    let digest = descriptor.digest().to_string();
    let blob = Blob { registry, descriptor, digest: &digest, file: Arc::new(file), watcher: &sending.watcher };
    if descriptor.size() <= sending.chunk || !blob.send_chunks(sending.chunk).await? {
        blob.send_whole().await?;
    }
    Ok(())
}

/// Reads the whole blob once, off the threads that serve the network, and opens it.
async fn verified(layout: &Layout, descriptor: &Descriptor) -> Result<File, UploadError> {
    let (layout, descriptor) = (layout.clone(), descriptor.clone());
    let task = tokio::task::spawn_blocking(move || {
        let reader = layout.blob(&descriptor)?;
        reader.finish().map_err(|error| layout.read_error(&descriptor, error))?;
        layout.open_blob(&descriptor)
    });
    Ok(task.await.map_err(|_| Stopped)??)
}

/// A blob on its way.
struct Blob<'a> {
    registry: &'a Registry,
    descriptor: &'a Descriptor,
    digest: &'a str,
    file: Arc<File>,
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
    fn body(&self, from: u64, to: u64) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let (file, watcher, descriptor) = (self.file.clone(), self.watcher.clone(), self.descriptor.clone());
        stream::try_unfold(from, move |offset| {
            let piece = read_piece(&file, offset, to);
            if let Ok(Some((_, position))) = &piece {
                watcher(Event::At(&descriptor, *position));
            }
            std::future::ready(piece)
        })
    }
}

fn read_piece(file: &File, offset: u64, end: u64) -> std::io::Result<Option<(Bytes, u64)>> {
    let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX).min(PIECE);
    if wanted == 0 {
        return Ok(None);
    }
    let mut piece = vec![0; wanted];
    file.read_exact_at(&mut piece, offset)?;
    Ok(Some((Bytes::from(piece), offset + wanted as u64)))
}
