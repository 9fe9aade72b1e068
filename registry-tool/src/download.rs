//! One blob from a registry into a layout: streamed, hashed while written, resumed where it was cut.
//!
//! What has arrived lies in the layout's `.partial` folder (`image_tool::layout::Writer::resume`), so that a download goes on
//! where it stopped, after a cut connection as after a kill; `image-tool gc` empties that folder. A blob appears under its
//! digest only once it is whole, has that digest, and is on disk.

use std::io::Write as _;

use futures_util::StreamExt as _;
use image_tool::layout::{self, BlobWriter, Writer};
use oci_distribution::client::BlobResponse;
use oci_distribution::errors::DigestError;
use oci_spec::image::Descriptor;
use thiserror::Error;
use tracing::info;

use crate::client::{ClientError, Registry};
use crate::event::{Event, Outcome, Watcher};

/// An attempt that brought this much counts as a success: then a slow line that breaks often still gets there, and a server
/// that gives a byte at a time does not hold us for ever.
const PROGRESS: u64 = 1 << 20;

/// Why a blob did not arrive.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The registry's fault, or the network's.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The layout's fault, or what arrived is not the blob.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The registry ends the blob early, however often it is asked.
    #[error("{host}: layer {digest}: expected {expected} bytes, got {actual}")]
    Truncated {
        /// The host.
        host: String,
        /// The blob.
        digest: String,
        /// Its size.
        expected: u64,
        /// What there was.
        actual: u64,
    },
    /// The task was torn down from outside.
    #[error("stopped")]
    Stopped,
}

impl DownloadError {
    /// Whether another registry may have the blob: not if it is this machine that failed.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Client(_) | Self::Truncated { .. } => true,
            Self::Layout(error) => matches!(error, layout::Error::BadBlob { .. }),
            Self::Stopped => false,
        }
    }
}

/// Brings one blob into the layout, unless it is there.
///
/// # Errors
/// [`DownloadError`]; what arrived is kept for the next time, unless it is wrong.
pub async fn download(
    registry: &Registry,
    writer: &Writer,
    descriptor: &Descriptor,
    watcher: &Watcher,
) -> Result<(), DownloadError> {
    if writer.layout().has(descriptor) {
        watcher(Event::Done(descriptor, Outcome::Existed));
        return Ok(());
    }
    let mut blob = resume(writer, descriptor).await?;
    let was_begun = blob.size() > 0;
    if was_begun {
        info!(digest = %descriptor.digest(), size = blob.size(), "resumed");
    }
    blob = fill(registry, blob, descriptor, watcher).await?;
    match commit(blob, descriptor).await {
        // What an earlier run left may be broken, by a power cut for one; commit has thrown it away. Once more from nothing.
        Err(layout::Error::BadBlob { .. }) if was_begun => {
            let blob = resume(writer, descriptor).await?;
            let blob = fill(registry, blob, descriptor, watcher).await?;
            commit(blob, descriptor).await?;
        }
        other => other?,
    }
    watcher(Event::Done(descriptor, Outcome::Pulled));
    Ok(())
}

