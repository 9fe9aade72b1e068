//! Which layout a repository's name leads to.
//!
//! One layout is the whole registry: `python` is every image in it whose ref is a name of `python`. A folder of layouts holds a
//! repository, or several with its name in front, in each: `team/app` is the layout `app` in the folder `team`, or the refs `app:…`
//! of the layout `team`. Several operands are served under the names of their folders.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use image_tool::address::name::familiar;
use image_tool::layout::{self, Layout};
use thiserror::Error;
use walkdir::WalkDir;

use super::store::Store;
use crate::reference::is_repository;

/// How deep layouts are looked for in a folder.
const DEPTH: usize = 8;

/// Why something cannot be served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// It is no layout, and cannot be made one.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// There is nothing, or no folder.
    #[error("{}: not a folder", .path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// The name of the folder cannot be part of a repository's name.
    #[error("{}: {name:?} cannot be the name of a repository (lower-case letters, digits, and . _ - between them)", .path.display())]
    Name {
        /// The path.
        path: PathBuf,
        /// Its last part.
        name: String,
    },
    /// Two operands would have the same name.
    #[error("{name}: two layouts of this name (serve the folder that they are in, or rename one)")]
    Twice {
        /// The name.
        name: String,
    },
}

/// A folder that is served.
struct Mount {
    /// What the names of its repositories begin with; nothing for all.
    prefix: String,
    path: PathBuf,
    is_folder: bool,
}

/// What is served, by name.
pub struct Namespace {
    mounts: Vec<Mount>,
    patience: Duration,
    stores: Mutex<HashMap<PathBuf, (Identity, Arc<Store>)>>,
}

/// A layout may be removed and made again under the same path.
type Identity = (u64, u64);

/// A repository in its layout.
pub(super) struct Place {
    pub(super) store: Arc<Store>,
    /// Its name within the layout; empty if the layout is the repository.
    pub(super) repository: String,
}

impl Namespace {
    /// Serves these layouts and folders of layouts.
    ///
    /// What is not there, or is empty, becomes a layout, unless `is_folder` says that each of them is a folder of layouts or
    /// `is_read_only` that nothing may be made. Uploads and blobs that nobody continues are given up after `patience`.
    ///
    /// # Errors
    /// [`NamespaceError`].
    pub fn open(
        paths: &[PathBuf],
        is_folder: bool,
        is_read_only: bool,
        patience: Duration,
    ) -> Result<Self, NamespaceError> {
        let mut mounts: Vec<Mount> = Vec::new();
        for path in paths {
            let prefix = if paths.len() == 1 { String::new() } else { name_of(path)? };
            if mounts.iter().any(|mount| mount.prefix == prefix) {
                return Err(NamespaceError::Twice { name: prefix });
            }
            let is_folder = kind(path, is_folder, is_read_only)?;
            mounts.push(Mount { prefix, path: path.clone(), is_folder });
        }
        Ok(Self { mounts, patience, stores: Mutex::default() })
    }

    /// The repository of a name, if its layout is there. `host` is the registry that a proxy's client means by it.
    ///
    /// # Errors
    /// As [`Layout::open`].
    pub(super) fn find(&self, name: &str, host: Option<&str>) -> Result<Option<Place>, layout::Error> {
        for mount in &self.mounts {
            let Some(rest) = below(name, &mount.prefix) else { continue };
            if !mount.is_folder {
                let repository = match host {
                    Some(host) if mount.prefix.is_empty() => familiar(&format!("{host}/{rest}")).0,
                    _ => rest.to_owned(),
                };
                let store = self.store(&mount.path, !mount.prefix.is_empty())?;
                return Ok(Some(Place { store, repository }));
            }
            let mut path = mount.path.clone();
            let mut rest = rest;
            while !rest.is_empty() {
                let (first, after) = rest.split_once('/').unwrap_or((rest, ""));
                path.push(first);
                rest = after;
                if is_layout(&path) {
                    return Ok(Some(Place { store: self.store(&path, true)?, repository: rest.to_owned() }));
                }
            }
        }
        Ok(None)
    }

