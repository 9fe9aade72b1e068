//! Names of images as people type them, on `oci_distribution::Reference`.
//!
//! The crate's type is a normalised name (`python` is `docker.io/library/python:latest`) and forgets what was typed, and
//! that matters here: a pull into a bare layout stores the name as typed, an alias applies to short names
//! only, and docker says so when it chose the tag `latest` itself. [`ImageName`] keeps both. It owns no file and no
//! connection; the room `place` says where a name's bytes are to be had.

use std::fmt;
use std::str::FromStr;

use image_tool::address::digest::{self, Digest};
use oci_distribution::{ParseError, Reference};
use thiserror::Error;

/// The registry that a name without one means.
pub const DOCKER_HUB: &str = "docker.io";

/// Why a text is not the name of an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NameError {
    /// A transport prefix as skopeo has it: here an operand's position says what it is.
    #[error("{name:?}: write {bare:?}, without the transport prefix")]
    Transport {
        /// The name as typed.
        name: String,
        /// The same name without the prefix.
        bare: String,
    },
    /// A URL where a name belongs.
    #[error("{0:?}: a reference has no scheme (write host[:port]/repository[:tag])")]
    Scheme(String),
    /// 64 hexadecimal digits alone, which docker reserves for image ids.
    #[error("{0:?}: 64 hexadecimal digits cannot be a repository's name (a digest is written repository@sha256:…)")]
    Hexadecimal(String),
    /// The grammar of references does not allow it.
    #[error("{name:?}: {source}")]
    Grammar {
        /// The name as typed.
        name: String,
        /// The rule that it breaks.
        source: ParseError,
    },
    /// A registry that is not `host[:port]`.
    #[error("{0:?}: not a valid registry (write host or host:port)")]
    Registry(String),
    /// A name without a digest where only a digest names the thing.
    #[error("{0:?}: expected REPOSITORY@DIGEST, without tag")]
    NotBlob(String),
    /// A tag or digest where only a repository is meant.
    #[error("{0:?}: expected a repository, without tag or digest")]
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

    /// The name as it was typed, without its digest: what a layout keeps as the ref. A digest alone gives none.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        match self.digest() {
            Some(_) if self.tag().is_none() => None,
            Some(_) => Some(self.typed.rsplit_once('@').map_or(&self.typed, |(label, _)| label)),
            None => Some(&self.typed),
        }
    }

    /// What a registry is asked for (distribution-spec, `<reference>`): the digest if one was typed, else the tag.
    #[must_use]
    pub fn asked(&self) -> &str {
        self.digest().or(self.tag()).unwrap_or("latest")
    }

    /// The name with the digest that it has now, as commands print it.
    #[must_use]
    pub fn pinned(&self, digest: &str) -> String {
        let repository = format!("{}/{}", self.registry(), self.repository());
        match self.tag() {
            Some(tag) => format!("{repository}:{tag}@{digest}"),
            None => format!("{repository}@{digest}"),
        }
    }

    /// The normalised name.
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
        if let Some(bare) = name.strip_prefix("docker://") {
            return Err(NameError::Transport { name: name.into(), bare: bare.into() });
        }
        if name.contains("://") {
            return Err(NameError::Scheme(name.into()));
        }
        if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NameError::Hexadecimal(name.into()));
        }
        let reference = parse(name).map_err(|source| NameError::Grammar { name: name.into(), source })?;
        Ok(Self { reference, typed: name.into() })
    }
}

/// docker's grammar of names, `[host[:port]/]path[:tag][@digest]`, with docker's normalisation.
///
/// The crate's parser would compile a regular expression over Unicode first, which takes some fifty milliseconds of every
/// command; a property test holds the two against each other.
fn parse(text: &str) -> Result<Reference, ParseError> {
    if text.is_empty() {
        return Err(ParseError::NameEmpty);
    }
    let (rest, digest) = match text.rsplit_once('@') {
        Some((rest, digest)) => (rest, Some(check_digest(digest)?)),
        None => (text, None),
    };
    // A colon before the last slash is a port's.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(check_tag(tag)?)),
        _ => (rest, None),
    };
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if names_a_host(host) => (host, path),
        _ => (DOCKER_HUB, name),
    };
    if !is_host(host) {
        return Err(ParseError::ReferenceInvalidFormat);
    }
    check_path(path)?;
    let host = if host == "index.docker.io" { DOCKER_HUB } else { host };
    let library = if host == DOCKER_HUB && !path.contains('/') { "library/" } else { "" };
    let (host, path) = (host.to_owned(), format!("{library}{path}"));
    if path.len() > PATH_LIMIT {
        return Err(ParseError::NameTooLong);
    }
    Ok(match (tag, digest) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(host, path, tag.into(), digest.into()),
        (None, Some(digest)) => Reference::with_digest(host, path, digest.into()),
        (tag, None) => Reference::with_tag(host, path, tag.unwrap_or("latest").into()),
    })
}

/// distribution's own limit of a repository's name, in bytes.
const PATH_LIMIT: usize = 255;

/// Whether a text can be the name of a repository within its registry.
#[must_use]
pub fn is_repository(text: &str) -> bool {
    text.len() <= PATH_LIMIT && check_path(text).is_ok()
}

/// Whether a text can be a tag.
#[must_use]
pub fn is_tag(text: &str) -> bool {
    check_tag(text).is_ok()
}

