//! The root file system that layers make together, derived from their tables of contents and never mounted.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use image_tool::address::home::Home;

use super::contents::{self, Contents, Node, NodeKind};
use super::layer::Layer;

/// The number of links that are followed in one path, as in the kernel.
const LINKS: usize = 40;

/// A merged view of layers. The root directory always exists.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Found>,
    layers: usize,
}

/// A node and the layer that it comes from.
#[derive(Debug, Clone)]
pub struct Found {
    /// The file, directory or link.
    pub node: Node,
    /// The layer's number, counted from the lowest.
    pub layer: usize,
}

/// Why a path cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its links form a loop.
    #[error("{}: too many symbolic links", .0.display())]
    Loop(PathBuf),
    /// A component on the way is not a directory.
    #[error("{}: {} is not a directory", .path.display(), .at.display())]
    NotDirectory {
        /// The whole path.
        path: PathBuf,
        /// The component that is not a directory.
        at: PathBuf,
    },
}

impl Tree {
    /// Merges the layers, the lowest first.
    pub fn of(layers: &[Layer], home: &Home) -> Result<Self, contents::Error> {
        let mut tree = Self::default();
        for layer in layers {
            tree.apply(&Contents::of(layer, home)?);
        }
        Ok(tree)
    }

    /// Puts one more layer on top.
    pub fn apply(&mut self, contents: &Contents) {
        for path in &contents.opaque {
            self.remove_below(path);
        }
        for path in &contents.deleted {
            self.nodes.remove(path);
            self.remove_below(path);
        }
        for (path, node) in &contents.entries {
            if node.kind != NodeKind::Directory {
                self.remove_below(path);
            }
            self.nodes.insert(path.clone(), Found { node: node.clone(), layer: self.layers });
        }
        self.layers += 1;
    }

    /// Puts one node on top.
    pub fn add(&mut self, path: &Path, node: Node) {
        let key = path.as_os_str().as_bytes();
        if node.kind != NodeKind::Directory {
            self.remove_below(key);
        }
        self.nodes.insert(key.to_vec(), Found { node, layer: self.layers });
    }

    /// Closes a layer: the nodes that were added are its contents.
    pub fn seal(&mut self) {
        self.layers += 1;
    }

    fn remove_below(&mut self, path: &[u8]) {
        let prefix = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let below = (Bound::Included(prefix.clone()), Bound::Unbounded);
        let gone: Vec<Vec<u8>> = self
            .nodes
            .range::<Vec<u8>, _>(below)
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(&prefix))
            .cloned()
            .collect();
        for key in &gone {
            self.nodes.remove(key);
        }
    }

    /// The node at `path`, links not followed. The root has none unless a layer holds an entry for it.
    pub fn get(&self, path: &Path) -> Option<&Found> {
        let path = path.as_os_str().as_bytes();
        self.nodes.get(path.strip_prefix(b"/").unwrap_or(path))
    }

    /// Whether the node at `path` was added since the last layer was closed.
    pub fn is_new(&self, path: &Path) -> bool {
        self.get(path).is_some_and(|found| found.layer == self.layers)
    }

    /// Whether `path` is a directory.
    pub fn is_directory(&self, path: &Path) -> bool {
        let key = path.as_os_str().as_bytes();
        let key = key.strip_prefix(b"/").unwrap_or(key);
        match self.nodes.get(key) {
            Some(found) => found.node.kind == NodeKind::Directory,
            // A directory without an entry exists if something is in it.
            None => {
                key.is_empty() || {
                    let prefix = [key, b"/"].concat();
                    self.nodes.range(prefix.clone()..).next().is_some_and(|(key, _)| key.starts_with(&prefix))
                }
            }
        }
    }

    /// Follows the links of `path`, also in its last component, inside the tree: `..` stops at the root. A missing
    /// component counts as a directory to be created. The result does not begin with `/`.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf, Error> {
        self.resolve_beneath(Path::new(""), path)
    }

    /// Does the same inside the directory `root`, a path without links, as for a process whose root it is. The result begins with it.
    pub fn resolve_beneath(&self, root: &Path, path: &Path) -> Result<PathBuf, Error> {
        let bytes = |path: &Path| -> Vec<Vec<u8>> {
            path.as_os_str().as_bytes().split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect()
        };
        let mut waiting = bytes(path);
        let mut resolved = root.to_owned();
        let mut links = 0;
        while let Some(component) = waiting.pop() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if resolved != root {
                        resolved.pop();
                    }
                    continue;
                }
                name => resolved.push(std::ffi::OsStr::from_bytes(name)),
            }
            match self.get(&resolved).map(|found| &found.node.kind) {
                Some(NodeKind::Symlink(target)) => {
                    links += 1;
                    if links > LINKS {
                        return Err(Error::Loop(path.into()));
                    }
                    resolved.pop();
                    if target.starts_with(b"/") {
                        root.clone_into(&mut resolved);
                    }
                    waiting.extend(bytes(Path::new(std::ffi::OsStr::from_bytes(target))));
                }
                Some(NodeKind::File) if waiting.iter().any(|part| !part.is_empty() && part != b".") => {
                    return Err(Error::NotDirectory { path: path.into(), at: Path::new("/").join(resolved) });
                }
                _ => {}
            }
        }
        Ok(resolved)
    }
}

