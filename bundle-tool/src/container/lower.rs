//! What lies beneath the writable layer of a container: the layers of its image, looked into without mounting a root file system.

use std::path::Path;

use image_tool::address::home::Home;
use image_tool::beneath::{self, Root};
use image_tool::layer::apply;
use image_tool::layer::stack::Stack;
use rustix::fs::{FileType, Stat};

use super::layers;
use crate::bundle::Bundle;

/// The layers beneath, the highest first. They stay as long as this value exists.
pub(super) struct Lower {
    roots: Vec<Root>,
    _stack: Stack,
}

/// How a path ends in one layer.
enum Found {
    /// It is there.
    Here(Stat),
    /// The layer says that it is not there, or hides what is below.
    Nowhere,
    /// The layer says nothing of it.
    Below,
}

impl Lower {
    /// Those of a bundle; `None` if the bundle has none or they are not at hand.
    pub(super) fn of(home: &Home, bundle: &Bundle) -> Option<Self> {
        let stack = layers::beneath(home, bundle).ok()??;
        let roots = stack.lower().into_iter().rev().map(|path| Root::open(path).ok()).collect::<Option<_>>()?;
        Some(Self { roots, _stack: stack })
    }

    /// What is at a path.
    pub(super) fn lstat(&self, path: &Path) -> Result<Option<Stat>, beneath::Error> {
        for root in &self.roots {
            match look(root, path)? {
                Found::Here(stat) => return Ok(Some(stat)),
                Found::Nowhere => return Ok(None),
                Found::Below => {}
            }
        }
        Ok(None)
    }

    /// The names in a directory, sorted.
    pub(super) fn names(&self, folder: &Path) -> Result<Vec<std::ffi::OsString>, beneath::Error> {
        let mut names = std::collections::BTreeSet::new();
        for root in &self.roots {
            match look(root, folder)? {
                Found::Here(stat) if is_folder(&stat) => names.extend(root.names(folder)?),
                Found::Below => continue,
                _ => break,
            }
            if is_opaque(root, folder)? {
                break;
            }
        }
        let mut left = Vec::new();
        for name in names {
            if self.lstat(&folder.join(&name))?.is_some() {
                left.push(name);
            }
        }
        Ok(left)
    }
}

fn look(root: &Root, path: &Path) -> Result<Found, beneath::Error> {
    let mut prefixes: Vec<&Path> = path.ancestors().collect();
    prefixes.reverse();
    let mut hides = false;
    for prefix in prefixes {
        let Some(stat) = root.lstat(prefix)? else { return Ok(if hides { Found::Nowhere } else { Found::Below }) };
        if is_whiteout(&stat) || (prefix != path && !is_folder(&stat)) {
            return Ok(Found::Nowhere);
        }
        if prefix == path {
            return Ok(Found::Here(stat));
        }
        hides |= is_opaque(root, prefix)?;
    }
    Ok(Found::Below)
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Overlayfs marks what was deleted with a character device 0:0.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether a directory hides what lies below it.
pub(super) fn is_opaque(root: &Root, folder: &Path) -> Result<bool, beneath::Error> {
    Ok(apply::has_overlay_mark(&root.xattrs(folder)?, ".opaque", Some(b"y")))
}
