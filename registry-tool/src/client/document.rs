//! Small answers: manifests, lists, configs. Their size is limited.

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, StatusCode, Url};
use tracing::info;

use super::{Access, ClientError, Registry, read_limited};
use crate::client::auth::Challenge;

/// Manifests, and the pages of lists: distribution-spec asks registries to take manifests of 4 MiB.
pub(super) const DOCUMENT_LIMIT: usize = 4 << 20;
/// All pages of a list together: some million names.
const LIST_LIMIT: usize = 64 << 20;
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A manifest or an index as a registry gave it.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its media type, as the answer's header said.
    pub media_type: Option<String>,
    /// Its digest, as the answer's header said; nothing is verified yet.
    pub digest: Option<String>,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Registry {
    /// Proves to the registry that the credentials hold.
    ///
    /// # Errors
    /// [`ClientError::Denied`] if they do not.
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
        let url = self.url(&format!("v2/{}/manifests/{reference}", self.reference.repository()))?;
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
        let url = self.url(&format!("v2/{}/manifests/{reference}", self.reference.repository()))?;
        let build = |http: &reqwest::Client| http.head(url.clone()).header("Accept", MANIFEST_TYPES);
        let response = self.request(Access::Pull, true, build).await?;
        let response = self.expect(response, &self.name_with(reference), &[StatusCode::OK]).await?;
        Ok(manifest_headers(response.headers()).1)
    }

    /// An answer with its whole body, asked for again if the connection breaks in the middle.
    async fn whole(
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
                Ok(body) => return Ok((headers, body)),
                Err(error) => error,
            };
            let wait = self.retry.wait(attempt, None).filter(|_| error.is_transient());
            let Some(wait) = wait else { return Err(error) };
            info!(host = self.host(), what, %error, "asking again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// Puts a manifest under a tag or digest; the digest that the registry says it has.
    ///
    /// # Errors
    /// As for any request.
    pub async fn put_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Option<String>, ClientError> {
        let url = self.url(&format!("v2/{}/manifests/{reference}", self.reference.repository()))?;
        let content_type = HeaderValue::from_str(media_type).map_err(|_| ClientError::Protocol {
            host: self.host().to_owned(),
            reason: format!("{media_type:?} is no media type"),
        })?;
        let build = |http: &reqwest::Client| {
            http.put(url.clone()).header("Content-Type", content_type.clone()).body(bytes.clone())
        };
        let response = self.request(Access::Push, true, build).await?;
        let accepted = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        let response = self.expect(response, &self.name_with(reference), &accepted).await?;
        Ok(manifest_headers(response.headers()).1)
    }

    /// Deletes a manifest by digest, or a tag where the registry can.
    ///
    /// # Errors
    /// As for any request.
    pub async fn delete_manifest(&self, reference: &str) -> Result<(), ClientError> {
        let url = self.url(&format!("v2/{}/manifests/{reference}", self.reference.repository()))?;
        let response = self.request(Access::Delete, true, |http| http.delete(url.clone())).await?;
        let accepted = [StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NO_CONTENT];
        self.expect(response, &self.name_with(reference), &accepted).await.map(drop)
    }

    /// A small JSON document that is no part of the distribution-spec; `None` where the registry has none.
    ///
    /// # Errors
    /// As for any request.
    pub async fn document(&self, url: Url) -> Result<Option<Vec<u8>>, ClientError> {
        // Whoever knows a password with every request wants it here too; a token would name a repository, and there is none.
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
    /// As for any request.
    pub async fn small_blob(&self, digest: &str) -> Result<Vec<u8>, ClientError> {
        let url = self.url(&format!("v2/{}/blobs/{digest}", self.reference.repository()))?;
        let limit = 2 * DOCUMENT_LIMIT;
        self.whole(Access::Pull, digest, limit, |http| http.get(url.clone())).await.map(|(_, body)| body)
    }

    /// The elements of a paginated list: each page's `key`, following `Link` within the registry.
    ///
    /// # Errors
    /// As for any request; [`ClientError::Protocol`] if a page is not what it should be.
    pub async fn list(&self, access: Access<'_>, path: &str, key: &str) -> Result<Vec<String>, ClientError> {
        let invalid = |reason: String| ClientError::Protocol { host: self.host().to_owned(), reason };
        let mut url = self.url(path)?;
        let mut found: Vec<String> = Vec::new();
        let what = self.name_of(access);
        let mut size = 0;
        // A registry could link in circles for ever.
        while size < LIST_LIMIT {
            let (headers, body) = self.whole(access, &what, DOCUMENT_LIMIT, |http| http.get(url.clone())).await?;
            size += body.len().max(1 << 10);
            let next = headers.get("Link").and_then(|value| next_link(value.to_str().ok()?));
            let next =
                next.map(|target| url.join(&target)).transpose().map_err(|_| invalid("a Link is no URL".into()))?;
            let page: serde_json::Value =
                serde_json::from_slice(&body).map_err(|error| invalid(format!("{path}: not JSON: {error}")))?;
            let entries = page.get(key).cloned().unwrap_or_default();
            // `null` is an empty list in Go, which most registries are written in.
            let entries: Option<Vec<String>> =
                serde_json::from_value(entries).map_err(|_| invalid(format!("{path}: {key} is no list of names")))?;
            found.extend(entries.unwrap_or_default());
            match next {
                Some(next) if !self.is_own(&next) => return Err(invalid("a Link leads to another host".into())),
                Some(next) if next != url => url = next,
                _ => return Ok(found),
            }
        }
        Err(invalid(format!("{path}: the list does not end")))
    }

    fn name_of(&self, access: Access<'_>) -> String {
        match access {
            Access::Catalog => "the catalog".to_owned(),
            _ => self.reference.repository().to_owned(),
        }
    }

    fn name_with(&self, reference: &str) -> String {
        let separator = if reference.contains(':') { '@' } else { ':' };
        format!("{}{separator}{reference}", self.reference.repository())
    }
}

fn manifest_headers(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let media_type = text("Content-Type").map(|full| full.split(';').next().unwrap_or_default().trim().to_owned());
    (media_type, text("Docker-Content-Digest"))
}

/// The target of `Link: <…>; rel="next"` (RFC 8288).
fn next_link(header: &str) -> Option<String> {
    header.split(',').find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|one| matches!(one.trim(), "rel=next" | "rel=\"next\""));
        is_next.then(|| target.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        for (header, expected) in [
            ("</v2/_catalog?last=b&n=2>; rel=\"next\"", Some("/v2/_catalog?last=b&n=2")),
            ("<a>; rel=prev, <b>; rel=next", Some("b")),
            ("<a>", None),
            ("garbage", None),
        ] {
            assert_eq!(next_link(header).as_deref(), expected, "{header}");
        }
    }
}
