//! Which thing a path means. The names of repositories hold slashes, so paths are read from their end.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The thing that a request is about. Names and digests are as the client wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The page for people, of the registry or of one repository.
    Page(Option<String>),
    /// Numbers for Prometheus.
    Metrics,
    /// Where tokens are given out.
    Token,
    /// `/v2/`.
    Base,
    /// The repositories.
    Catalog,
    /// The tags of a repository.
    Tags(String),
    /// A manifest by tag or digest.
    Manifest(String, String),
    /// A blob by digest.
    Blob(String, String),
    /// Where uploads begin.
    Uploads(String),
    /// An upload in progress.
    Upload(String, String),
    /// The manifests that refer to another.
    Referrers(String, String),
}

impl Route {
    /// The route of a path, if it leads anywhere.
    pub(super) fn of(path: &str) -> Option<Self> {
        let path = percent_decode_str(path).decode_utf8().ok()?;
        match &*path {
            "/" => return Some(Self::Page(None)),
            "/metrics" => return Some(Self::Metrics),
            "/token" => return Some(Self::Token),
            "/v2" | "/v2/" => return Some(Self::Base),
            _ => {}
        }
        if let Some(repository) = path.strip_prefix("/repository/") {
            return Some(Self::Page(Some(repository.to_owned())));
        }
        let words: Vec<&str> = path.strip_prefix("/v2/")?.split('/').collect();
        let name = |words: &[&str]| words.join("/");
        let text = |word: &str| word.to_owned();
        match &words[..] {
            ["_catalog"] => Some(Self::Catalog),
            [repository @ .., "tags", "list"] => Some(Self::Tags(name(repository))),
            [repository @ .., "manifests", reference] => Some(Self::Manifest(name(repository), text(reference))),
            [repository @ .., "blobs", "uploads", ""] | [repository @ .., "blobs", "uploads"] => {
                Some(Self::Uploads(name(repository)))
            }
            [repository @ .., "blobs", "uploads", id] => Some(Self::Upload(name(repository), text(id))),
            [repository @ .., "blobs", digest] => Some(Self::Blob(name(repository), text(digest))),
            [repository @ .., "referrers", digest] => Some(Self::Referrers(name(repository), text(digest))),
            _ => None,
        }
    }

    /// The kind of thing, in a word, for counts.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Page(_) => "page",
            Self::Metrics => "metrics",
            Self::Token => "token",
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Tags(_) => "tags",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) | Self::Upload(..) => "upload",
            Self::Referrers(..) => "referrers",
        }
    }
}

/// The parameters after a path's `?`, in their order.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(text: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(text.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_from_its_end() {
        let two = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        let manifest = |pair: (String, String)| Some(Route::Manifest(pair.0, pair.1));
        assert_eq!(Route::of("/v2/library/python/manifests/3.8"), manifest(two("library/python", "3.8")));
        assert_eq!(Route::of("/v2/a/blobs/uploads/manifests/x"), manifest(two("a/blobs/uploads", "x")));
        assert_eq!(Route::of("/v2/a/manifests/sha256%3Aab"), manifest(two("a", "sha256:ab")));
        assert_eq!(Route::of("/v2/a/b/blobs/uploads/"), Some(Route::Uploads("a/b".into())));
        assert_eq!(Route::of("/v2/a/blobs/uploads/1-2"), Some(Route::Upload("a".into(), "1-2".into())));
        assert_eq!(Route::of("/v2/a/blobs/sha256:1"), Some(Route::Blob("a".into(), "sha256:1".into())));
        assert_eq!(Route::of("/v2/tags/list/tags/list"), Some(Route::Tags("tags/list".into())));
        assert_eq!(Route::of("/v2/a/referrers/sha256:1"), Some(Route::Referrers("a".into(), "sha256:1".into())));
        assert_eq!(Route::of("/repository/a/b"), Some(Route::Page(Some("a/b".into()))));
        for (path, route) in [("/", Route::Page(None)), ("/v2/", Route::Base), ("/v2/_catalog", Route::Catalog)] {
            assert_eq!(Route::of(path), Some(route), "{path}");
        }
        for path in ["", "/v1/", "/v2/a", "/v2/a/b/c", "/v2/%ff/manifests/x", "/favicon.ico"] {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }

    #[test]
    fn a_parameter_may_come_more_than_once() {
        let query = Query::of(Some("tag=1&tag=2%2E0&n=5"));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["1", "2.0"]);
        assert_eq!((query.get("n"), query.get("last")), (Some("5"), None));
    }
}
