//! Uploads that the registry keeps open: chunks, how far they came, and mounts (distribution-spec, "Pushing blobs").

use bytes::Bytes;
use futures_util::TryStream;
use reqwest::{Response, StatusCode, Url};
use tracing::debug;

use super::auth::Access;
use super::error::ClientError;
use super::registry::{Registry, location_of};
use super::retry;

/// One blob on its way in chunks.
pub struct Upload<'a> {
    registry: &'a Registry,
    digest: &'a str,
    size: u64,
    /// Where the next chunk goes; every answer may name another place.
    location: Url,
    least_chunk: u64,
}

/// What became of a chunk.
pub enum Sent {
    /// The registry has the blob up to this byte.
    UpTo(u64),
    /// The registry does not take chunks.
    Unsupported(StatusCode),
    /// It did not arrive, or not where it belongs; after a wait, [`Upload::resume`] tells how far the upload came.
    Lost(ClientError),
}

impl<'a> Upload<'a> {
    /// Opens an upload.
    ///
    /// # Errors
    /// As for any request.
    pub async fn begin(registry: &'a Registry, digest: &'a str, size: u64) -> Result<Self, ClientError> {
        let url = registry.repository_url("blobs/uploads/")?;
        let post = |http: &reqwest::Client| http.post(url.clone()).header("Content-Length", 0);
        let response = registry.request(Access::Push, true, post).await?;
        let response = registry.expect(response, digest, &[StatusCode::ACCEPTED]).await?;
        let least = response.headers().get("OCI-Chunk-Min-Length").and_then(|value| value.to_str().ok()?.parse().ok());
        let location = registry.location(&response)?;
        Ok(Self { registry, digest, size, location, least_chunk: least.unwrap_or(0) })
    }

    /// The smallest chunk that the registry accepts, in bytes.
    #[must_use]
    pub fn least_chunk(&self) -> u64 {
        self.least_chunk
    }

    /// Sends the bytes `from..to`, which `body` makes.
    ///
    /// # Errors
    /// A refusal that asking again does not help.
    pub async fn send<S>(&mut self, from: u64, to: u64, body: impl Fn() -> S) -> Result<Sent, ClientError>
    where
        S: TryStream<Ok = Bytes, Error = std::io::Error> + Send + 'static,
    {
        let patch = |http: &reqwest::Client| {
            http.patch(self.location.clone())
                .header("Content-Type", "application/octet-stream")
                .header("Content-Length", to - from)
                .header("Content-Range", format!("{from}-{}", to - 1))
                .body(reqwest::Body::wrap_stream(body()))
        };
        let response = match self.registry.request(Access::Push, false, patch).await {
            Ok(response) => response,
            Err(error) if error.is_transient() => return Ok(Sent::Lost(error)),
            Err(error) => return Err(error),
        };
        match response.status() {
            StatusCode::ACCEPTED => {
                self.moved(&response);
                Ok(Sent::UpTo(received(&response).map_or(to, |received| received.min(to))))
            }
            status if from == 0 && is_ignorance(status) => Ok(Sent::Unsupported(status)),
            // The registry has another idea of what it has got, or knows of no upload, perhaps since it was started anew.
            status @ (StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_FOUND) => {
                Ok(Sent::Lost(ClientError::status(self.registry.host(), self.digest, status, None)))
            }
            _ => {
                let refused = self.registry.expect(response, self.digest, &[StatusCode::ACCEPTED]).await;
                let error = refused.expect_err("another status is an error");
                if error.is_transient() { Ok(Sent::Lost(error)) } else { Err(error) }
            }
        }
    }

    /// How far the upload came; from the start, in a new upload, if the registry has forgotten it.
    ///
    /// # Errors
    /// As for any request.
    pub async fn resume(&mut self) -> Result<u64, ClientError> {
        let location = self.location.clone();
        let response = self.registry.request(Access::Push, true, |http| http.get(location.clone())).await?;
        if response.status() == StatusCode::NO_CONTENT
            && let Some(offset) = received(&response)
        {
            self.moved(&response);
            return Ok(offset.min(self.size));
        }
        *self = Self::begin(self.registry, self.digest, self.size).await?;
        Ok(0)
    }

