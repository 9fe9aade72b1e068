//! Blobs: whether there is one, and its bytes in either direction, streamed.

use bytes::Bytes;
use futures_util::TryStream;
use reqwest::StatusCode;

use super::auth::Access;
use super::error::ClientError;
use super::registry::Registry;
use super::stream::BlobStream;
use super::upload::Upload;

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

    /// The size of a blob, if the registry says it.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and as for any request.
    pub async fn blob_size(&self, digest: &str) -> Result<Option<u64>, ClientError> {
        let url = self.repository_url(&format!("blobs/{digest}"))?;
        let response = self.request(Access::Pull, true, |http| http.head(url.clone())).await?;
        let response = self.expect(response, digest, &[StatusCode::OK]).await?;
        Ok(response.headers().get("Content-Length").and_then(|value| value.to_str().ok()?.parse().ok()))
    }

    /// Deletes a blob.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and as for any request; many registries do not allow it.
    pub async fn delete_blob(&self, digest: &str) -> Result<(), ClientError> {
        let url = self.repository_url(&format!("blobs/{digest}"))?;
        let response = self.request(Access::Delete, true, |http| http.delete(url.clone())).await?;
        let accepted = [StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NO_CONTENT];
        self.expect(response, digest, &accepted).await.map(drop)
    }

    /// A blob's bytes from `offset` on.
    ///
    /// # Errors
    /// As for any request; asking again is left to the caller, who knows how far it came.
    pub async fn blob(&self, digest: &str, offset: u64) -> Result<BlobStream, ClientError> {
        let url = self.repository_url(&format!("blobs/{digest}"))?;
        let get = |http: &reqwest::Client| {
            let get = http.get(url.clone());
            if offset == 0 { get } else { get.header("Range", format!("bytes={offset}-")) }
        };
        let response = self.request(Access::Pull, false, get).await?;
        let response = self.expect(response, digest, &[StatusCode::OK, StatusCode::PARTIAL_CONTENT]).await?;
        BlobStream::new(self.host(), response, offset)
    }

    /// Asks for the head of a blob until it comes, as long apart as `Retry-After` says.
    ///
    /// # Errors
    /// The registry's refusal, when attempts are spent.
    pub async fn settle(&self, digest: &str) -> Result<(), ClientError> {
        let url = self.repository_url(&format!("blobs/{digest}"))?;
        self.request(Access::Pull, true, |http| http.head(url.clone())).await.map(drop)
    }

    /// Sends a whole blob in one request. `body` gives its bytes, again if the registry wants them again, if it can.
    ///
    /// # Errors
    /// As for any request; a new upload is left to the caller, who has the bytes.
    pub async fn put_blob<S>(&self, digest: &str, size: u64, body: impl Fn() -> Option<S>) -> Result<(), ClientError>
    where
        S: TryStream<Ok = Bytes, Error = std::io::Error> + Send + 'static,
    {
        Upload::begin(self, digest, size).await?.send_all(body).await
    }
}