/// One or more components of lower-case letters and digits, with one of `.`, `_`, `__` or any number of `-` between them.
fn check_path(path: &str) -> Result<(), ParseError> {
    if path.is_empty() {
        return Err(ParseError::NameEmpty);
    }
    let is_component = |component: &str| {
        let separators = component.split(|char: char| char.is_ascii_lowercase() || char.is_ascii_digit());
        let is_separator = |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
        let is_end = |char: Option<char>| char.is_some_and(|char| char.is_ascii_lowercase() || char.is_ascii_digit());
        is_end(component.chars().next()) && is_end(component.chars().last()) && separators.into_iter().all(is_separator)
    };
    if path.split('/').all(is_component) {
        Ok(())
    } else if path.to_ascii_lowercase().split('/').all(is_component) {
        Err(ParseError::NameContainsUppercase)
    } else {
        Err(ParseError::ReferenceInvalidFormat)
    }
}

fn check_tag(tag: &str) -> Result<&str, ParseError> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_valid = tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
    if is_valid { Ok(tag) } else { Err(ParseError::TagInvalidFormat) }
}

fn check_digest(digest: &str) -> Result<&str, ParseError> {
    let (algorithm, hex) = digest.split_once(':').ok_or(ParseError::DigestInvalidFormat)?;
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(ParseError::DigestUnsupported),
    };
    if !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(ParseError::DigestInvalidFormat);
    }
    if hex.len() == length { Ok(digest) } else { Err(ParseError::DigestInvalidLength) }
}

/// Whether the first component of a name is a registry rather than a part of a Docker Hub repository.
fn names_a_host(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

/// `host[:port]` of letters, digits, and hyphens and dots between them; or an IPv6 address in brackets, which the crate's grammar
/// does not have and docker's has had since 23.0.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let port_is_valid = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            return address.parse::<std::net::Ipv6Addr>().is_ok() && port_is_valid;
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| {
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(is_inner)
    };
    name.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// A registry alone, the operand of `login`, `logout` and `catalog`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryHost(String);

impl RegistryHost {
    /// `host` or `host:port`; Docker Hub is `docker.io` under each of its names.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The registry that `docker.io` names.
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

    /// Accepts `docker login`'s spellings too: a scheme before the host and a path after it are dropped, as docker does.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let host = rest.split('/').next().unwrap_or_default();
        if matches!(host, "index.docker.io" | "registry-1.docker.io" | DOCKER_HUB) {
            return Ok(Self::docker_hub());
        }
        if is_host(host) { Ok(Self(host.into())) } else { Err(NameError::Registry(text.into())) }
    }
}

/// A repository alone, the operand of `tags`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryName(ImageName);

impl RepositoryName {
    /// The repository as the name of its image `latest`.
    #[must_use]
    pub fn image(&self) -> &ImageName {
        &self.0
    }
}

/// A blob in a repository, by its digest: the operand of `blob`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobName {
    name: ImageName,
    digest: Digest,
}

impl BlobName {
    /// The repository and the digest, as the name of an image.
    #[must_use]
    pub fn image(&self) -> &ImageName {
        &self.name
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl FromStr for BlobName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name: ImageName = text.parse()?;
        match name.digest().map(digest::parse) {
            Some(Ok(digest)) if name.tag().is_none() => Ok(Self { name, digest }),
            _ => Err(NameError::NotBlob(text.into())),
        }
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

    #[test]
    fn a_repository_may_be_called_as_a_transport() {
        for (text, familiar) in
            [("registry:2", "registry:2"), ("oci-registry:1", "oci-registry:1"), ("docker:dind", "docker:dind")]
        {
            assert_eq!(text.parse::<ImageName>().unwrap().familiar(), familiar);
        }
        for text in ["docker://a", "registry:a/b", "docker://localhost:1/a"] {
            assert!(text.parse::<ImageName>().is_err(), "{text}");
        }
    }
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
            ("a:", "invalid tag format"),
            ("a:b c", "invalid tag format"),
            ("a@sha256:abc", "invalid checksum digest length"),
            ("a@sha256:XYZ", "invalid checksum digest format"),
            ("a@md5:abc", "unsupported digest algorithm"),
            ("a@b@sha256:abc", "invalid checksum digest length"),
            ("Foo/bar", "must be lowercase"),
            ("a//b", "invalid reference format"),
            ("a.b/", "at least one component"),
            ("a___b", "invalid reference format"),
            ("-a.b/c", "invalid reference format"),
            ("a:99999/b", "invalid reference format"),
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

    #[test]
    fn a_label_is_the_name_without_its_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (typed, label) in [
            ("python".to_owned(), Some("python")),
            (format!("python:3.8@{digest}"), Some("python:3.8")),
            (format!("python@{digest}"), None),
        ] {
            assert_eq!(name(&typed).label(), label, "{typed}");
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
        fn the_crates_parser_agrees(text in "(([a-z]{1,3}|localhost|index.docker.io|[A-Za-z]{1,2}\\.[a-z]{2}(:[0-9]{2})?)/)?[a-zA-Z0-9._/-]{1,12}(:[A-Za-z0-9_.-]{1,4})?(@sha256:[0-9a-f]{64})?") {
            match (parse(&text), Reference::try_from(text.as_str())) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
                (Err(_), Err(_)) => {}
                // It takes an upper-case component in front for a host, then puts it into the repository; docker refuses that.
                (Err(_), Ok(theirs)) => prop_assert!(
                    theirs.repository().chars().any(char::is_uppercase) || !is_host(theirs.registry()), "{}", text
                ),
                (Ok(ours), Err(error)) => prop_assert!(false, "{text}: {ours}: {error}"),
            }
        }

        #[test]
        fn parsing_never_panics(text in ".{0,80}") {
            let _ = text.parse::<ImageName>();
            let _ = text.parse::<RegistryHost>();
        }
    }
}
