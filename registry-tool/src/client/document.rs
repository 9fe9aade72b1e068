//! Small documents: manifests, configs, the answer of a search. Their size is limited.

use std::io::Read as _;

use bytes::Bytes;
use image_tool::layer::Decoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use tracing::info;

use super::answer::{DOCUMENT_LIMIT, read_limited};
use super::auth::{Access, Challenge};
use super::error::ClientError;
use super::registry::Registry;

const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A manifest or an index as a registry gave it.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its media type, if the answer's header gave one.
    pub media_type: Option<String>,
    /// Its digest, if the answer's header gave one; nothing is verified yet.
    pub digest: Option<String>,
    /// The body of the answer.
    pub bytes: Bytes,
}

impl Document {
    /// Its media type: what the answer said, unless that is no more than JSON, else what the document says itself.
    ///
    /// # Errors
    /// [`ClientError::Setup`] if neither says anything.
    pub fn own_media_type(&self) -> Result<String, ClientError> {
        let generic = ["application/json", "text/plain", "application/octet-stream"];
        let said = self.media_type.clone().filter(|text| !generic.contains(&text.as_str()) && !text.is_empty());
        let own = || {
            let document: serde_json::Value = serde_json::from_slice(&self.bytes).ok()?;
            document["mediaType"].as_str().map(str::to_owned)
        };
        let reason = "the document has no mediaType, and nobody says what it is".to_owned();
        said.or_else(own).ok_or(ClientError::Setup { reason })
    }
}

/// What the head of an answer says of a manifest.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its media type.
    pub media_type: Option<String>,
    /// Its digest.
    pub digest: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

impl Registry {
    /// Has the registry check the credentials.
    ///
    /// # Errors
    /// [`ClientError::Denied`] if it does not accept them.
    pub async fn check_credentials(&self) -> Result<(), ClientError> {
        let url = self.url("v2/")?;
        let response = self.request(Access::Account, true, |http| http.get(url.clone())).await?;
        self.expect(response, "/v2/", &[StatusCode::OK]).await.map(drop)
    }

    /// A manifest or index by tag or digest; its size is limited, its digest not verified yet.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and as for any request.
    pub async fn manifest(&self, reference: &str) -> Result<Document, ClientError> {
        let url = self.repository_url(&format!("manifests/{reference}"))?;
        let build = |http: &reqwest::Client| http.get(url.clone()).header("Accept", MANIFEST_TYPES);
        let (headers, body) = self.whole(Access::Pull, &self.name_with(reference), DOCUMENT_LIMIT, build).await?;
        let (media_type, digest) = manifest_headers(&headers);
        Ok(Document { media_type, digest, bytes: body.into() })
    }

    /// The digest of a manifest from the answer's head alone; `None` if the registry does not say.
    ///
    /// # Errors
    /// As [`Registry::manifest`].
    pub async fn manifest_digest(&self, reference: &str) -> Result<Option<String>, ClientError> {
        Ok(self.manifest_head(reference).await?.digest)
    }