    /// Every name that means the same repository. `host` is the registry that a proxy's client means by it.
    pub(super) fn spellings(&self, name: &str, host: Option<&str>) -> Vec<String> {
        let within = |prefix: &str, rest: &str| {
            let full = if rest.is_empty() { String::new() } else { familiar(rest).0 };
            let library = (!full.is_empty() && !full.contains('/')).then(|| format!("library/{full}"));
            [Some(full), library].into_iter().flatten().map(|full| joined(prefix, &full)).collect()
        };
        for mount in &self.mounts {
            let Some(rest) = below(name, &mount.prefix) else { continue };
            if !mount.is_folder {
                return match host {
                    Some(host) if mount.prefix.is_empty() => within("", &format!("{host}/{rest}")),
                    _ => within(&mount.prefix, rest),
                };
            }
            for (end, _) in rest.match_indices('/').chain([(rest.len(), "")]) {
                let (layout, rest) = (&rest[..end], rest[end..].trim_start_matches('/'));
                if is_layout(&mount.path.join(layout)) {
                    return within(&joined(&mount.prefix, layout), rest);
                }
            }
        }
        vec![name.to_owned()]
    }

    /// Whether all is in one layout that stands for no single repository.
    #[must_use]
    pub fn is_one_layout(&self) -> bool {
        matches!(&self.mounts[..], [mount] if !mount.is_folder)
    }

    /// The repository of a name, for what is pushed to it. In a folder of layouts, one is made if there is none.
    ///
    /// # Errors
    /// As [`Layout::create`]; `None` if no operand has a place for the name.
    pub(super) fn make(&self, name: &str) -> Result<Option<Place>, layout::Error> {
        if let Some(place) = self.find(name, None)? {
            return Ok(Some(place));
        }
        for mount in self.mounts.iter().filter(|mount| mount.is_folder) {
            if let Some(rest) = below(name, &mount.prefix).filter(|rest| !rest.is_empty()) {
                let path = mount.path.join(rest);
                Layout::create(&path)?;
                return Ok(Some(Place { store: self.store(&path, true)?, repository: String::new() }));
            }
        }
        Ok(None)
    }

    /// Every layout with the name that its repositories begin with, in the order of the names.
    ///
    /// # Errors
    /// As [`Layout::open`]. What cannot be listed is left out.
    pub(super) fn stores(&self) -> Result<Vec<(String, Arc<Store>)>, layout::Error> {
        let mut found = Vec::new();
        for mount in &self.mounts {
            if !mount.is_folder {
                found.push((mount.prefix.clone(), self.store(&mount.path, !mount.prefix.is_empty())?));
                continue;
            }
            let mut folders = WalkDir::new(&mount.path).min_depth(1).max_depth(DEPTH).into_iter();
            while let Some(entry) = folders.next() {
                let Ok(entry) = entry else { continue };
                if !entry.file_type().is_dir() {
                    continue;
                }
                let relative = entry.path().strip_prefix(&mount.path).ok().and_then(Path::to_str);
                let Some(relative) = relative.filter(|relative| is_repository(relative)) else {
                    folders.skip_current_dir();
                    continue;
                };
                if is_layout(entry.path()) {
                    found.push((joined(&mount.prefix, relative), self.store(entry.path(), true)?));
                    folders.skip_current_dir();
                }
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }

    /// How often to look for what nobody waits for any more.
    pub(super) fn round(&self) -> Duration {
        (self.patience / 4).clamp(Duration::from_millis(50), Duration::from_secs(15))
    }

    /// The layouts that requests have opened so far.
    pub(super) fn opened(&self) -> Vec<Arc<Store>> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.values().map(|(_, store)| Arc::clone(store)).collect()
    }

    fn store(&self, path: &Path, is_repository: bool) -> Result<Arc<Store>, layout::Error> {
        let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let now = std::fs::metadata(path).map(identity).unwrap_or_default();
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, store)) = stores.get(path)
            && *then == now
        {
            return Ok(Arc::clone(store));
        }
        let store = Arc::new(Store::new(Layout::open(path)?, is_repository, self.patience));
        stores.insert(path.to_owned(), (now, Arc::clone(&store)));
        Ok(store)
    }
}

