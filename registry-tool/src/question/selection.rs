//! Which images of which registries are meant by the file of `sync`: skopeo's format (skopeo-sync(1)), and globs beside.
//!
//! A file is parsed before any registry is asked; what is not understood is refused, as it might narrow what is copied, or say as whom.

use std::collections::BTreeMap;

use regex::Regex;
use semver::{Version, VersionReq};
use serde::Deserialize;
use thiserror::Error;

use crate::reference::{ImageName, NameError};

/// Why a file does not say which images are meant.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// It is not YAML, or has fields that the format has not.
    #[error(transparent)]
    Syntax(#[from] serde_saphyr::Error),
    /// It has a field of the format that is not supported.
    #[error("{host}: {field} is not supported ({hint})")]
    Unsupported {
        /// The registry.
        host: String,
        /// The field.
        field: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// A filter is not valid.
    #[error("{host}: {repository}: {filter:?}: {reason}")]
    Filter {
        /// The registry.
        host: String,
        /// The repository.
        repository: String,
        /// The filter.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Some images of one repository.
#[derive(Clone, Debug)]
pub struct Selection {
    host: String,
    repository: String,
    which: Which,
    is_insecure: bool,
}

#[derive(Clone, Debug)]
enum Which {
    /// Those with one of these tags or digests.
    These(Vec<String>),
    /// All of them.
    All,
    /// Those whose tag has a match.
    Like(Regex),
    /// Those whose tag is a version that meets each requirement of one alternative.
    Versions(Vec<VersionReq>),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Registry {
    #[serde(default)]
    images: BTreeMap<String, Option<Vec<String>>>,
    #[serde(default)]
    images_by_tag_regex: BTreeMap<String, String>,
    #[serde(default)]
    images_by_tag_glob: BTreeMap<String, String>,
    #[serde(default)]
    images_by_semver: BTreeMap<String, String>,
    credentials: Option<serde::de::IgnoredAny>,
    tls_verify: Option<bool>,
    cert_dir: Option<serde::de::IgnoredAny>,
}

/// Reads a file.
///
/// # Errors
/// [`SelectionError`].
pub fn parse(text: &str) -> Result<Vec<Selection>, SelectionError> {
    // The lines around an error would not be one line.
    let options = serde_saphyr::options! { with_snippet: false };
    let registries: BTreeMap<String, Registry> = serde_saphyr::from_str_with_options(text, options)?;
    let mut found = Vec::new();
    for (host, registry) in registries {
        registry.check(&host)?;
        let mut add = |repository: String, which| {
            // A name that is not valid is refused before anything is copied.
            format!("{host}/{repository}").parse::<ImageName>()?;
            let is_insecure = registry.tls_verify == Some(false);
            found.push(Selection { host: host.clone(), repository, which, is_insecure });
            Ok::<_, SelectionError>(())
        };
        for (repository, tags) in registry.images {
            let tags = tags.unwrap_or_default();
            add(repository, if tags.is_empty() { Which::All } else { Which::These(tags) })?;
        }
        let wrong = |repository: &str, filter: &str, reason: String| SelectionError::Filter {
            host: host.clone(),
            repository: repository.to_owned(),
            filter: filter.to_owned(),
            reason,
        };
        for (repository, filter) in registry.images_by_tag_regex {
            let regex =
                Regex::new(&filter).map_err(|_| wrong(&repository, &filter, "not a valid expression".into()))?;
            add(repository, Which::Like(regex))?;
        }
        for (repository, filter) in registry.images_by_tag_glob {
            let regex = glob(&filter).map_err(|error| wrong(&repository, &filter, error.to_string()))?;
            add(repository, Which::Like(regex))?;
        }
        for (repository, filter) in registry.images_by_semver {
            let versions = requirements(&filter).map_err(|reason| wrong(&repository, &filter, reason))?;
            add(repository, Which::Versions(versions))?;
        }
    }
    Ok(found)
}

impl Registry {
    fn check(&self, host: &str) -> Result<(), SelectionError> {
        let fields = [
            ("credentials", self.credentials.is_some(), "registry-tool login stores them"),
            ("cert-dir", self.cert_dir.is_some(), "certificates are in certs.d"),
        ];
        match fields.into_iter().find(|(_, is_there, _)| *is_there) {
            Some((field, _, hint)) => Err(SelectionError::Unsupported { host: host.to_owned(), field, hint }),
            None => Ok(()),
        }
    }
}

impl Selection {
    /// The name of the repository.
    ///
    /// # Errors
    /// None for one that was parsed.
    pub fn repository(&self) -> Result<ImageName, NameError> {
        format!("{}/{}", self.host, self.repository).parse()
    }

    /// The registry, if the file says that it may use plain http or a certificate that cannot be verified (`tls-verify: false`).
    #[must_use]
    pub fn insecure_host(&self) -> Option<&str> {
        self.is_insecure.then_some(&self.host)
    }

    /// Whether the tags of the repository must be known.
    #[must_use]
    pub fn needs_tags(&self) -> bool {
        !matches!(self.which, Which::These(_))
    }

    /// The images that are meant, where the repository has these tags.
    ///
    /// # Errors
    /// If a tag or digest in the file is not valid.
    pub fn names(&self, tags: &[String]) -> Result<Vec<ImageName>, NameError> {
        let chosen: Vec<&String> = match &self.which {
            Which::These(these) => these.iter().collect(),
            Which::All => tags.iter().collect(),
            Which::Like(regex) => tags.iter().filter(|tag| regex.is_match(tag)).collect(),
            Which::Versions(versions) => {
                let is_meant = |tag: &&String| {
                    version(tag).is_some_and(|version| versions.iter().any(|wanted| wanted.matches(&version)))
                };
                tags.iter().filter(is_meant).collect()
            }
        };
        let name = |tag: &String| {
            let separator = if tag.contains(':') { '@' } else { ':' };
            format!("{}/{}{separator}{tag}", self.host, self.repository).parse()
        };
        chosen.into_iter().map(name).collect()
    }
}

/// The name that an image gets below `prefix`, a registry or a part of one: its repository's last part, or with `is_scoped` all of its
/// name.
///
/// # Errors
/// If that is not a valid name.
pub fn below(prefix: &str, name: &ImageName, is_scoped: bool) -> Result<ImageName, NameError> {
    let prefix = prefix.trim_end_matches('/');
    let path = if is_scoped {
        // A port would be a tag.
        format!("{}/{}", name.registry().replace(':', "-"), name.repository())
    } else {
        name.repository().rsplit('/').next().unwrap_or_default().to_owned()
    };
    match (name.tag(), name.digest()) {
        (Some(tag), _) => format!("{prefix}/{path}:{tag}").parse(),
        (None, Some(digest)) => format!("{prefix}/{path}@{digest}").parse(),
        (None, None) => format!("{prefix}/{path}").parse(),
    }
}

/// A pattern in which `*` is any text and `?` any character.
fn glob(text: &str) -> Result<Regex, regex::Error> {
    let inner = regex::escape(text).replace(r"\*", ".*").replace(r"\?", ".");
    Regex::new(&format!("^(?:{inner})$"))
}

/// A tag as a version. `v3.12` is 3.12.0, as skopeo has it.
fn version(tag: &str) -> Option<Version> {
    let tag = tag.strip_prefix('v').unwrap_or(tag);
    let end = tag.find(['-', '+']).unwrap_or(tag.len());
    let (numbers, rest) = tag.split_at(end);
    let missing = 2usize.checked_sub(numbers.matches('.').count())?;
    Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

/// Alternatives, separated by `||`, each of requirements that all must be met, separated by commas or spaces. A number alone means
/// that very version, with as many of its parts as are given.
fn requirements(text: &str) -> Result<Vec<VersionReq>, String> {
    let invalid = || "not a valid requirement of a version".to_owned();
    let one = Regex::new(r"^\s*(>=|<=|>|<|=|~|\^)?\s*v?([0-9xX*][^\s,]*)(?:\s*,\s*|\s+|$)").expect("a constant");
    let range = Regex::new(r"^\s*(\S+)\s+-\s+(\S+)\s*$").expect("a constant");
    let mut found = Vec::new();
    for alternative in text.split("||") {
        let alternative = range.replace(alternative, ">=$1, <=$2");
        let (mut rest, mut parts) = (alternative.trim(), Vec::new());
        while !rest.is_empty() {
            let part = one.captures(rest).ok_or_else(invalid)?;
            let operator = part.get(1).map_or("=", |operator| operator.as_str());
            parts.push(match &part[2] {
                "*" | "x" | "X" => "*".to_owned(),
                version => format!("{operator}{version}"),
            });
            rest = &rest[part[0].len()..];
        }
        if parts.is_empty() {
            return Err(invalid());
        }
        found.push(VersionReq::parse(&parts.join(", ")).map_err(|error| error.to_string())?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: [&str; 9] =
        ["1", "1.2", "1.2.3", "v1.3.0", "2.0.0", "2.1.0-rc1", "latest", "3.12.1", "1.13.1-alpine-perl"];

    #[test]
    fn a_registry_is_insecure_if_the_file_says_so() {
        let text = "a.example: {tls-verify: false, images: {x: []}}\nb.example: {tls-verify: true, images: {x: []}}\nc.example: {images: {x: []}}";
        let found: Vec<_> = parse(text).unwrap().iter().map(|one| one.insecure_host().map(str::to_owned)).collect();
        assert_eq!(found, [Some("a.example".to_owned()), None, None]);
    }

    fn chosen(text: &str) -> Vec<String> {
        let tags = TAGS.map(str::to_owned);
        let mut all = Vec::new();
        for selection in parse(text).unwrap() {
            let names = selection.names(if selection.needs_tags() { &tags } else { &[] }).unwrap();
            all.extend(names.iter().map(|name| name.typed().to_owned()));
        }
        all
    }

    #[test]
    fn the_file_of_skopeos_manual_is_understood() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let text = format!(
            "registry.example.com:
    images:
        busybox: []
        redis:
            - \"1.0\"
            - \"{digest}\"
    images-by-tag-regex:
        nginx: ^1\\.13\\.[12]-alpine-perl$
    images-by-semver:
        alpine: \">= 3.12.0\"
    tls-verify: true
quay.io:
    tls-verify: false
    images:
        coreos/etcd:
            - latest
"
        );
        let names = chosen(&text);
        let expected: Vec<String> = ["quay.io/coreos/etcd:latest".to_owned()]
            .into_iter()
            .chain(TAGS.map(|tag| format!("registry.example.com/busybox:{tag}")))
            .chain([
                "registry.example.com/redis:1.0".to_owned(),
                format!("registry.example.com/redis@{digest}"),
                "registry.example.com/nginx:1.13.1-alpine-perl".to_owned(),
                "registry.example.com/alpine:3.12.1".to_owned(),
            ])
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn filters_choose_among_tags() {
        for (filter, expected) in [
            ("glob: {a: '1.2*'}", &["1.2", "1.2.3"][..]),
            ("glob: {a: '?'}", &["1"]),
            ("regex: {a: 'st$'}", &["latest"]),
            ("semver: {a: '1.2'}", &["1.2", "1.2.3"]),
            ("semver: {a: '=1.2.3'}", &["1.2.3"]),
            ("semver: {a: '^1.2'}", &["1.2", "1.2.3", "v1.3.0"]),
            ("semver: {a: '~1.2.0'}", &["1.2", "1.2.3"]),
            ("semver: {a: '>=1.2 <1.3'}", &["1.2", "1.2.3"]),
            ("semver: {a: '> 1.2.0, < 2 || 3.x'}", &["1.2.3", "v1.3.0", "3.12.1"]),
            ("semver: {a: '1.2.1 - 2.0.0'}", &["1.2.3", "v1.3.0", "2.0.0"]),
            ("semver: {a: '>=2.1.0-rc0'}", &["2.1.0-rc1", "3.12.1"]),
            ("semver: {a: '*'}", &["1", "1.2", "1.2.3", "v1.3.0", "2.0.0", "3.12.1"]),
        ] {
            let key = if filter.starts_with("semver") { "images-by-" } else { "images-by-tag-" };
            let expected: Vec<String> = expected.iter().map(|tag| format!("r.example/a:{tag}")).collect();
            assert_eq!(chosen(&format!("r.example: {{{key}{filter}}}")), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, said) in [
            ("r.example: {images: {a: [1", ""),
            ("r.example: {image: {a: []}}", "image"),
            (
                "r.example: {credentials: {username: a, password: b}}",
                "credentials is not supported (registry-tool login",
            ),
            ("r.example: {cert-dir: /x}", "certs.d"),
            ("r.example: {images-by-tag-regex: {a: '('}}", "r.example: a: \"(\": not a valid expression"),
            ("r.example: {images-by-semver: {a: '!=1'}}", "not a valid requirement"),
            ("r.example: {images-by-semver: {a: ''}}", "not a valid requirement"),
            ("r.example: {images: {UPPER: []}}", "UPPER"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{text}: {error}");
        }
    }

    #[test]
    fn a_copy_has_the_last_part_of_its_name_or_all_of_it() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (name, is_scoped, expected) in [
            ("quay.io/coreos/etcd:1", false, "h.example/x/etcd:1".to_owned()),
            ("quay.io/coreos/etcd:1", true, "h.example/x/quay.io/coreos/etcd:1".to_owned()),
            ("localhost:5000/a", true, "h.example/x/localhost-5000/a:latest".to_owned()),
            (&format!("python@{digest}"), false, format!("h.example/x/python@{digest}")),
        ] {
            let name: ImageName = name.parse().unwrap();
            assert_eq!(below("h.example/x/", &name, is_scoped).unwrap().typed(), expected);
        }
    }
}