    /// What the answer's head alone says of a manifest; nothing is verified.
    ///
    /// # Errors
    /// As [`Registry::manifest`].
    pub async fn manifest_head(&self, reference: &str) -> Result<Head, ClientError> {
        let url = self.repository_url(&format!("manifests/{reference}"))?;
        let build = |http: &reqwest::Client| http.head(url.clone()).header("Accept", MANIFEST_TYPES);
        let response = self.request(Access::Pull, true, build).await?;
        let response = self.expect(response, &self.name_with(reference), &[StatusCode::OK]).await?;
        let (media_type, digest) = manifest_headers(response.headers());
        let size = response.headers().get("Content-Length").and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Head { media_type, digest, size })
    }

    /// An answer with its whole body, asked for again if the connection breaks in the middle.
    pub(super) async fn whole(
        &self,
        access: Access<'_>,
        what: &str,
        limit: usize,
        build: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<(HeaderMap, Vec<u8>), ClientError> {
        let mut attempt = 0;
        loop {
            let response = self.request(access, true, &build).await?;
            let response = self.expect(response, what, &[StatusCode::OK]).await?;
            let headers = response.headers().clone();
            let error = match read_limited(response, limit, self.host()).await {
                Ok(body) => {
                    let body = decoded(&headers, body, limit, self.host())?;
                    return Ok((headers, body));
                }
                Err(error) => error,
            };
            let wait = self.retry().wait(attempt, None).filter(|_| error.is_transient());
            let Some(wait) = wait else { return Err(error) };
            info!(host = self.host(), what, %error, "asking again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// Stores a manifest under a tag or digest, and returns the digest that the registry reports, if it does.
    ///
    /// # Errors
    /// As for any request.
    pub async fn put_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Option<String>, ClientError> {
        let url = self.repository_url(&format!("manifests/{reference}"))?;
        let content_type = HeaderValue::from_str(media_type)
            .map_err(|_| ClientError::protocol(self.host(), format!("{media_type:?} is not a valid media type")))?;
        let build = |http: &reqwest::Client| {
            http.put(url.clone()).header("Content-Type", content_type.clone()).body(bytes.clone())
        };
        let response = self.request(Access::Push, true, build).await?;
        let accepted = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        let response = self.expect(response, &self.name_with(reference), &accepted).await?;
        Ok(manifest_headers(response.headers()).1)
    }

    /// Deletes a manifest by digest, or a tag if the registry supports that.
    ///
    /// # Errors
    /// As for any request.
    pub async fn delete_manifest(&self, reference: &str) -> Result<(), ClientError> {
        let url = self.repository_url(&format!("manifests/{reference}"))?;
        let response = self.request(Access::Delete, true, |http| http.delete(url.clone())).await?;
        let accepted = [StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NO_CONTENT];
        self.expect(response, &self.name_with(reference), &accepted).await.map(drop)
    }

    /// A small JSON document that is not part of the distribution-spec; `None` if the registry has none.
    ///
    /// # Errors
    /// As for any request.
    pub async fn document(&self, path: &str, query: &[(&str, &str)]) -> Result<Option<Vec<u8>>, ClientError> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        // A registry with basic authentication demands it here too; a token would be for a repository, and there is none.
        let access = if self.challenge() == Some(Challenge::Basic) { Access::Account } else { Access::Anonymous };
        match self.whole(access, url.path(), DOCUMENT_LIMIT, |http| http.get(url.clone())).await {
            Ok((_, body)) => Ok(Some(body)),
            Err(ClientError::NotFound { .. }) => Ok(None),
            Err(ClientError::Status { status, .. }) if matches!(status.as_u16(), 405 | 501) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A small blob, such as a config, whole and not verified.
    ///
    /// # Errors
    /// As for any request, and if it has more than `limit` bytes.
    pub async fn small_blob(&self, digest: &str, limit: usize) -> Result<Vec<u8>, ClientError> {
        let url = self.repository_url(&format!("blobs/{digest}"))?;
        self.whole(Access::Pull, digest, limit, |http| http.get(url.clone())).await.map(|(_, body)| body)
    }

    fn name_with(&self, reference: &str) -> String {
        let separator = if reference.contains(':') { '@' } else { ':' };
        format!("{}{separator}{reference}", self.reference().repository())
    }
}

fn manifest_headers(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let media_type = text("Content-Type").map(|full| full.split(';').next().unwrap_or_default().trim().to_owned());
    // Some put the digest in quotes.
    (media_type, text("Docker-Content-Digest").map(|digest| digest.trim().trim_matches('"').to_owned()))
}

/// The document in a body that a registry has compressed on its way, though nobody asked it to. No document begins as compressed
/// data does, so one that is not compressed in spite of the header stays as it is.
fn decoded(headers: &HeaderMap, body: Vec<u8>, limit: usize, host: &str) -> Result<Vec<u8>, ClientError> {
    let broken = |error: &dyn std::fmt::Display| ClientError::protocol(host, format!("a document's encoding: {error}"));
    if !headers.contains_key(CONTENT_ENCODING) {
        return Ok(body);
    }
    let (decoder, _) = Decoder::detect(&body[..]).map_err(|error| broken(&error))?;
    let mut document = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut document).map_err(|error| broken(&error))?;
    if document.len() > limit {
        return Err(ClientError::TooLarge { host: host.to_owned(), limit });
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_document_is_decoded_whatever_its_header_says() {
        let mut gzip = image_tool::layer::pack::Gzip::new(Vec::new());
        gzip.write_all(b"{}").unwrap();
        let gzip = gzip.finish().unwrap();
        let none = HeaderMap::new();
        let encoded = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        assert_eq!(decoded(&encoded, gzip.clone(), 2, "x").unwrap(), b"{}");
        assert_eq!(decoded(&encoded, b"{}".to_vec(), 2, "x").unwrap(), b"{}");
        assert_eq!(decoded(&none, gzip.clone(), 2, "x").unwrap(), gzip);
        assert!(matches!(decoded(&encoded, gzip.clone(), 1, "x"), Err(ClientError::TooLarge { .. })));
        assert!(matches!(decoded(&encoded, gzip[..15].to_vec(), 2, "x"), Err(ClientError::Protocol { .. })));
        let quoted =
            HeaderMap::from_iter([("docker-content-digest".parse().unwrap(), "\"sha256:1\"".parse().unwrap())]);
        assert_eq!(manifest_headers(&quoted).1.as_deref(), Some("sha256:1"));
    }
}
