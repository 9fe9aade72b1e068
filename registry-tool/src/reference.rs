//! Names of images as people type them, on `oci_distribution::Reference`.
//!
//! The crate's type knows docker's normalisation (`python` is `docker.io/library/python:latest`) but forgets what was
//! typed, and that matters here: a pull into a bare layout stores the name as typed, an alias applies to short names
//! only, and docker says so when it chose the tag `latest` itself. [`ImageName`] keeps both. It owns no file and no
//! connection; [`crate::mirror`] says where a name's bytes are to be had.

use std::fmt;
use std::str::FromStr;

use oci_distribution::{ParseError, Reference};
use thiserror::Error;

/// The registry that a name without one means.
pub const DOCKER_HUB: &str = "docker.io";

/// Why a text is not the name of an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NameError {
    /// A transport prefix as skopeo has it: here the operand's position says what it is.
    #[error("{name:?}: write {bare:?}, without the transport prefix")]
    Transport {
        /// What was typed.
        name: String,
        /// What would have been right.
        bare: String,
    },
    /// A URL where a name belongs.
    #[error("{0:?}: a reference has no scheme: write host[:port]/repository[:tag]")]
    Scheme(String),
    /// 64 hexadecimal digits alone, which docker keeps for image ids.
    #[error("{0:?}: 64 hexadecimal digits cannot be a repository's name (a digest is written repository@sha256:…)")]
    Hexadecimal(String),
    /// The reference grammar says no.
    #[error("{name:?}: {source}")]
    Grammar {
        /// What was typed.
        name: String,
        /// The crate's reason.
        source: ParseError,
    },
    /// Not `host[:port]`.
    #[error("{0:?}: not a registry: write host or host:port")]
    Registry(String),
    /// Something that no tag or digest may follow.
    #[error("{0:?}: only a repository is meant here: leave off the tag or digest")]
    NotRepository(String),
}

/// The name of an image, and how it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    reference: Reference,
    typed: String,
}

impl ImageName {
    /// The registry's host and port, `docker.io` for a name without one.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.reference.registry()
    }

    /// The repository within the registry, `library/python` for `python`.
    #[must_use]
    pub fn repository(&self) -> &str {
        self.reference.repository()
    }

    /// The tag; `latest` where neither tag nor digest was typed.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.reference.tag()
    }

    /// The digest, if one was typed.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.reference.digest()
    }

    /// The name exactly as it was typed.
    #[must_use]
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// The crate's own type.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Whether no registry was typed, so that short-name aliases and search registries apply.
    #[must_use]
    pub fn is_short(&self) -> bool {
        match self.typed.split_once('/') {
            None => true,
            Some((first, _)) => !names_a_host(first),
        }
    }

    /// Whether neither tag nor digest was typed: docker then says `Using default tag: latest`.
    #[must_use]
    pub fn has_default_tag(&self) -> bool {
        self.digest().is_none() && self.tag() == Some("latest") && !self.typed.ends_with(":latest")
    }

    /// The repository as docker shows it: without `docker.io` and `library/`.
    #[must_use]
    pub fn familiar_repository(&self) -> String {
        if self.registry() == DOCKER_HUB {
            let repository = self.repository();
            repository.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(repository).to_owned()
        } else {
            format!("{}/{}", self.registry(), self.repository())
        }
    }

    /// The name as docker shows it in `Status:`: the familiar repository with tag or digest.
    #[must_use]
    pub fn familiar(&self) -> String {
        match (self.digest(), self.tag()) {
            (Some(digest), _) => format!("{}@{digest}", self.familiar_repository()),
            (None, tag) => format!("{}:{}", self.familiar_repository(), tag.unwrap_or("latest")),
        }
    }

    /// The same tag or digest in another repository: what a short-name alias resolves to.
    #[must_use]
    pub fn relocated(&self, registry: &str, repository: &str) -> Self {
        Self { reference: relocate(&self.reference, registry, repository), typed: self.typed.clone() }
    }
}

