//! One blob from a layout into a repository: not at all if it is there, by a mount if the registry has it elsewhere, else
//! sent, a large one in chunks that go on where the connection broke.
//!
//! Whatever is sent was verified against its digest before: what a bad disk made of a blob leaves this machine never.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, TryStreamExt as _};
use image_tool::layout::{self, Layout};
use oci_distribution::errors::OciDistributionError;
use oci_spec::image::Descriptor;
use reqwest::{Response, StatusCode, Url};
use thiserror::Error;
use tracing::{debug, info};

use crate::client::{Access, ClientError, Registry};
use crate::transfer::event::{Event, Outcome, Watcher};

/// How much is read of a file at once.
const PIECE: usize = 1 << 17;
/// How many repositories are asked for a mount before the blob is sent.
const MOUNT_ATTEMPTS: usize = 3;

/// Why a blob was not sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UploadError {
    /// The registry's fault, or the network's.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The layout's fault.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The task was torn down from outside.
    #[error("stopped")]
    Stopped,
}

/// How blobs are sent.
#[derive(Clone)]
pub struct Sending {
    /// Blobs larger than this are sent in pieces of it.
    pub chunk: u64,
    /// Who watches.
    pub watcher: Watcher,
}

/// Brings one blob into the repository. `sources` are repositories of the same registry that may have it.
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
        if mount(registry, &digest, source).await? {
            done(Outcome::Mounted(source));
            return Ok(());
        }
    }
    let file = Arc::new(verified(layout, descriptor).await?);
    let blob = Blob { registry, descriptor, digest: &digest, file, watcher: &sending.watcher };
    if descriptor.size() <= sending.chunk || !blob.send_chunks(sending.chunk).await? {
        blob.send_whole().await?;
    }
    done(Outcome::Pushed);
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
    Ok(task.await.map_err(|_| UploadError::Stopped)??)
}

