//! registries.conf version 2 with drop-ins, as containers-registries.conf(5) defines it.
//!
//! The tables of version 1 (`[registries.search]` and its like) are understood too. Not read: `short-name-mode`
//! (nothing here asks a person) and `credential-helpers` (docker's `credHelpers` are, in [`crate::place::credentials`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use oci_distribution::Reference;
use serde::Deserialize;

use super::error::MirrorError;
use crate::place::configuration::if_there;
use crate::reference::relocate;

/// Everything that the files say.
#[derive(Clone, Debug, Default)]
pub(super) struct Registries {
    registries: Vec<Registry>,
    aliases: BTreeMap<String, (String, String)>,
    unqualified_search: Vec<String>,
}

/// One `[[registry]]` table.
#[derive(Clone, Debug)]
pub(super) struct Registry {
    prefix: String,
    /// Where the registry is, if not where the name says.
    pub(super) location: Option<String>,
    /// Whether certificates are not verified and plain http is allowed.
    pub(super) is_insecure: bool,
    is_blocked: bool,
    mirrors: Vec<Mirror>,
    mirror_by_digest_only: bool,
    path: PathBuf,
}

/// One `[[registry.mirror]]` table.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    /// What replaces the prefix of the name.
    pub(super) location: String,
    /// Whether the mirror's certificates are not verified and plain http is allowed.
    pub(super) is_insecure: bool,
    pull: PullFromMirror,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(default)]
    registry: Vec<RegistryTable>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    registries: Version1,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegistryTable {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorTable {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: PullFromMirror,
}

#[derive(Default, Deserialize)]
struct Version1 {
    #[serde(default)]
    search: Version1List,
    #[serde(default)]
    insecure: Version1List,
    #[serde(default)]
    block: Version1List,
}

#[derive(Default, Deserialize)]
struct Version1List {
    #[serde(default)]
    registries: Vec<String>,
}

impl Registries {
    pub(super) fn read(files: &[PathBuf], folders: &[PathBuf]) -> Result<Self, MirrorError> {
        let mut registries = Self::default();
        for file in files {
            if let Some(text) = read_if_there(file)? {
                registries.merge(&text, file)?;
                break;
            }
        }
        for folder in folders {
            for file in drop_ins(folder)? {
                if let Some(text) = read_if_there(&file)? {
                    registries.merge(&text, &file)?;
                }
            }
        }
        Ok(registries)
    }

    /// Merges a file into those read before: a registry with the same prefix and a search list are replaced, aliases are added
    /// one by one, and an empty alias removes one.
    fn merge(&mut self, text: &str, path: &Path) -> Result<(), MirrorError> {
        let syntax = |reason: String| MirrorError::Syntax { path: path.to_owned(), reason };
        let document: Document = toml::from_str(text).map_err(|error| syntax(one_line(text, &error)))?;
        for table in document.registry {
            let registry = Registry::from_table(table, path).map_err(syntax)?;
            self.insert(registry);
        }
        for (list, is_insecure, is_blocked) in
            [(document.registries.insecure, true, false), (document.registries.block, false, true)]
        {
            for prefix in list.registries {
                let mut registry = Registry::named(prefix, path);
                (registry.is_insecure, registry.is_blocked) = (is_insecure, is_blocked);
                self.insert(registry);
            }
        }
        if let Some(list) = document.unqualified_search_registries {
            self.unqualified_search = list;
        } else if !document.registries.search.registries.is_empty() {
            self.unqualified_search = document.registries.search.registries;
        }
        if !is_catalogue_of_short_names(path) {
            for (alias, target) in document.aliases {
                if target.is_empty() {
                    self.aliases.remove(&alias);
                    continue;
                }
                let Some((registry, repository)) = target.split_once('/') else {
                    return Err(syntax(format!("alias {alias:?}: {target:?} is not a valid host/repository")));
                };
                self.aliases.insert(alias, (registry.to_owned(), repository.to_owned()));
            }
        }
        Ok(())
    }

    fn insert(&mut self, registry: Registry) {
        self.registries.retain(|other| other.prefix != registry.prefix);
        self.registries.push(registry);
    }

    /// The table whose prefix matches most of the name.
    #[must_use]
    pub(super) fn find(&self, reference: &Reference) -> Option<&Registry> {
        let matching = self.registries.iter().filter_map(|entry| Some((entry.match_length(reference)?, entry)));
        matching.max_by_key(|(length, _)| *length).map(|(_, entry)| entry)
    }

    /// What a short name stands for: registry and repository.
    #[must_use]
    pub(super) fn alias(&self, short: &str) -> Option<(&str, &str)> {
        self.aliases.get(short).map(|(registry, repository)| (registry.as_str(), repository.as_str()))
    }

    /// The registries to try for a short name; empty if none are configured.
    #[must_use]
    pub(super) fn unqualified_search(&self) -> &[String] {
        &self.unqualified_search
    }
}

impl Registry {
    fn named(prefix: String, path: &Path) -> Self {
        Self {
            prefix,
            location: None,
            is_insecure: false,
            is_blocked: false,
            mirrors: Vec::new(),
            mirror_by_digest_only: false,
            path: path.to_owned(),
        }
    }

    fn from_table(table: RegistryTable, path: &Path) -> Result<Self, String> {
        let location = table.location.map(|location| location.trim_end_matches('/').to_owned());
        let prefix = match (table.prefix, &location) {
            (Some(prefix), _) if !prefix.is_empty() => prefix.trim_end_matches('/').to_owned(),
            (_, Some(location)) => location.clone(),
            (_, None) => return Err("a [[registry]] table needs a prefix or a location".into()),
        };
        let is_wildcard = prefix.starts_with("*.");
        if location.is_none() && !is_wildcard && table.mirror.is_empty() && !table.blocked && !table.insecure {
            return Err(format!("registry {prefix:?} has no effect: it needs a location or a mirror"));
        }
        for location in table.mirror.iter().map(|mirror| &mirror.location).chain(&location) {
            if location.is_empty() || location.contains("://") {
                return Err(format!("location {location:?} must be host[:port][/path], without a scheme"));
            }
        }
        let mirror = |table: MirrorTable| Mirror {
            location: table.location.trim_end_matches('/').to_owned(),
            is_insecure: table.insecure,
            pull: table.pull_from_mirror,
        };
        Ok(Self {
            location: location.filter(|location| *location != prefix),
            is_insecure: table.insecure,
            is_blocked: table.blocked,
            mirrors: table.mirror.into_iter().map(mirror).collect(),
            mirror_by_digest_only: table.mirror_by_digest_only,
            ..Self::named(prefix, path)
        })
    }

    /// Fails if the table says `blocked`.
    ///
    /// # Errors
    /// [`MirrorError::Blocked`].
    pub(super) fn check_allowed(&self) -> Result<(), MirrorError> {
        if self.is_blocked {
            return Err(MirrorError::Blocked { prefix: self.prefix.clone(), path: self.path.clone() });
        }
        Ok(())
    }

    /// The mirrors that may serve this reference, in order.
    pub(super) fn mirrors_for<'a>(&'a self, reference: &Reference) -> impl Iterator<Item = &'a Mirror> + use<'a> {
        let by_digest = reference.digest().is_some();
        self.mirrors.iter().filter(move |mirror| match mirror.pull {
            PullFromMirror::All => by_digest || !self.mirror_by_digest_only,
            PullFromMirror::DigestOnly => by_digest,
            PullFromMirror::TagOnly => !by_digest,
        })
    }

    /// How many bytes of the name the prefix covers, if it matches at a boundary of the name.
    fn match_length(&self, reference: &Reference) -> Option<usize> {
        if let Some(domain) = self.prefix.strip_prefix('*') {
            let registry = reference.registry();
            return (registry.ends_with(domain) && registry.len() > domain.len()).then_some(registry.len());
        }
        let whole = reference.to_string();
        let rest = whole.strip_prefix(self.prefix.as_str())?;
        // `host` must not match `host:5000/…`: the colon of a port is no boundary, that of a tag is.
        let in_repository = self.prefix.len() > reference.registry().len();
        let is_boundary = match rest.chars().next() {
            None | Some('/' | '@') => true,
            Some(':') => in_repository,
            Some(_) => false,
        };
        is_boundary.then_some(self.prefix.len())
    }

    /// The reference with the matched prefix replaced by `location`.
    ///
    /// # Errors
    /// The result must be `host/repository`.
    pub(super) fn rewrite(&self, reference: &Reference, location: &str) -> Result<Reference, MirrorError> {
        let invalid = || MirrorError::Location { location: location.to_owned(), path: self.path.clone() };
        let name = format!("{}/{}", reference.registry(), reference.repository());
        let rest = if self.prefix.starts_with('*') {
            name.strip_prefix(reference.registry())
        } else {
            name.strip_prefix(self.prefix.as_str())
        };
        // A prefix may include a tag; then the location replaces the whole name.
        let rewritten = format!("{location}{}", rest.unwrap_or_default());
        let (registry, repository) = rewritten.split_once('/').ok_or_else(invalid)?;
        let is_valid = format!("{registry}/{repository}:x").parse::<crate::reference::ImageName>().is_ok();
        if !is_valid {
            return Err(invalid());
        }
        Ok(relocate(reference, registry, repository))
    }
}