/// `reference` with its registry and repository replaced.
pub(crate) fn relocate(reference: &Reference, registry: &str, repository: &str) -> Reference {
    let (registry, repository) = (registry.to_owned(), repository.to_owned());
    match (reference.tag(), reference.digest()) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(registry, repository, tag.into(), digest.into()),
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest.into()),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or("latest").into()),
    }
}

/// The whole name: `docker.io/library/python:3.8`.
impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        for transport in ["docker://", "oci-registry:", "registry:"] {
            if let Some(bare) = name.strip_prefix(transport) {
                return Err(NameError::Transport { name: name.into(), bare: bare.into() });
            }
        }
        if name.contains("://") {
            return Err(NameError::Scheme(name.into()));
        }
        if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NameError::Hexadecimal(name.into()));
        }
        let grammar = |source| NameError::Grammar { name: name.into(), source };
        let reference = match bracketed_host(name) {
            // The crate's grammar has no IPv6 hosts; docker's has had them since 23.0. The rest of the name is parsed
            // behind a host that needs no normalisation.
            Some((host, rest)) => {
                let rest: Reference = format!("localhost/{rest}").parse().map_err(grammar)?;
                relocate(&rest, host, rest.repository())
            }
            None => name.parse().map_err(|source| match source {
                ParseError::ReferenceInvalidFormat if is_valid_lowercased(name) => {
                    grammar(ParseError::NameContainsUppercase)
                }
                source => grammar(source),
            })?,
        };
        Ok(Self { reference, typed: name.into() })
    }
}

/// Whether the first component of a name is a registry rather than a part of a Docker Hub repository.
fn names_a_host(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

fn is_valid_lowercased(name: &str) -> bool {
    Reference::try_from(name.to_ascii_lowercase().as_str()).is_ok()
}

/// Splits `[::1]:5000/rest` at its slash, if the host is an IPv6 address in brackets.
fn bracketed_host(name: &str) -> Option<(&str, &str)> {
    let (host, rest) = name.split_once('/')?;
    is_bracketed(host).then_some((host, rest))
}

fn is_bracketed(host: &str) -> bool {
    let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) else { return false };
    let port_is_valid = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    address.parse::<std::net::Ipv6Addr>().is_ok() && port_is_valid
}

/// A registry alone, as `login`, `catalog` and `search` take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryHost(String);