#[cfg(test)]
mod tests {
    use image_tool::layer::entry::{Entry, Kind};

    use super::*;

    fn tree(layers: &[&[(&str, &str)]]) -> Tree {
        let mut tree = Tree::default();
        for layer in layers {
            let mut contents = Contents::default();
            for (path, kind) in *layer {
                let kind = match *kind {
                    "d" => Kind::Directory,
                    "f" => Kind::File,
                    target => Kind::Symlink(target.into()),
                };
                contents.push(Entry::new(*path, kind, 0o755));
            }
            tree.apply(&contents);
        }
        tree
    }

    #[test]
    fn upper_layers_hide_lower_ones() {
        let tree = tree(&[
            &[("a/", "d"), ("a/x", "f"), ("b/", "d"), ("b/x", "f"), ("c/", "d"), ("c/x", "f"), ("ab", "f")],
            &[(".wh.a", "f"), ("b/.wh..wh..opq", "f"), ("b/y", "f"), ("c", "f")],
        ]);
        for (path, there) in
            [("a", false), ("a/x", false), ("ab", true), ("b/x", false), ("b/y", true), ("c", true), ("c/x", false)]
        {
            assert_eq!(tree.get(Path::new(path)).is_some(), there, "{path}");
        }
        assert_eq!(tree.get(Path::new("/b/y")).unwrap().layer, 1);
    }

    #[test]
    fn paths_resolve_inside_the_tree() {
        let tree = tree(&[&[
            ("lib", "usr/lib"),
            ("usr/lib/", "d"),
            ("up", "../../etc"),
            ("abs", "/lib/x"),
            ("loop", "loop"),
            ("file", "f"),
            ("dangling", "/nowhere/x"),
        ]]);
        for (path, expected) in [
            ("/lib/y", "usr/lib/y"),
            ("/up/passwd", "etc/passwd"),
            ("/abs", "usr/lib/x"),
            ("../../x", "x"),
            ("/", ""),
            ("/dangling/f", "nowhere/x/f"),
            ("/lib/../z", "usr/z"),
        ] {
            assert_eq!(tree.resolve(Path::new(path)), Ok(PathBuf::from(expected)), "{path}");
        }
        for (path, expected) in [
            ("x", "usr/x"),
            ("../../x", "usr/x"),
            ("up/x", "usr/etc/x"),
            ("abs/y", "usr/lib/y"),
            ("lib/z", "usr/lib/z"),
        ] {
            let tree = self::tree(&[&[("usr/lib/", "d"), ("usr/up", "../../etc"), ("usr/abs", "/lib")]]);
            assert_eq!(tree.resolve_beneath(Path::new("usr"), Path::new(path)), Ok(expected.into()), "{path}");
        }
        assert_eq!(tree.resolve(Path::new("/loop/x")), Err(Error::Loop("/loop/x".into())));
        assert!(matches!(tree.resolve(Path::new("/file/x")), Err(Error::NotDirectory { .. })));
        assert!(tree.is_directory(Path::new("/usr")), "a parent that no entry names");
    }
}