/// Asks the registry to take the blob from another repository. A refusal is no error: the blob is sent then.
pub(crate) async fn mount(registry: &Registry, digest: &str, source: &str) -> Result<bool, ClientError> {
    let mut url = registry.url(&format!("v2/{}/blobs/uploads/", registry.reference().repository()))?;
    url.query_pairs_mut().append_pair("mount", digest).append_pair("from", source);
    let post = |http: &reqwest::Client| http.post(url.clone()).header("Content-Length", 0);
    let response = match registry.request(Access::Mount(source), true, post).await {
        Ok(response) => response,
        Err(ClientError::Denied { reason, .. }) => {
            debug!(source, reason, "no mount");
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    match response.status() {
        StatusCode::CREATED => Ok(true),
        StatusCode::ACCEPTED => {
            // The registry began an upload instead. Each way of sending begins its own, so this one is given back; a registry
            // that does not know how drops it by itself.
            if let Ok(location) = registry.location(response.headers(), response.url()) {
                let _ = registry.request(Access::Push, false, |http| http.delete(location.clone())).await;
            }
            Ok(false)
        }
        status => {
            debug!(source, %status, "no mount");
            Ok(false)
        }
    }
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
    /// In one request, by the crate; again from the start if the connection breaks.
    async fn send_whole(&self) -> Result<(), UploadError> {
        let size = self.descriptor.size();
        let mut attempt = 0;
        loop {
            let body = self.body(0, size).map_err(OciDistributionError::IoError);
            let error = match self.registry.put_blob(self.digest, size, body).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let wait = self.registry.retry().wait(attempt, None).filter(|_| error.is_transient());
            let Some(wait) = wait else { return Err(error.into()) };
            self.tell_retry(&error);
            // Its head is asked for where Retry-After is kept; and a blob that arrived all the same is not sent twice.
            if matches!(error, ClientError::Status { .. }) && self.registry.has_blob(self.digest, size).await? {
                return Ok(());
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// In chunks. `false` if the registry does not know how.
    async fn send_chunks(&self, chunk: u64) -> Result<bool, UploadError> {
        let size = self.descriptor.size();
        let (mut location, least) = self.begin().await?;
        let chunk = chunk.max(least);
        let (mut offset, mut attempt) = (0, 0);
        while offset < size {
            let end = size.min(offset + chunk);
            let error = match self.patch(&location, offset, end).await {
                Ok(response) if response.status() == StatusCode::ACCEPTED => {
                    location = self.registry.location(response.headers(), response.url())?;
                    offset = received(&response).map_or(end, |received| received.min(end));
                    attempt = 0;
                    continue;
                }
                Ok(response) if offset == 0 && is_ignorance(response.status()) => {
                    info!(status = %response.status(), "the registry takes no chunks");
                    return Ok(false);
                }
                // The registry has another idea of what it has got; it is asked below.
                Ok(response) if response.status() == StatusCode::RANGE_NOT_SATISFIABLE => {
                    ClientError::status(self.registry.host(), self.digest, response.status(), &[])
                }
                Ok(response) => {
                    let accepted = [StatusCode::ACCEPTED];
                    match self.registry.expect(response, self.digest, &accepted).await {
                        Err(error) if error.is_transient() => error,
                        other => return Err(other.expect_err("another status is an error").into()),
                    }
                }
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error.into()),
            };
            let Some(wait) = self.registry.retry().wait(attempt, None) else { return Err(error.into()) };
            self.tell_retry(&error);
            tokio::time::sleep(wait).await;
            attempt += 1;
            (location, offset) = match self.resume(&location).await? {
                Some(place) => place,
                None => (self.begin().await?.0, 0),
            };
        }
        self.close(&location).await?;
        Ok(true)
    }

    /// Opens an upload: where to send, and the smallest chunk that the registry takes.
    async fn begin(&self) -> Result<(Url, u64), ClientError> {
        let url = self.registry.url(&format!("v2/{}/blobs/uploads/", self.registry.reference().repository()))?;
        let post = |http: &reqwest::Client| http.post(url.clone()).header("Content-Length", 0);
        let response = self.registry.request(Access::Push, true, post).await?;
        let response = self.registry.expect(response, self.digest, &[StatusCode::ACCEPTED]).await?;
        let least = response.headers().get("OCI-Chunk-Min-Length").and_then(|value| value.to_str().ok()?.parse().ok());
        Ok((self.registry.location(response.headers(), response.url())?, least.unwrap_or(0)))
    }

    async fn patch(&self, location: &Url, from: u64, to: u64) -> Result<Response, ClientError> {
        let build = |http: &reqwest::Client| {
            http.patch(location.clone())
                .header("Content-Type", "application/octet-stream")
                .header("Content-Length", to - from)
                .header("Content-Range", format!("{from}-{}", to - 1))
                .body(reqwest::Body::wrap_stream(self.body(from, to)))
        };
        self.registry.request(Access::Push, false, build).await
    }

    /// Asks how far an upload came; `None` if the registry has forgotten it.
    async fn resume(&self, location: &Url) -> Result<Option<(Url, u64)>, ClientError> {
        let response = self.registry.request(Access::Push, true, |http| http.get(location.clone())).await?;
        if response.status() != StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let location = self.registry.location(response.headers(), response.url())?;
        Ok(received(&response).map(|offset| (location, offset.min(self.descriptor.size()))))
    }

    async fn close(&self, location: &Url) -> Result<(), ClientError> {
        let mut url = location.clone();
        url.query_pairs_mut().append_pair("digest", self.digest);
        let put = |http: &reqwest::Client| http.put(url.clone()).header("Content-Length", 0);
        let response = self.registry.request(Access::Push, true, put).await?;
        self.registry.expect(response, self.digest, &[StatusCode::CREATED]).await.map(drop)
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

/// How many bytes an upload has: `Range: 0-1023` are 1024. Nothing yet is `0-0` at some registries, so that says nothing.
fn received(response: &Response) -> Option<u64> {
    parse_received(response.headers().get("Range")?.to_str().ok()?)
}

fn parse_received(range: &str) -> Option<u64> {
    let (start, last) = range.trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    (start.trim() == "0").then_some(if last == 0 { 0 } else { last + 1 })
}

/// Statuses of a registry that cannot do what the distribution-spec has as an option.
fn is_ignorance(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED
            | StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_an_upload_says_how_much_there_is() {
        for (range, expected) in
            [("0-1023", Some(1024)), ("bytes=0-9", Some(10)), ("0-0", Some(0)), ("5-9", None), ("x", None)]
        {
            assert_eq!(parse_received(range), expected, "{range}");
        }
    }
}
