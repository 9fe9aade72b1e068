//! Blobs: whether there is one, and its bytes in either direction, streamed by the crate.

use bytes::Bytes;
use futures_util::Stream;
use reqwest::StatusCode;

use super::auth::Access;
use super::error::ClientError;
use super::registry::Registry;
use super::stream::{BlobStream, Failure};

impl Registry {
    /// Whether the repository has a blob of this size.
    ///
    /// # Errors
    /// As for any request.
    pub async fn has_blob(&self, digest: &str, size: u64) -> Result<bool, ClientError> {
        let url = self.repository_url(&format!("blobs/{digest}"))?;
        let response = self.request(Access::Push, true, |http| http.head(url.clone())).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let response = self.expect(response, digest, &[StatusCode::OK]).await?;
        let length = response.headers().get("Content-Length").and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(length.is_none_or(|length: u64| length == size))
    }

    /// A blob's bytes from `offset` on, by the crate.
    ///
    /// # Errors
    /// As for any request; asking again is left to the caller, who knows how far it came.
    pub async fn blob(&self, digest: &str, offset: u64) -> Result<BlobStream, ClientError> {
        let authorization = self.login().authorization(Access::Pull).await?;
        let answer = self.streamer().get(digest, offset, authorization).await;
        answer.map_err(|failure| self.streamed(digest, failure))
    }

    /// Asks for the head of a blob until it comes, as long apart as `Retry-After` says.
    ///
    /// # Errors
    /// The registry's refusal, when attempts are spent.
    pub async fn settle(&self, digest: &str) -> Result<(), ClientError> {
        let url = self.repository_url(&format!("blobs/{digest}"))?;
        self.request(Access::Pull, true, |http| http.head(url.clone())).await.map(drop)
    }

    /// Sends a whole blob in one request, by the crate.
    ///
    /// # Errors
    /// As for any request; sending again is left to the caller, who has the bytes.
    pub async fn put_blob<S>(&self, digest: &str, size: u64, body: S) -> Result<(), ClientError>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let authorization = self.login().authorization(Access::Push).await?;
        let answer = self.streamer().put(digest, size, body, authorization).await;
        answer.map_err(|failure| self.streamed(digest, failure))
    }

    /// A failure of the crate's client, as our own requests would have failed.
    fn streamed(&self, what: &str, failure: Failure) -> ClientError {
        match failure {
            Failure::Answer { status, message } => self.answered(what, status, message),
            Failure::Connection(error) => ClientError::cut(self.host(), &error),
            Failure::Protocol(reason) => ClientError::protocol(self.host(), format!("{what}: {reason}")),
        }
    }
}
