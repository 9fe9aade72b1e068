//! The tree that layers make: names, what they stand for, and in which entry of which layer that is.
//!
//! Entries are added by the rules by which [`super::super::apply`] unpacks them: whiteouts do not affect names of their own
//! layer, paths lead through links inside the root, hard links share what they name, and a directory that is named again keeps
//! its content.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use crate::beneath::{Time, clean};
use crate::layer::apply::Error;
use crate::layer::entry::{Entry, Kind, WHITEOUT};
use crate::layer::whiteout::{self, Whiteout};

/// How many links may be on the way of a path, as for the kernel.
const LINKS: usize = 40;
/// The number of the root.
pub(super) const ROOT: usize = 0;

/// The tree of the layers that have been added.
pub(super) struct Tree {
    nodes: Vec<Node>,
    layer: usize,
    /// Hard links of this layer whose target is not there yet: the path and the target.
    waiting: Vec<(PathBuf, PathBuf)>,
    /// Whether a layer has an entry for the root.
    has_root: bool,
}

/// What one or more names stand for.
struct Node {
    entry: Entry,
    /// The layer, and the number of the entry in it; none for a directory that no entry names.
    origin: Option<(usize, usize)>,
    /// Of a directory.
    folder: Option<Folder>,
}

struct Folder {
    parent: usize,
    names: BTreeMap<OsString, Name>,
}

/// A name in a directory, and the layer that brought it last.
#[derive(Clone, Copy)]
struct Name {
    node: usize,
    layer: usize,
}

impl Tree {
    pub(super) fn new() -> Self {
        let folder = Some(Folder { parent: ROOT, names: BTreeMap::new() });
        let root = Node { entry: Entry::new("", Kind::Directory, 0o755), origin: None, folder };
        Self { nodes: vec![root], layer: 0, waiting: Vec::new(), has_root: false }
    }

    /// Begins a layer; they are added from the lowest.
    pub(super) fn begin(&mut self, layer: usize) {
        self.layer = layer;
    }

    /// Adds an entry of the layer by its number.
    pub(super) fn add(&mut self, number: usize, entry: Entry) -> Result<(), Error> {
        let path = clean(&entry.path)?;
        let above = path.parent().unwrap_or(Path::new(""));
        let Some(name) = path.file_name() else {
            if entry.kind != Kind::Directory {
                return Err(Error::Root { path: entry.path });
            }
            self.has_root = true;
            self.nodes[ROOT].entry = Entry { path: PathBuf::new(), ..entry };
            return Ok(());
        };
        for component in above {
            match whiteout::parse(component) {
                None => {}
                // What aufs kept beside the files.
                Some(Whiteout::Bookkeeping) => return Ok(()),
                Some(_) => return Err(Error::Name { path: entry.path }),
            }
        }
        match whiteout::parse(name) {
            None => {}
            Some(Whiteout::Invalid) => return Err(Error::Whiteout { path: entry.path }),
            Some(Whiteout::Bookkeeping) => return Ok(()),
            Some(Whiteout::Opaque) => {
                let folder = self.place(above, entry.modified);
                self.clear(folder);
                return Ok(());
            }
            Some(Whiteout::Of(target)) => {
                // No directory is made just to delete from it.
                if let Some(folder) = self.find(above) {
                    self.delete(folder, target);
                }
                return Ok(());
            }
        }
        if entry.kind == WHITEOUT {
            if let Some(folder) = self.find(above) {
                self.delete(folder, name);
            }
            return Ok(());
        }
        let folder = self.place(above, entry.modified);
        if let Kind::HardLink(target) = &entry.kind {
            if !self.link(&path, target)? {
                self.waiting.push((path, target.clone()));
            }
            return Ok(());
        }
        let name = name.to_os_string();
        let entry = Entry { path: PathBuf::new(), ..entry };
        match self.child(folder, &name) {
            Some(known) if entry.kind == Kind::Directory && self.nodes[known.node].folder.is_some() => {
                self.nodes[known.node].entry = entry;
                self.set(folder, name, known.node);
            }
            _ => {
                let node = self.make(folder, entry, Some((self.layer, number)));
                self.set(folder, name, node);
            }
        }
        Ok(())
    }

