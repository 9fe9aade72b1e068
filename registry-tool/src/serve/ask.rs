//! A request without its body, and what several kinds of requests have in common.

use std::sync::Arc;

use hyper::header::{ACCEPT, AsHeaderName, IF_MATCH, IF_NONE_MATCH};
use hyper::{HeaderMap, Method};
use image_tool::address::digest::{self, Digest};
use oci_distribution::errors::OciErrorCode;

use super::access::Access;
use super::failure::Failure;
use super::metrics::Metrics;
use super::namespace::{Namespace, Place};
use super::route::Query;
use super::settings::Settings;
use crate::reference::{is_repository, is_tag};

/// What every request meets.
pub(super) struct Hall {
    pub(super) namespace: Namespace,
    pub(super) settings: Settings,
    /// Who may come in; everybody, if there is none.
    pub(super) access: Option<Access>,
    pub(super) is_encrypted: bool,
    pub(super) metrics: Metrics,
}

/// A request without its body.
pub(super) struct Ask {
    pub(super) hall: Arc<Hall>,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) query: Query,
}

impl Ask {
    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// A header as text. One that is none counts as absent.
    pub(super) fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The registry that a proxy's client means (distribution-spec, "Registry Proxying").
    pub(super) fn host(&self) -> Option<&str> {
        self.query.get("ns").filter(|host| !host.is_empty())
    }

    /// The repository of a name. Waits for the disk.
    ///
    /// # Errors
    /// `NAME_INVALID`, `NAME_UNKNOWN`.
    pub(super) fn place(&self, name: &str) -> Result<Place, Failure> {
        check(name)?;
        self.hall.namespace.find(name, self.host())?.ok_or_else(|| unknown(name))
    }

    /// Whether the client takes an answer of a media type.
    pub(super) fn accepts(&self, media_type: &str) -> bool {
        let mut accepted = self.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
        if accepted.peek().is_none() {
            return true;
        }
        accepted.flat_map(|value| value.split(',')).any(|range| {
            let range = range.split(';').next().unwrap_or_default().trim();
            // Whoever asks for JSON gets what there is: curl, and tools that know no better.
            matches!(range, "*/*" | "application/*" | "application/json") || range.eq_ignore_ascii_case(media_type)
        })
    }

    /// Whether the client has this already (RFC 9110, "If-None-Match").
    pub(super) fn has(&self, tag: &str) -> bool {
        self.lists(IF_NONE_MATCH, tag)
    }

    /// Whether a change is only wanted if something else is there than this (`None`: nothing).
    pub(super) fn is_wrong_state(&self, current: Option<&str>) -> bool {
        let is_listed = |name| current.is_some_and(|tag| self.lists(name, tag));
        self.headers.contains_key(IF_MATCH) && !is_listed(IF_MATCH)
            || self.headers.contains_key(IF_NONE_MATCH) && is_listed(IF_NONE_MATCH)
    }

    fn lists(&self, name: impl AsHeaderName, tag: &str) -> bool {
        let values = self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|listed| {
            let listed = listed.trim();
            listed == "*" || listed.strip_prefix("W/").unwrap_or(listed) == tag
        })
    }
}

/// What a manifest is asked for by.
pub(super) enum Reference {
    Tag(String),
    Digest(Digest),
}

impl Reference {
    /// # Errors
    /// `DIGEST_INVALID`, and `MANIFEST_INVALID` for what can be no tag.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if text.contains(':') {
            Ok(Self::Digest(parse_digest(text)?))
        } else if is_tag(text) {
            Ok(Self::Tag(text.to_owned()))
        } else {
            Err(Failure::bad(OciErrorCode::ManifestInvalid, format!("{text:?} is not a valid tag")))
        }
    }
}

pub(super) fn parse_digest(text: &str) -> Result<Digest, Failure> {
    digest::parse(text).map_err(|error| Failure::bad(OciErrorCode::DigestInvalid, error.to_string()))
}

pub(super) fn check(name: &str) -> Result<(), Failure> {
    if is_repository(name) {
        Ok(())
    } else {
        let name: String = name.chars().take(80).collect();
        Err(Failure::bad(OciErrorCode::NameInvalid, format!("{name:?} is not a valid repository name")))
    }
}

pub(super) fn unknown(name: &str) -> Failure {
    Failure::missing(OciErrorCode::NameUnknown, format!("there is no repository {name}"))
}

/// The entity tag of what has a digest.
pub(super) fn entity_tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}
