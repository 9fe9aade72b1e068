//! A git repository as a source of ADD: its commit is known, its files are fetched only if the layer is not in the cache.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use image_tool::beneath::Root;

use super::error::Error;
use crate::cache::folder::Folder;
use crate::source::access::Access;
use crate::source::files::{File, Files, Source};
use crate::source::git::Pin;
use crate::source::ignore::Ignore;

/// A commit of a repository.
#[derive(Debug)]
pub struct Repository<'a> {
    /// The commit.
    pub pin: Pin,
    /// Whether `.git` is copied too.
    pub keep_git_dir: bool,
    /// The patterns of `--exclude`.
    pub exclude: &'a Ignore,
    /// The credentials.
    pub access: &'a Access,
    /// Where temporary folders are made.
    pub builds: &'a Path,
    tree: OnceCell<Tree>,
}

/// The files of a commit.
#[derive(Debug)]
pub struct Tree {
    /// The files.
    pub files: Files,
    /// What is copied of them, the root first.
    pub found: Vec<File>,
    _folder: Folder,
}

impl<'a> Repository<'a> {
    /// Takes the files of a commit.
    pub fn new(pin: Pin, keep_git_dir: bool, exclude: &'a Ignore, access: &'a Access, builds: &'a Path) -> Self {
        Self { pin, keep_git_dir, exclude, access, builds, tree: OnceCell::new() }
    }

    /// The files, fetched now if they were not before.
    pub fn tree(&self) -> Result<&Tree, Error> {
        if let Some(tree) = self.tree.get() {
            return Ok(tree);
        }
        let checkout = self.pin.checkout(self.keep_git_dir, self.access, self.builds)?;
        let (folder, path) = checkout.into_parts();
        let root = Root::open(&path).map_err(crate::source::git::Error::from)?;
        let files = Files::new(root, Ignore::default(), self.pin.address.shown());
        let source = Source { named: PathBuf::new(), path: PathBuf::new(), directory: true };
        let found = files.walk(&source, self.exclude)?;
        Ok(self.tree.get_or_init(|| Tree { files, found, _folder: folder }))
    }
}
