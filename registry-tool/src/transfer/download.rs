//! One blob from a registry into a layout: streamed, hashed while it is written, resumed where it was cut.
//!
//! What has arrived is kept in the layout's `.partial` folder (`image_tool::layout::Writer::resume`), so that a download resumes
//! where it stopped, after a cut connection as after a kill; `image-tool gc` empties that folder. A blob appears under its
//! digest only once it is whole, has that digest, and is on disk.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use image_tool::address::digest;
use image_tool::layer::Decoder;
use image_tool::layout::{self, BlobWriter, Writer};
use oci_spec::image::Descriptor;
use thiserror::Error;
use tokio::sync::watch;
use tracing::info;

use super::batch::Stopped;
use super::event::{Event, Outcome, Watcher, nobody};
use super::growth::Growth;
use super::store::{Begun, StoreError, Storing};
use crate::client::{BlobStream, ClientError, Registry};

/// An attempt that brought this much counts as a success: then a slow line that breaks often still gets there, and a server
/// that gives a byte at a time does not hold us for ever.
pub(super) const PROGRESS: u64 = 1 << 20;

/// Why a blob did not arrive.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The registry or the network failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The layout cannot be written, or what arrived is not the blob.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The registry ends the blob early, however often it is asked.
    #[error("layer {digest}: expected {expected} bytes, got {actual}")]
    Truncated {
        /// The blob's digest.
        digest: String,
        /// Its size in bytes.
        expected: u64,
        /// How many bytes arrived.
        actual: u64,
    },
    /// The layer cannot be stored for containers.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The download was torn down from outside.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Downloads one blob into the layout, unless it is there; a layer is stored for containers too with `storing`.
///
/// # Errors
/// [`DownloadError`]; what arrived is kept for the next time, unless it is wrong.
pub async fn download(
    registry: &Registry,
    writer: &Writer,
    descriptor: &Descriptor,
    watcher: &Watcher,
    storing: Option<&Storing>,
) -> Result<(), DownloadError> {
    get(registry, writer, descriptor, watcher, storing, &watch::Sender::default()).await
}

/// As [`download`], and tells whoever reads the blob meanwhile how far it is, but not its end.
///
/// # Errors
/// As [`download`].
pub async fn download_in_view(
    registry: &Registry,
    writer: &Writer,
    descriptor: &Descriptor,
    news: &watch::Sender<Growth>,
) -> Result<(), DownloadError> {
    get(registry, writer, descriptor, &nobody(), None, news).await
}

async fn get(
    registry: &Registry,
    writer: &Writer,
    descriptor: &Descriptor,
    watcher: &Watcher,
    storing: Option<&Storing>,
    news: &watch::Sender<Growth>,
) -> Result<(), DownloadError> {
    if writer.layout().has(descriptor) {
        settle(storing, writer, descriptor, Begun::not()).await?;
        watcher(Event::Done(descriptor, Outcome::Existed));
        return Ok(());
    }
    let begun = match fetch(registry, writer, descriptor, watcher, storing, news).await {
        // A byte may have been damaged on the way, or by what an earlier run left; that is gone now. Once more from the start.
        Err(DownloadError::Layout(error @ layout::Error::BadBlob { .. })) => {
            let reason = match std::error::Error::source(&error) {
                Some(source) => source.to_string(),
                None => error.to_string(),
            };
            info!(digest = %descriptor.digest(), reason, "fetching again");
            watcher(Event::Retrying(descriptor, &reason));
            fetch(registry, writer, descriptor, watcher, storing, news).await?
        }
        other => other?,
    };
    settle(storing, writer, descriptor, begun).await?;
    watcher(Event::Done(descriptor, Outcome::Pulled));
    Ok(())
}

async fn settle(
    storing: Option<&Storing>,
    writer: &Writer,
    descriptor: &Descriptor,
    begun: Begun,
) -> Result<(), DownloadError> {
    match storing {
        Some(storing) => Ok(storing.settle(writer.layout(), descriptor, begun).await?),
        None => Ok(()),
    }
}

/// Continues what an earlier run left, to the end.
async fn fetch(
    registry: &Registry,
    writer: &Writer,
    descriptor: &Descriptor,
    watcher: &Watcher,
    storing: Option<&Storing>,
    news: &watch::Sender<Growth>,
) -> Result<Begun, DownloadError> {
    let blob = resume(writer, descriptor).await?;
    news.send_replace(Growth::of(&blob));
    let begun = storing.map_or_else(Begun::not, |storing| storing.begin(news.subscribe(), descriptor));
    if blob.size() > 0 {
        info!(digest = %descriptor.digest(), size = blob.size(), "resumed");
    }
    let blob = fill(registry, writer, blob, descriptor, watcher, news).await?;
    commit(blob, descriptor).await?;
    Ok(begun)
}