impl RegistryHost {
    /// `host` or `host:port`; Docker Hub is `docker.io` under each of its names.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Docker Hub.
    #[must_use]
    pub fn docker_hub() -> Self {
        Self(DOCKER_HUB.to_owned())
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RegistryHost {
    type Err = NameError;

    /// Takes `docker login`'s spellings too: a scheme before and a path behind are dropped, as docker does.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let invalid = || NameError::Registry(text.into());
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let host = rest.split('/').next().unwrap_or_default();
        if matches!(host, "index.docker.io" | "registry-1.docker.io" | DOCKER_HUB) {
            return Ok(Self::docker_hub());
        }
        if is_bracketed(host) {
            return Ok(Self(host.into()));
        }
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        let name_is_valid =
            !name.is_empty() && name.split('.').all(|label| !label.is_empty() && label.bytes().all(is_host_byte));
        if !name_is_valid || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(invalid());
        }
        Ok(Self(host.into()))
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// A repository alone, as `tags` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryName(ImageName);

impl RepositoryName {
    /// The repository as the name of its image `latest`.
    #[must_use]
    pub fn image(&self) -> &ImageName {
        &self.0
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let image: ImageName = text.parse()?;
        if image.has_default_tag() { Ok(Self(image)) } else { Err(NameError::NotRepository(text.into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> ImageName {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn names_are_normalised_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let with_digest = format!("python:3.8@{digest}");
        let cases = [
            ("python", "docker.io/library/python:latest", "python:latest"),
            ("python:3.8", "docker.io/library/python:3.8", "python:3.8"),
            ("docker.io/python", "docker.io/library/python:latest", "python:latest"),
            ("index.docker.io/library/python:3.8", "docker.io/library/python:3.8", "python:3.8"),
            ("xag/my_flask_web", "docker.io/xag/my_flask_web:latest", "xag/my_flask_web:latest"),
            ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
            ("localhost:5000/a/b:1", "localhost:5000/a/b:1", "localhost:5000/a/b:1"),
            ("[::1]:5000/a:1", "[::1]:5000/a:1", "[::1]:5000/a:1"),
            ("quay.io/centos/centos", "quay.io/centos/centos:latest", "quay.io/centos/centos:latest"),
        ];
        for (typed, canonical, familiar) in cases {
            let parsed = name(typed);
            assert_eq!(parsed.to_string(), canonical, "{typed}");
            assert_eq!(parsed.familiar(), familiar, "{typed}");
            assert_eq!(parsed.typed(), typed);
        }
        assert_eq!(name(&with_digest).familiar(), format!("python@{digest}"));
    }

    #[test]
    fn short_is_what_has_no_registry() {
        for (typed, short) in [("a", true), ("a/b", true), ("a.b/c", false), ("localhost/c", false), ("h:1/c", false)] {
            assert_eq!(name(typed).is_short(), short, "{typed}");
        }
    }

    #[test]
    fn the_default_tag_is_one_that_nobody_typed() {
        for (typed, default) in [("a", true), ("a:latest", false), ("a:1", false), ("h:1/a", true)] {
            assert_eq!(name(typed).has_default_tag(), default, "{typed}");
        }
    }

    #[test]
    fn a_bad_name_is_refused_with_the_reason() {
        let hexadecimal = "a".repeat(64);
        let cases = [
            ("docker://python", "write \"python\""),
            ("https://example.com/a", "no scheme"),
            ("Python", "must be lowercase"),
            ("", "at least one component"),
            ("a:", "invalid reference format"),
            ("a@sha256:abc", "invalid reference format"),
            ("../a", "invalid reference format"),
            ("a b", "invalid reference format"),
            (&hexadecimal, "64 hexadecimal digits"),
            ("[::x]:1/a", "invalid reference format"),
        ];
        for (typed, reason) in cases {
            let error = typed.parse::<ImageName>().expect_err(typed).to_string();
            assert!(error.contains(reason), "{typed}: {error}");
        }
    }

    #[test]
    fn a_registry_is_a_host_with_or_without_a_port() {
        let cases = [
            ("https://index.docker.io/v1/", Some("docker.io")),
            ("docker.io", Some("docker.io")),
            ("localhost:5000", Some("localhost:5000")),
            ("http://example.com/v2/", Some("example.com")),
            ("[::1]:80", Some("[::1]:80")),
            ("registry", Some("registry")),
            ("a:b", None),
            ("a b", None),
            ("", None),
            ("a@b", None),
        ];
        for (text, expected) in cases {
            let parsed = text.parse::<RegistryHost>().ok();
            assert_eq!(parsed.as_ref().map(RegistryHost::as_str), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_then_parsing_is_the_identity(
            host in "(([a-z][a-z0-9]{0,5}\\.){1,2}[a-z]{2,4}|localhost)(:[1-9][0-9]{0,3})?",
            repository in "[a-z0-9]{1,6}([._-][a-z0-9]{1,4})?(/[a-z0-9]{1,5}){0,2}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}"),
            digest in proptest::option::of("[0-9a-f]{64}"),
        ) {
            let mut text = format!("{host}/{repository}");
            if let Some(tag) = &tag { text = format!("{text}:{tag}"); }
            if let Some(digest) = &digest { text = format!("{text}@sha256:{digest}"); }
            let parsed: ImageName = text.parse().unwrap();
            let again: ImageName = parsed.to_string().parse().unwrap();
            prop_assert_eq!(parsed.reference(), again.reference());
            prop_assert_eq!(again.to_string(), parsed.to_string());
            if tag.is_some() || digest.is_some() { prop_assert_eq!(parsed.to_string(), text); }
        }

        #[test]
        fn parsing_never_panics(text in ".{0,80}") {
            let _ = text.parse::<ImageName>();
            let _ = text.parse::<RegistryHost>();
        }
    }
}
