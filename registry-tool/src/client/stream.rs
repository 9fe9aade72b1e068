//! A blob's bytes on their way from a registry.

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE};
use reqwest::{Response, StatusCode};

use super::error::ClientError;

/// A blob's bytes as they arrive, neither complete nor verified.
pub struct BlobStream {
    host: String,
    response: Response,
}

impl BlobStream {
    /// The answer to a request for the bytes from `offset` on.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] if it is a part, and another one.
    pub(super) fn new(host: &str, response: Response, offset: u64) -> Result<Self, ClientError> {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let start = range.and_then(start_of);
        if response.status() == StatusCode::PARTIAL_CONTENT && start.is_some_and(|start| start != offset) {
            return Err(ClientError::protocol(host, format!("asked for a blob from byte {offset}, got another part")));
        }
        Ok(Self { host: host.to_owned(), response })
    }

    /// Whether the bytes begin with the first, whatever was asked for: some registries know no ranges.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.response.status() != StatusCode::PARTIAL_CONTENT
    }

    /// Whether the registry says that it has compressed the bytes on their way, which nobody asked it to. Some only repeat what
    /// their storage says, so the bytes may be the blob's all the same.
    #[must_use]
    pub fn is_encoded(&self) -> bool {
        let encodings = self.response.headers().get_all(CONTENT_ENCODING).iter();
        encodings.filter_map(|value| value.to_str().ok()).any(|text| !matches!(text.trim(), "" | "identity"))
    }

    /// How many bytes there will be, if the registry says so.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Cut`].
    pub async fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        self.response.chunk().await.map_err(|error| ClientError::cut(&self.host, &error)).transpose()
    }
}

/// The first byte of a `Content-Range` (RFC 9110, 14.4): `bytes 100-199/200`.
fn start_of(range: &str) -> Option<u64> {
    range.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_where_it_begins() {
        for (range, expected) in
            [("bytes 100-199/200", Some(100)), (" bytes 0-1/*", Some(0)), ("bytes */200", None), ("", None)]
        {
            assert_eq!(start_of(range), expected, "{range}");
        }
    }
}
