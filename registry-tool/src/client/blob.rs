//! Blobs: whether there is one, and its bytes in either direction, streamed by the crate.

use bytes::Bytes;
use oci_distribution::client::BlobResponse;
use reqwest::StatusCode;

use super::{Access, ClientError, Registry};

impl Registry {
    /// Whether the repository has a blob of this size.
    ///
    /// # Errors
    /// As for any request.
    pub async fn has_blob(&self, digest: &str, size: u64) -> Result<bool, ClientError> {
        let url = self.url(&format!("v2/{}/blobs/{digest}", self.reference.repository()))?;
        let response = self.request(Access::Push, true, |http| http.head(url.clone())).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let response = self.expect(response, digest, &[StatusCode::OK]).await?;
        let length = response.headers().get("Content-Length").and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(length.is_none_or(|length: u64| length == size))
    }

    /// A blob's bytes from `offset` on, by the crate. The range is asked for even from 0: the crate hashes whole answers, and
    /// the bytes are hashed where they are written already.
    ///
    /// # Errors
    /// Whatever the crate says; asking again is the caller's, who knows how far it came.
    pub async fn blob(&self, digest: &str, offset: u64) -> Result<BlobResponse, ClientError> {
        self.hand_over_token(Access::Pull).await?;
        let answer = self.oci.pull_blob_stream_partial(&self.reference, digest, offset, None).await;
        answer.map_err(|error| ClientError::from_crate(&self.base, self.credentials.as_ref(), digest, error))
    }

    /// Asks for the head of a blob until it comes, as long apart as `Retry-After` says.
    ///
    /// # Errors
    /// The registry's refusal, when attempts are spent.
    pub async fn settle(&self, digest: &str) -> Result<(), ClientError> {
        let url = self.url(&format!("v2/{}/blobs/{digest}", self.reference.repository()))?;
        self.request(Access::Pull, true, |http| http.head(url.clone())).await.map(drop)
    }

    /// Sends a whole blob in one request, by the crate.
    ///
    /// # Errors
    /// Whatever the crate says.
    pub async fn put_blob<S>(&self, digest: &str, size: u64, body: S) -> Result<(), ClientError>
    where
        S: futures_util::Stream<Item = oci_distribution::errors::Result<Bytes>> + Send + 'static,
    {
        self.hand_over_token(Access::Push).await?;
        let answer = self.oci.push_blob_stream(&self.reference, body, digest, Some(size)).await;
        answer.map(drop).map_err(|error| ClientError::from_crate(&self.base, self.credentials.as_ref(), digest, error))
    }
}