/// A repository's name as clients write it, from a layout's and its own within.
pub(super) fn joined(prefix: &str, repository: &str) -> String {
    match (prefix, repository) {
        ("", only) | (only, "") => only.to_owned(),
        (prefix, repository) => format!("{prefix}/{repository}"),
    }
}

/// The part of a name after a prefix.
fn below<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    match name.strip_prefix(prefix)? {
        rest if prefix.is_empty() => Some(rest),
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

fn is_layout(path: &Path) -> bool {
    path.join("oci-layout").is_file()
}

/// Whether an operand is a folder of layouts; a layout is made if it is to be one.
fn kind(path: &Path, is_folder: bool, is_read_only: bool) -> Result<bool, NamespaceError> {
    if is_folder {
        return if path.is_dir() { Ok(true) } else { Err(NamespaceError::NotAFolder { path: path.into() }) };
    }
    if is_layout(path) || is_read_only && !path.is_dir() {
        return Ok(Layout::open(path).map(|_| false)?);
    }
    match std::fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Ok(true),
        _ => Ok(Layout::create(path).map(|_| false)?),
    }
}

/// The name that an operand among several is served under.
fn name_of(path: &Path) -> Result<String, NamespaceError> {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = full.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if is_repository(&name) { Ok(name) } else { Err(NamespaceError::Name { path: path.into(), name }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn seen(namespace: &Namespace, name: &str) -> Option<String> {
        let place = namespace.find(name, None).unwrap()?;
        let path = place.store.layout().path().file_name().unwrap().to_str().unwrap().to_owned();
        Some(format!("{path} {}", place.repository))
    }

    #[test]
    fn a_layout_alone_is_the_whole_registry() {
        let folder = tempfile::tempdir().unwrap();
        let namespace = Namespace::open(&[folder.path().join("images")], false, false, PATIENCE).unwrap();
        assert_eq!(seen(&namespace, "library/python").as_deref(), Some("images library/python"));
        let place = namespace.find("podman/hello", Some("quay.io")).unwrap().unwrap();
        assert_eq!(place.repository, "quay.io/podman/hello");
        assert_eq!(namespace.find("library/python", Some("docker.io")).unwrap().unwrap().repository, "python");
    }

    #[test]
    fn a_folder_has_a_layout_for_each_repository_or_name_in_front_of_some() {
        let folder = tempfile::tempdir().unwrap();
        Layout::create(&folder.path().join("team/app")).unwrap();
        Layout::create(&folder.path().join("base")).unwrap();
        std::fs::create_dir(folder.path().join(".hidden")).unwrap();
        let namespace = Namespace::open(&[folder.path().into()], false, false, PATIENCE).unwrap();
        assert_eq!(seen(&namespace, "team/app").as_deref(), Some("app "));
        assert_eq!(seen(&namespace, "base/a/b").as_deref(), Some("base a/b"));
        assert_eq!(seen(&namespace, "team"), None);
        assert_eq!(namespace.make("new/one").unwrap().unwrap().repository, "");
        assert!(namespace.make("team").is_err(), "it holds other layouts");
        let names: Vec<String> = namespace.stores().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["base", "new/one", "team/app"]);
    }

    #[test]
    fn several_are_served_under_their_own_names() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "two"].map(|name| folder.path().join(name));
        let namespace = Namespace::open(&paths, false, false, PATIENCE).unwrap();
        assert_eq!(seen(&namespace, "two").as_deref(), Some("two "));
        assert_eq!(seen(&namespace, "one/python").as_deref(), Some("one python"));
        assert_eq!(seen(&namespace, "onetwo"), None);
        assert!(namespace.make("three").unwrap().is_none());
        let twice = [folder.path().join("one"), folder.path().join("one")];
        assert!(matches!(Namespace::open(&twice, false, false, PATIENCE), Err(NamespaceError::Twice { .. })));
    }

    #[test]
    fn what_is_not_there_becomes_a_layout_unless_nothing_may_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = [folder.path().join("images")];
        assert!(Namespace::open(&path, false, true, PATIENCE).is_err());
        assert!(matches!(Namespace::open(&path, true, false, PATIENCE), Err(NamespaceError::NotAFolder { .. })));
        assert!(Namespace::open(&path, false, false, PATIENCE).is_ok() && is_layout(&path[0]));
    }
}
