//! Paginated lists: tags and repositories.

use reqwest::Url;
use reqwest::header::HeaderMap;

use super::answer::DOCUMENT_LIMIT;
use super::auth::Access;
use super::error::ClientError;
use super::registry::Registry;

/// All pages of a list together, in bytes: some million names.
const LIST_LIMIT: usize = 64 << 20;

impl Registry {
    /// The tags of the repository.
    ///
    /// # Errors
    /// As for any request; [`ClientError::Protocol`] if a page is malformed.
    pub async fn tags(&self) -> Result<Vec<String>, ClientError> {
        let first = self.repository_url("tags/list?n=1000")?;
        self.list(Access::Pull, self.reference().repository(), first, "tags").await
    }

    /// The repositories of the registry, if it lists them.
    ///
    /// # Errors
    /// As [`Registry::tags`].
    pub async fn catalog(&self) -> Result<Vec<String>, ClientError> {
        self.list(Access::Catalog, "the catalog", self.url("v2/_catalog?n=1000")?, "repositories").await
    }

    /// Each page's `key`, following `Link` within the registry.
    async fn list(&self, access: Access<'_>, what: &str, first: Url, key: &str) -> Result<Vec<String>, ClientError> {
        let invalid = |reason: String| ClientError::protocol(self.host(), reason);
        let (mut url, mut size) = (first, 0);
        let mut found = Vec::new();
        // A registry could link in circles for ever.
        while size < LIST_LIMIT {
            let (headers, body) = self.whole(access, what, DOCUMENT_LIMIT, |http| http.get(url.clone())).await?;
            size += body.len().max(1 << 10);
            found.extend(page(&body, key).map_err(|reason| invalid(format!("{what}: {reason}")))?);
            match next_page(&headers, &url).map_err(|()| invalid(format!("{what}: a Link is not a valid URL")))? {
                Some(next) if !self.is_own(&next) => {
                    return Err(invalid(format!("{what}: a Link leads to another host")));
                }
                Some(next) if next != url => url = next,
                _ => return Ok(found),
            }
        }
        Err(invalid(format!("{what}: the list does not end")))
    }
}

/// The names on a page, or what is wrong with it.
fn page(body: &[u8], key: &str) -> Result<Vec<String>, String> {
    let page: serde_json::Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    // `null` is an empty list in Go, which most registries are written in.
    let names: Option<Vec<String>> = serde_json::from_value(page.get(key).cloned().unwrap_or_default())
        .map_err(|_| format!("{key} is not a list of names"))?;
    Ok(names.unwrap_or_default())
}

/// Where a page says that the next one is.
fn next_page(headers: &HeaderMap, at: &Url) -> Result<Option<Url>, ()> {
    let target = headers.get("Link").and_then(|value| next_link(value.to_str().ok()?));
    target.map(|target| at.join(&target)).transpose().map_err(|_| ())
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