/// Appends to the blob until it has its size, asking again as often as may help.
async fn fill(
    registry: &Registry,
    writer: &Writer,
    mut blob: BlobWriter,
    descriptor: &Descriptor,
    watcher: &Watcher,
    news: &watch::Sender<Growth>,
) -> Result<BlobWriter, DownloadError> {
    let digest = descriptor.digest().to_string();
    let (mut attempt, mut was_denied) = (0, false);
    // A blob without bytes needs no request: every range of it is out of range.
    while blob.size() < descriptor.size() {
        let before = blob.size();
        let error = match append(registry, writer, &mut blob, descriptor, watcher, news).await {
            Ok(()) if blob.size() == descriptor.size() => break,
            Ok(()) => None,
            // A token may have expired in the middle; asking for the head fetches a new one, or is denied too.
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
            let (expected, actual) = (descriptor.size(), blob.size());
            return Err(error.map_or(DownloadError::Truncated { digest, expected, actual }, Into::into));
        };
        let reason = error.as_ref().map_or_else(|| "the answer ended early".to_owned(), ToString::to_string);
        info!(%digest, reason, ?wait, "asking again");
        watcher(Event::Retrying(descriptor, &reason));
        tokio::time::sleep(settled(registry, &digest, error.as_ref(), wait).await?).await;
        attempt += 1;
    }
    Ok(blob)
}

/// How long to wait after an error.
///
/// After a refusal the blob's head is asked for, which waits as long as `Retry-After` says. If it comes at once,
/// the refusal had another reason; a registry that counts requests then gets four times our own wait.
async fn settled(
    registry: &Registry,
    digest: &str,
    error: Option<&ClientError>,
    wait: Duration,
) -> Result<Duration, ClientError> {
    let Some(ClientError::Status { status, .. }) = error else { return Ok(wait) };
    registry.settle(digest).await?;
    Ok(if status.as_u16() == 429 { wait * 4 } else { wait })
}

/// One request: what it brings is appended.
async fn append(
    registry: &Registry,
    writer: &Writer,
    blob: &mut BlobWriter,
    descriptor: &Descriptor,
    watcher: &Watcher,
    news: &watch::Sender<Growth>,
) -> Result<(), DownloadError> {
    let too_long = |actual| layout::Error::BadBlob {
        digest: descriptor.digest().clone(),
        source: digest::Error::Size { expected: descriptor.size(), actual },
    };
    let mut body = registry.blob(descriptor.digest().as_ref(), blob.size()).await?;
    let restart = |blob: &mut BlobWriter| {
        // Readers are told first: then none of them looks for bytes that are gone.
        news.send_modify(|growth| growth.size = 0);
        blob.restart()
    };
    if body.is_whole() {
        restart(blob)?;
    }
    if body.is_encoded() {
        if !body.is_whole() && blob.size() > 0 {
            // A part of something else than the blob; the next request asks for all of it.
            return Ok(restart(blob)?);
        }
        decode(body, writer, blob, descriptor).await?;
        news.send_modify(|growth| growth.size = blob.size());
        return Ok(());
    }
    let left = descriptor.size() - blob.size();
    if let Some(length) = body.length().filter(|length| *length > left) {
        return Err(too_long(blob.size() + length).into());
    }
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        // Some tens of kilobytes into the page cache: shorter than handing them to another thread.
        if let Err(error) = blob.write_all(&chunk) {
            if error.kind() != std::io::ErrorKind::InvalidData {
                return Err(blob.error("write", error).into());
            }
            let actual = blob.size() + chunk.len() as u64;
            restart(blob)?;
            return Err(too_long(actual).into());
        }
        news.send_modify(|growth| growth.size = blob.size());
        watcher(Event::At(descriptor, blob.size()));
    }
    Ok(())
}

/// Takes a blob that the registry says it has compressed on its way. If the bytes are the blob's all the same, they are taken as
/// they are.
async fn decode(
    mut body: BlobStream,
    writer: &Writer,
    blob: &mut BlobWriter,
    descriptor: &Descriptor,
) -> Result<(), DownloadError> {
    let too_long = |actual| layout::Error::BadBlob {
        digest: descriptor.digest().clone(),
        source: digest::Error::Size { expected: descriptor.size(), actual },
    };
    // No encoding makes bytes much longer.
    let limit = descriptor.size() + descriptor.size() / 8 + 64 * 1024;
    let mut raw = writer.blob()?;
    while let Some(chunk) = body.next().await {
        raw.write_all(&chunk?).map_err(|error| raw.error("write", error))?;
        if raw.size() > limit {
            return Err(too_long(raw.size()).into());
        }
    }
    let is_blob = raw.size() == descriptor.size() && raw.digest() == *descriptor.digest();
    let copied = tokio::task::block_in_place(|| {
        raw.read_back(|reader| {
            if is_blob {
                return std::io::copy(reader, blob);
            }
            let (decoder, _) = Decoder::detect(reader).map_err(std::io::Error::other)?;
            std::io::copy(&mut decoder.take(descriptor.size().saturating_add(1)), blob)
        })
    });
    match copied {
        Ok(_) => Ok(()),
        // It is longer than it should be, or not compressed as it says.
        Err(_) => {
            let actual = raw.size();
            blob.restart()?;
            Err(too_long(actual).into())
        }
    }
}

/// Opens what an earlier run left and hashes it, off the threads that serve the network.
async fn resume(writer: &Writer, descriptor: &Descriptor) -> Result<BlobWriter, DownloadError> {
    let (writer, descriptor) = (writer.clone(), descriptor.clone());
    let opened = tokio::task::spawn_blocking(move || writer.resume(&descriptor)).await;
    Ok(opened.map_err(|_| Stopped)??)
}

/// Makes the blob durable, off the threads that serve the network: fsync takes as long as the disk wants.
async fn commit(blob: BlobWriter, descriptor: &Descriptor) -> Result<(), layout::Error> {
    let media_type = descriptor.media_type().clone();
    let task = tokio::task::spawn_blocking(move || blob.commit(media_type).map(drop));
    task.await.expect("committing a blob does not panic")
}
