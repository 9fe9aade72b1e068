//! Paginated lists: tags and repositories.

use nom_rfc8288::complete::{LinkData, link_lenient};
use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};
use serde::de::DeserializeOwned;
use serde_json::Value;

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

    /// The descriptors of the manifests that refer to the one with a digest, verified by nobody yet; `None` if the registry does not
    /// know of referrers.
    ///
    /// # Errors
    /// As [`Registry::tags`].
    pub async fn referrers(&self, digest: &str) -> Result<Option<Vec<Value>>, ClientError> {
        let url = self.repository_url(&format!("referrers/{digest}"))?;
        match self.list(Access::Pull, "the list of referrers", url, "manifests").await {
            Err(error) if error.is_absence() => Ok(None),
            other => other.map(Some),
        }
    }

    /// Each page's `key`, following `Link` within the registry.
    async fn list<T: DeserializeOwned>(
        &self,
        access: Access<'_>,
        what: &str,
        first: Url,
        key: &str,
    ) -> Result<Vec<T>, ClientError> {
        let invalid = |reason: String| ClientError::protocol(self.host(), reason);
        let (mut url, mut size) = (first, 0);
        let mut found = Vec::new();
        // A registry could link in circles for ever.
        while size < LIST_LIMIT {
            let (headers, body) = self.whole(access, what, DOCUMENT_LIMIT, |http| http.get(url.clone())).await?;
            size += body.len().max(1 << 10);
            found.extend(page(&body, key).map_err(|reason| invalid(format!("{what}: {reason}")))?);
            match next_page(&headers, &url).map_err(|reason| invalid(format!("{what}: {reason}")))? {
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

/// The names or descriptors on a page, or what is wrong with it.
fn page<T: DeserializeOwned>(body: &[u8], key: &str) -> Result<Vec<T>, String> {
    let page: Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    // `null` is an empty list in Go, which most registries are written in.
    let names: Option<Vec<T>> = serde_json::from_value(page.get(key).cloned().unwrap_or_default())
        .map_err(|_| format!("{key} is not a list, or not of what it should be"))?;
    Ok(names.unwrap_or_default())
}

/// Where a page says that the next one is, or what is wrong with how it says so: a list that only ended early would look complete.
fn next_page(headers: &HeaderMap, at: &Url) -> Result<Option<Url>, &'static str> {
    for value in headers.get_all(LINK) {
        if let Some(target) = next_link(&String::from_utf8_lossy(value.as_bytes()))? {
            return at.join(target.trim()).map(Some).map_err(|_| "a Link is not a valid URL");
        }
    }
    Ok(None)
}

/// The target of `Link: <…>; rel="next"` (RFC 8288).
fn next_link(header: &str) -> Result<Option<String>, &'static str> {
    let links = link_lenient(header).map_err(|_| "a Link header cannot be parsed")?;
    let is_next = |link: &LinkData<'_>| {
        // Names of parameters and of relations are compared without case, and there may be several relations (3.3). Of several
        // parameters the first counts.
        let relations = link.params.iter().find(|parameter| parameter.key.eq_ignore_ascii_case("rel"));
        let relations = relations.and_then(|parameter| parameter.val.as_deref()).unwrap_or_default();
        relations.split_ascii_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"))
    };
    Ok(links.into_iter().flatten().find(is_next).map(|link| link.url.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_link_that_says_so() {
        for (header, expected) in [
            ("</v2/_catalog?last=b&n=2>; rel=\"next\"", Some("/v2/_catalog?last=b&n=2")),
            ("<a>; rel=prev, <b>; rel=next", Some("b")),
            ("<a>; title=\"a; b, <c>; rel=next\"; rel=\"next\"", Some("a")),
            ("<a>; title=\"\\\"\"; REL=\"last Next\"", Some("a")),
            ("<a?x=1,2;3> ; rel= next", Some("a?x=1,2;3")),
            (", <a>;rel=next", Some("a")),
            ("<a>; rel=prev; rel=next", None),
            ("<a>; rel=\"nextish\"", None),
            ("<a>", None),
            ("<garbage>; rel=prev", None),
        ] {
            assert_eq!(next_link(header).unwrap().as_deref(), expected, "{header}");
        }
        for header in ["garbage", "<a; rel=next", "<a>; rel=\"next"] {
            assert!(next_link(header).is_err(), "{header}");
        }
        let at = "http://a/".parse().unwrap();
        let mut headers = HeaderMap::new();
        for link in ["<x>; rel=last", "</y>; rel=next"] {
            headers.append(LINK, link.parse().unwrap());
        }
        assert_eq!(next_page(&headers, &at).unwrap().unwrap().as_str(), "http://a/y");
    }
}
