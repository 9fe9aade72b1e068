//! A request without its body, and what several kinds of requests have in common.

use std::sync::Arc;

use hyper::header::{ACCEPT, AsHeaderName, IF_MATCH, IF_NONE_MATCH};
use hyper::{HeaderMap, Method};
use image_tool::address::digest::{self, Digest};
use oci_distribution::errors::OciErrorCode;

use super::access::{Access, Caller};
use super::failure::{Failure, blocking};
use super::metrics::Metrics;
use super::mirror::{Fetch, Mirror, Origin};
use super::namespace::{Namespace, Place};
use super::route::Query;
use super::rules::{Right, Rules};
use super::settings::Settings;
use super::store::Store;
use crate::reference::{ImageName, is_repository, is_tag};

/// Who is let in, and what they may do.
#[derive(Default)]
pub struct Guard {
    /// Who may come in; everybody, if there is none.
    pub access: Option<Access>,
    /// What they may do with which repositories; everything, if there is none.
    pub rules: Option<Rules>,
}

/// What every request meets.
pub(super) struct Hall {
    pub(super) namespace: Namespace,
    pub(super) settings: Settings,
    pub(super) guard: Guard,
    /// Where that comes from which the namespace lacks.
    pub(super) mirror: Option<Mirror>,
    pub(super) is_encrypted: bool,
    pub(super) metrics: Metrics,
}

/// A request without its body.
pub(super) struct Ask {
    pub(super) hall: Arc<Hall>,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) query: Query,
    pub(super) caller: Caller,
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
        self.find(name)?.ok_or_else(|| unknown(name))
    }

    /// As [`Self::place`]; `None` if there is none.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn find(&self, name: &str) -> Result<Option<Place>, Failure> {
        let origin = self.origin(name);
        Ok(self.hall.namespace.find(origin.repository, origin.host)?)
    }

    /// Which registry's repository a name means.
    pub(super) fn origin<'a>(&'a self, name: &'a str) -> Origin<'a> {
        match &self.hall.mirror {
            Some(mirror) => mirror.origin(name, self.host()),
            None => Origin { host: self.host(), repository: name, is_mirrored: false },
        }
    }

    /// The name of an image at the registry that it is fetched from, by tag or digest, if that is mirrored here.
    ///
    /// # Errors
    /// `NAME_INVALID`.
    pub(super) fn elsewhere(&self, name: &str, reference: &str) -> Result<Option<(&Mirror, ImageName)>, Failure> {
        check(name)?;
        let origin = self.origin(name);
        let (Some(mirror), Some(host), true) = (&self.hall.mirror, origin.host, origin.is_mirrored) else {
            return Ok(None);
        };
        let mark = if reference.contains(':') { '@' } else { ':' };
        let image = format!("{host}/{}{mark}{reference}", origin.repository).parse::<ImageName>();
        let image = image.map_err(|error| Failure::bad(OciErrorCode::NameInvalid, error.to_string()))?;
        Ok(Some((mirror, image)))
    }

    /// How an image, or a blob by its digest, is fetched from elsewhere; `None` if it is not.
    ///
    /// # Errors
    /// `NAME_INVALID`, and those of the disk.
    pub(super) async fn fetch(self: &Arc<Self>, name: &str, reference: &str) -> Result<Option<Fetch<'_>>, Failure> {
        let Some((mirror, image)) = self.elsewhere(name, reference)? else { return Ok(None) };
        let (asked, repository) = (Arc::clone(self), name.to_owned());
        let place = blocking(move || asked.place(&repository)).await?;
        let tag = match image.digest() {
            Some(_) => None,
            None => {
                let text = Store::reference(&place.repository, image.tag().unwrap_or("latest"));
                let invalid =
                    |error: image_tool::address::Error| Failure::bad(OciErrorCode::NameInvalid, error.to_string());
                Some(text.parse().map_err(invalid)?)
            }
        };
        Ok(Some(mirror.fetch(place.store, image, tag)))
    }

    /// Whether the client may do something with a repository.
    pub(super) fn may(&self, right: Right, name: &str) -> bool {
        let Some(rules) = &self.hall.guard.rules else { return true };
        let origin = self.origin(name);
        let spellings = self.hall.namespace.spellings(origin.repository, origin.host);
        rules.allow(self.caller.name(), &spellings, right)
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