/// Appends to the blob until it has its size, asking again as often as may help.
async fn fill(
    registry: &Registry,
    mut blob: BlobWriter,
    descriptor: &Descriptor,
    watcher: &Watcher,
) -> Result<BlobWriter, DownloadError> {
    let digest = descriptor.digest().to_string();
    let (mut attempt, mut was_denied) = (0, false);
    // A blob without bytes needs no request: every range of it is out of range.
    while blob.size() < descriptor.size() {
        let before = blob.size();
        let error = match stream(registry, &mut blob, descriptor, &digest, watcher).await {
            Ok(()) if blob.size() == descriptor.size() => break,
            Ok(()) => None,
            // A token may have come to its end in the middle; asking for the head fetches a new one, or is denied too.
            Err(DownloadError::Client(ClientError::Denied { .. })) if !was_denied => {
                was_denied = true;
                registry.settle(&digest).await?;
                continue;
            }
            Err(DownloadError::Client(error)) if error.is_transient() => Some(error),
            Err(error) => return Err(error),
        };
        if blob.size() >= before + PROGRESS {
            attempt = 0;
        }
        let Some(wait) = registry.retry().wait(attempt, None) else {
            return Err(match error {
                Some(error) => error.into(),
                None => DownloadError::Truncated {
                    host: registry.host().to_owned(),
                    digest,
                    expected: descriptor.size(),
                    actual: blob.size(),
                },
            });
        };
        let reason = error.as_ref().map_or_else(|| "the answer ended early".to_owned(), ToString::to_string);
        info!(%digest, reason, ?wait, "asking again");
        watcher(Event::Retrying(descriptor, &reason));
        // The crate's errors do not carry Retry-After: the blob's head is asked for where that is seen and kept. If it comes at
        // once, the refusal had another reason; a registry that counts requests then gets four times our own wait.
        let mut wait = wait;
        if let Some(ClientError::Status { status, .. }) = &error {
            registry.settle(&digest).await?;
            if status.as_u16() == 429 {
                wait *= 4;
            }
        }
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
    Ok(blob)
}

/// One request: what it brings is appended.
async fn stream(
    registry: &Registry,
    blob: &mut BlobWriter,
    descriptor: &Descriptor,
    digest: &str,
    watcher: &Watcher,
) -> Result<(), DownloadError> {
    let mut body = match registry.blob(digest, blob.size()).await? {
        BlobResponse::Partial(body) => body,
        BlobResponse::Full(body) => {
            // The registry knows no ranges and begins anew.
            blob.restart()?;
            body
        }
    };
    let left = descriptor.size() - blob.size();
    if let Some(length) = body.content_length.filter(|length| *length > left) {
        let actual = blob.size() + length;
        let source = image_tool::address::digest::Error::Size { expected: descriptor.size(), actual };
        return Err(layout::Error::BadBlob { digest: descriptor.digest().clone(), source }.into());
    }
    while let Some(chunk) = body.stream.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            // The crate's verdict on a whole answer; ours, when the blob is committed, says more.
            Err(error) if is_verdict(&error) => return Ok(()),
            Err(error) => {
                let reason = crate::client::innermost(&error);
                return Err(ClientError::Cut { host: registry.host().to_owned(), reason }.into());
            }
        };
        // Some tens of kilobytes into the page cache: shorter than handing them to another thread.
        if let Err(error) = blob.write_all(&chunk) {
            if error.kind() == std::io::ErrorKind::InvalidData {
                let actual = blob.size() + chunk.len() as u64;
                blob.restart()?;
                let source = image_tool::address::digest::Error::Size { expected: descriptor.size(), actual };
                return Err(layout::Error::BadBlob { digest: descriptor.digest().clone(), source }.into());
            }
            return Err(blob.error("write", error).into());
        }
        watcher(Event::At(descriptor, blob.size()));
    }
    Ok(())
}

fn is_verdict(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<DigestError>())
}

/// Opens what an earlier run left and hashes it, off the threads that serve the network.
async fn resume(writer: &Writer, descriptor: &Descriptor) -> Result<BlobWriter, DownloadError> {
    let (writer, descriptor) = (writer.clone(), descriptor.clone());
    let opened = tokio::task::spawn_blocking(move || writer.resume(&descriptor)).await;
    Ok(opened.map_err(|_| DownloadError::Stopped)??)
}

/// Makes the blob durable, off the threads that serve the network: fsync takes as long as the disk wants.
async fn commit(blob: BlobWriter, descriptor: &Descriptor) -> Result<(), layout::Error> {
    let media_type = descriptor.media_type().clone();
    let task = tokio::task::spawn_blocking(move || blob.commit(media_type).map(drop));
    task.await.expect("committing a blob does not panic")
}