/// containers-common ships podman's opinion of some two hundred short names (`centos` is quay.io/centos/centos). Names
/// are docker's here, and a layout's `centos` equals `docker.io/library/centos`; so only aliases that this machine's
/// administrator or user wrote count, not the distribution's list.
fn is_catalogue_of_short_names(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "shortnames.conf" || name == "000-shortnames.conf")
}

fn read_if_there(path: &Path) -> Result<Option<String>, MirrorError> {
    Ok(if_there(std::fs::read_to_string(path)).during("read", path)?)
}

/// The `*.conf` files of a folder, by name.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, MirrorError> {
    let entries = if_there(std::fs::read_dir(folder)).during("read", folder)?;
    let mut files = Vec::new();
    for entry in entries.into_iter().flatten() {
        let path = entry.during("read", folder)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// toml's own message spans several lines with a drawing; an error here is one line.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message = error.message().replace('\n', " ");
    line.map_or(message.clone(), |line| format!("line {line}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(files: &[(&str, &str)]) -> Result<Registries, MirrorError> {
        let mut registries = Registries::default();
        for (name, text) in files {
            registries.merge(text, Path::new(name))?;
        }
        Ok(registries)
    }

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins_and_ends_at_a_boundary() {
        let text = r#"
            [[registry]]
            location = "example.com"
            [[registry.mirror]]
            location = "all.example"
            [[registry]]
            prefix = "example.com/team"
            location = "team.example"
            [[registry]]
            prefix = "*.wild.example"
            insecure = true
        "#;
        let registries = merged(&[("r.conf", text)]).unwrap();
        for (name, prefix) in [
            ("example.com/a", Some("example.com")),
            ("example.com/team/a", Some("example.com/team")),
            ("example.com/team:1", Some("example.com/team")),
            ("example.com/teams", Some("example.com")),
            ("example.com:5000/a", None),
            ("a.wild.example/x", Some("*.wild.example")),
            ("wild.example/x", None),
            ("other.example/x", None),
        ] {
            let found = registries.find(&reference(name)).map(|registry| registry.prefix.as_str());
            assert_eq!(found, prefix, "{name}");
        }
    }

    #[test]
    fn a_later_file_replaces_tables_and_adds_or_removes_aliases() {
        let first = "unqualified-search-registries = [\"a.example\"]\n[[registry]]\nlocation = \"x.example\"\nblocked = true\n[aliases]\n\"one\" = \"h.example/one\"\n\"two\" = \"h.example/two\"";
        let second = "unqualified-search-registries = [\"b.example\"]\n[[registry]]\nlocation = \"x.example\"\ninsecure = true\n[aliases]\n\"one\" = \"\"";
        let registries = merged(&[("a.conf", first), ("b.conf", second)]).unwrap();
        assert!(registries.find(&reference("x.example/a")).unwrap().check_allowed().is_ok());
        assert_eq!(registries.unqualified_search(), ["b.example"]);
        assert_eq!(registries.alias("one"), None);
        assert_eq!(registries.alias("two"), Some(("h.example", "two")));
    }

    #[test]
    fn the_distributions_list_of_short_names_does_not_move_a_docker_name() {
        let text = "[aliases]\n\"centos\" = \"quay.io/centos/centos\"";
        assert_eq!(merged(&[("/etc/x/shortnames.conf", text)]).unwrap().alias("centos"), None);
        assert!(merged(&[("/etc/x/mine.conf", text)]).unwrap().alias("centos").is_some());
    }

    #[test]
    fn mirrors_can_be_kept_to_digests_or_tags() {
        let text = r#"
            [[registry]]
            location = "example.com"
            [[registry.mirror]]
            location = "d.example"
            pull-from-mirror = "digest-only"
            [[registry.mirror]]
            location = "t.example"
            pull-from-mirror = "tag-only"
        "#;
        let registries = merged(&[("r.conf", text)]).unwrap();
        let digest = format!("example.com/a@sha256:{}", "0".repeat(64));
        for (name, expected) in [("example.com/a:1", "t.example"), (digest.as_str(), "d.example")] {
            let name = reference(name);
            let registry = registries.find(&name).unwrap();
            let locations: Vec<_> = registry.mirrors_for(&name).map(|mirror| mirror.location.as_str()).collect();
            assert_eq!(locations, [expected], "{name}");
        }
    }

    #[test]
    fn an_error_is_one_line_with_its_place() {
        for (text, reason) in [
            ("[[registry]]\nlocation = 5", "line 2"),
            ("[[registry]]\ninsecure = true", "needs a prefix or a location"),
            ("[[registry]]\nlocation = \"https://x.example\"", "without a scheme"),
            ("[aliases]\n\"a\" = \"b\"", "not a valid host/repository"),
        ] {
            let error = merged(&[("r.conf", text)]).unwrap_err().to_string();
            assert!(error.contains(reason) && error.starts_with("r.conf: ") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn tables_of_version_one_are_understood() {
        let text = "[registries.search]\nregistries = ['s.example']\n[registries.insecure]\nregistries = ['i.example']\n[registries.block]\nregistries = ['b.example']";
        let registries = merged(&[("r.conf", text)]).unwrap();
        assert_eq!(registries.unqualified_search(), ["s.example"]);
        assert!(registries.find(&reference("i.example/a")).unwrap().is_insecure);
        assert!(registries.find(&reference("b.example/a")).unwrap().check_allowed().is_err());
    }
}