    /// Ends the upload: from here on the registry has the blob.
    ///
    /// # Errors
    /// As for any request.
    pub async fn finish(self) -> Result<(), ClientError> {
        let url = self.last_url();
        let put = |http: &reqwest::Client| http.put(url.clone()).header("Content-Length", 0);
        let response = self.registry.request(Access::Push, true, put).await?;
        match self.registry.expect(response, self.digest, &STORED).await {
            // The answer to an earlier try was lost, but not what it asked for: the upload is gone, as it has become the blob.
            Err(ClientError::NotFound { .. }) if self.registry.has_blob(self.digest, self.size).await? => Ok(()),
            result => result.map(drop),
        }
    }

    /// Sends the whole blob, and so ends the upload. `body` gives the bytes again if the registry is busy or sends us elsewhere.
    ///
    /// # Errors
    /// As for any request. What is sent through a connection that breaks may have arrived in part; that takes a new upload.
    pub async fn send_all<S>(self, body: impl Fn() -> Option<S>) -> Result<(), ClientError>
    where
        S: TryStream<Ok = Bytes, Error = std::io::Error> + Send + 'static,
    {
        let mut url = self.last_url();
        let (mut attempt, mut redirects, mut busy) = (0, 0, None);
        loop {
            let put = |http: &reqwest::Client| {
                let put = http.put(url.clone()).header("Content-Type", "application/octet-stream");
                let put = put.header("Content-Length", self.size);
                match body() {
                    Some(body) => put.body(reqwest::Body::wrap_stream(body)),
                    None => put.body(reqwest::Body::wrap_stream(gone())),
                }
            };
            let response = self.registry.request(Access::Push, false, put).await?;
            let status = response.status();
            if STORED.contains(&status) {
                return Ok(());
            }
            // The client follows redirects only with bytes that it has itself.
            if matches!(status.as_u16(), 307 | 308) && redirects < REDIRECTS {
                url = self.registry.location(&response)?;
                redirects += 1;
                continue;
            }
            let asked = retry::asked_wait(response.headers());
            let refused = self.registry.expect(response, self.digest, &STORED).await;
            let error = refused.expect_err("another status is an error");
            // Some forget an upload with the first refusal; a new one may go better.
            if let Some(busy) = busy.take().filter(|_| !error.is_transient()) {
                return Err(busy);
            }
            let wait = self.registry.retry().wait(attempt, asked).filter(|_| error.is_transient());
            let Some(wait) = wait else { return Err(error.asked_to_wait(asked)) };
            debug!(digest = self.digest, %error, ?wait, "sending again");
            tokio::time::sleep(wait).await;
            busy = Some(error);
            attempt += 1;
        }
    }

    /// Where the upload ends: its place, with all that the registry put there, and the digest.
    fn last_url(&self) -> Url {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", self.digest);
        url
    }

    /// Where the upload goes on; where it was, if the answer does not say.
    fn moved(&mut self, response: &Response) {
        if let Some(location) = location_of(response.headers(), response.url()) {
            self.location = location;
        }
    }
}

/// What registries answer when they have stored a blob; the distribution-spec says 201, and the `Location` with it is not needed.
const STORED: [StatusCode; 3] = [StatusCode::CREATED, StatusCode::NO_CONTENT, StatusCode::OK];
/// How often an upload may be sent elsewhere.
const REDIRECTS: usize = 10;

/// In place of bytes that can be sent only once: a request that fails as if the connection had been cut.
fn gone() -> impl TryStream<Ok = Bytes, Error = std::io::Error> + Send + 'static {
    futures_util::stream::once(std::future::ready(Err(std::io::Error::other("the bytes cannot be sent a second time"))))
}

impl Registry {
    /// Asks the registry to take a blob from another of its repositories. A refusal is not an error: the blob is sent then.
    ///
    /// # Errors
    /// As for any request.
    pub async fn mount(&self, digest: &str, source: &str) -> Result<bool, ClientError> {
        let mut url = self.repository_url("blobs/uploads/")?;
        url.query_pairs_mut().append_pair("mount", digest).append_pair("from", source);
        let post = |http: &reqwest::Client| http.post(url.clone()).header("Content-Length", 0);
        let response = match self.request(Access::Mount(source), true, post).await {
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
                // The registry began an upload instead. Each way of sending begins its own, so this one is cancelled; a registry
                // that does not support this drops it in time.
                if let Some(location) = location_of(response.headers(), response.url()) {
                    let _ = self.request(Access::Push, false, |http| http.delete(location.clone())).await;
                }
                Ok(false)
            }
            status => {
                debug!(source, %status, "no mount");
                Ok(false)
            }
        }
    }
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

/// Statuses of a registry that cannot do what is optional in the distribution-spec.
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