    /// Ends the layer.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        for (path, target) in std::mem::take(&mut self.waiting) {
            if !self.link(&path, &target)? {
                return Err(Error::Link { path, target });
            }
        }
        Ok(())
    }

    /// The entry of a node, without its path.
    pub(super) fn entry(&self, node: usize) -> &Entry {
        &self.nodes[node].entry
    }

    /// The layer of a node, and the number of its entry there.
    pub(super) fn origin(&self, node: usize) -> Option<(usize, usize)> {
        self.nodes[node].origin
    }

    /// How many nodes there are, with those that no name leads to any more.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The directory above a directory, and its names with what they stand for, in the order of their bytes; `None` for a file.
    pub(super) fn folder(&self, node: usize) -> Option<(usize, impl Iterator<Item = (&OsStr, usize)>)> {
        let folder = self.nodes[node].folder.as_ref()?;
        Some((folder.parent, folder.names.iter().map(|(name, below)| (name.as_os_str(), below.node))))
    }

    /// Visits every name in the order of the paths, a directory before its content.
    pub(super) fn walk<E>(&self, mut visit: impl FnMut(PathBuf, usize) -> Result<(), E>) -> Result<(), E> {
        if self.has_root {
            visit(PathBuf::from("."), ROOT)?;
        }
        // Not recursive: a hostile path can have two thousand components.
        let mut left: Vec<(PathBuf, usize)> = vec![(PathBuf::new(), ROOT)];
        while let Some((path, node)) = left.pop() {
            if node != ROOT {
                visit(path.clone(), node)?;
            }
            if let Some(folder) = &self.nodes[node].folder {
                left.extend(folder.names.iter().rev().map(|(name, below)| (path.join(name), below.node)));
            }
        }
        Ok(())
    }

    fn child(&self, folder: usize, name: &OsStr) -> Option<Name> {
        self.nodes[folder].folder.as_ref()?.names.get(name).copied()
    }

    fn set(&mut self, folder: usize, name: OsString, node: usize) {
        let layer = self.layer;
        if let Some(folder) = &mut self.nodes[folder].folder {
            folder.names.insert(name, Name { node, layer });
        }
    }

    fn make(&mut self, parent: usize, entry: Entry, origin: Option<(usize, usize)>) -> usize {
        let folder = (entry.kind == Kind::Directory).then(|| Folder { parent, names: BTreeMap::new() });
        self.nodes.push(Node { entry, origin, folder });
        self.nodes.len() - 1
    }

    /// A directory that no entry names, as the parent of one that comes.
    fn make_folder(&mut self, parent: usize, name: &OsStr, time: Time) -> usize {
        let node = self.make(parent, Entry { modified: time, ..Entry::new("", Kind::Directory, 0o755) }, None);
        self.set(parent, name.to_os_string(), node);
        node
    }

    /// The directory at a clean path; what is missing is made, and what is in the way replaced.
    fn place(&mut self, path: &Path, time: Time) -> usize {
        let mut current = ROOT;
        for name in path {
            let mut links = LINKS;
            current = match self.step(current, name, Some(time), &mut links) {
                Some(below) => below,
                None => self.make_folder(current, name, time),
            };
        }
        current
    }

    /// The directory at a clean path.
    fn find(&mut self, path: &Path) -> Option<usize> {
        path.iter().try_fold(ROOT, |current, name| {
            let mut links = LINKS;
            self.step(current, name, None, &mut links)
        })
    }

    /// The directory that a name leads to, through links; those that are missing behind a link are made if there is a time for
    /// them.
    fn step(&mut self, folder: usize, name: &OsStr, time: Option<Time>, links: &mut usize) -> Option<usize> {
        let node = self.child(folder, name)?.node;
        if self.nodes[node].folder.is_some() {
            return Some(node);
        }
        let Kind::Symlink(target) = &self.nodes[node].entry.kind else { return None };
        *links = links.checked_sub(1)?;
        let target = target.clone();
        let mut current = if target.is_absolute() { ROOT } else { folder };
        for component in target.components() {
            match component {
                Component::Normal(name) => {
                    current = match (self.child(current, name), time) {
                        (None, Some(time)) => self.make_folder(current, name, time),
                        _ => self.step(current, name, time, links)?,
                    };
                }
                Component::ParentDir => {
                    current = self.nodes[current].folder.as_ref().map_or(ROOT, |folder| folder.parent);
                }
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        Some(current)
    }

    /// Whether a directory is another one, or in it.
    fn is_beneath(&self, mut folder: usize, top: usize) -> bool {
        while folder != top {
            match &self.nodes[folder].folder {
                Some(Folder { parent, .. }) if folder != ROOT => folder = *parent,
                _ => return false,
            }
        }
        true
    }

    /// Gives a file another name; returns `false` if the file does not exist yet.
    fn link(&mut self, path: &Path, target: &Path) -> Result<bool, Error> {
        let clean_target = clean(target)?;
        let bad = || Error::Link { path: path.to_path_buf(), target: target.to_path_buf() };
        let (Some(name), Some(source)) = (path.file_name(), clean_target.file_name()) else { return Err(bad()) };
        let from = self.find(clean_target.parent().unwrap_or(Path::new("")));
        let Some((from, found)) = from.and_then(|from| Some((from, self.child(from, source)?))) else {
            return Ok(false);
        };
        if self.nodes[found.node].folder.is_some() {
            return Err(bad());
        }
        let folder = self.place(path.parent().unwrap_or(Path::new("")), Time::default());
        let replaced = self.child(folder, name).map(|known| known.node);
        // With the directory that makes way for the link, the file would be gone.
        if replaced.is_some_and(|replaced| self.is_beneath(from, replaced)) {
            if let Some(Folder { names, .. }) = &mut self.nodes[folder].folder {
                names.remove(name);
            }
            return Ok(false);
        }
        self.set(folder, name.to_os_string(), found.node);
        Ok(true)
    }

    /// Deletes a name with everything beneath it, except what this layer brought.
    fn delete(&mut self, folder: usize, name: &OsStr) {
        let Some(found) = self.child(folder, name) else { return };
        let is_folder = self.nodes[found.node].folder.is_some();
        if is_folder {
            self.clear(found.node);
        }
        let is_empty = self.nodes[found.node].folder.as_ref().is_none_or(|folder| folder.names.is_empty());
        if found.layer != self.layer
            && is_empty
            && let Some(folder) = &mut self.nodes[folder].folder
        {
            folder.names.remove(name);
        }
    }

    /// Deletes everything in a directory, except what this layer brought.
    fn clear(&mut self, top: usize) {
        // Not recursive, like `walk`; the deepest directories are emptied first.
        let mut folders = vec![top];
        let mut next = 0;
        while let Some(folder) = folders.get(next).copied() {
            next += 1;
            let below = self.nodes[folder].folder.iter().flat_map(|folder| folder.names.values());
            let below: Vec<usize> =
                below.map(|name| name.node).filter(|node| self.nodes[*node].folder.is_some()).collect();
            folders.extend(below);
        }
        for folder in folders.into_iter().rev() {
            let Some(Folder { parent, mut names }) = self.nodes[folder].folder.take() else { continue };
            names.retain(|_, name| {
                let below = self.nodes[name.node].folder.as_ref();
                name.layer == self.layer || below.is_some_and(|below| !below.names.is_empty())
            });
            self.nodes[folder].folder = Some(Folder { parent, names });
        }
    }
}
