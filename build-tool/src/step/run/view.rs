//! A folder of this host as a command sees it: where it lies, without what its ignore rules leave out.
//!
//! Nothing is copied. What is left out is hidden by a directory of whiteouts, which overlayfs stacks upon the folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bundle_tool::rootfs::has_mounts_beneath;
use image_tool::beneath::{Root, Time};
use image_tool::error::During;
use rustix::fs::{FileType, Mode};

use crate::source::context::Tree;
use crate::source::files::File;
use crate::source::ignore::Ignore;
use crate::step::error::Error;

/// The directories that make up a tree of files, the lowest first. `folder` is an empty folder of the caller's, which may become one of
/// them. A single directory is the tree itself, where it lies; that is what is wanted, unless it is to be `stacked` with others.
pub(super) fn directories(tree: &Tree, folder: &Path, stacked: bool) -> Result<Vec<PathBuf>, Error> {
    let path = tree.path().canonicalize().during("open", tree.path())?;
    let whole = tree.files.ignores_nothing();
    if whole && !stacked {
        return Ok(vec![path]);
    }
    if has_mounts_beneath(&path) {
        // overlayfs shows none of the file systems that are mounted in a directory.
        copy(tree, folder)?;
        return Ok(vec![folder.to_owned()]);
    }
    if whole {
        return Ok(vec![path]);
    }
    hide(tree, folder)?;
    Ok(vec![path, folder.to_owned()])
}

/// What a command may see of a tree.
fn found(tree: &Tree) -> Result<Vec<File>, Error> {
    let mut found = Vec::new();
    for source in tree.files.sources(".")? {
        found.extend(tree.files.walk(&source, &Ignore::default())?);
    }
    Ok(found)
}

fn copy(tree: &Tree, folder: &Path) -> Result<(), Error> {
    let found = found(tree)?;
    let root = Root::open(folder)?;
    for file in &found {
        tree.files.copy_to(file, &root)?;
    }
    set_directories(&found.iter().collect::<Vec<_>>(), &root)
}

/// Fills a folder with whiteouts for what the rules of the tree leave out.
fn hide(tree: &Tree, folder: &Path) -> Result<(), Error> {
    let found = found(tree)?;
    let root = Root::open(folder)?;
    let seen: BTreeSet<&Path> = found.iter().map(|file| file.path.as_path()).collect();
    for directory in found.iter().filter(|file| is_directory(file)) {
        let names = tree.files.root().names(&directory.path)?;
        let hidden = names.iter().filter(|name| !seen.contains(directory.path.join(name).as_path()));
        for name in hidden {
            whiteout(&root, &directory.path.join(name))?;
        }
    }
    // Of a directory that is in both, the upper one's owner, mode and time are seen.
    let made = |file: &File| root.lstat(&file.path).ok().flatten().is_some();
    set_directories(&found.iter().filter(|file| made(file)).collect::<Vec<_>>(), &root)
}

fn whiteout(root: &Root, path: &Path) -> Result<(), Error> {
    root.create_directories(path.parent().unwrap_or(Path::new("")), 0o755)?;
    let (parent, name) = root.parent(path)?;
    let made = rustix::fs::mknodat(&parent, &name, FileType::CharacterDevice, Mode::empty(), 0);
    Ok(made.during("hide", path)?)
}

fn set_directories(found: &[&File], root: &Root) -> Result<(), Error> {
    // Children first, since what is done in a directory changes its time.
    for File { path, stat, .. } in found.iter().rev().filter(|file| is_directory(file)) {
        root.set_owner(path, stat.st_uid, stat.st_gid)?;
        root.set_mode(path, stat.st_mode & 0o7777)?;
        root.set_modified(path, Time::modified(stat))?;
    }
    Ok(())
}

fn is_directory(file: &File) -> bool {
    FileType::from_raw_mode(file.stat.st_mode) == FileType::Directory
}
