//! Listing and pruning the step cache.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::error::{During, Io};
use image_tool::layout::{self, Layout};

use super::Record;

/// A step in the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key, 64 hex digits.
    pub key: String,
    /// What the step did.
    pub record: Record,
}

/// Why the cache cannot be listed or pruned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The layout cannot be opened, or builds are using it.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The kernel refused an operation.
    #[error(transparent)]
    Io(#[from] Io),
}

/// Lists the steps in the cache, the oldest first.
pub fn list(home: &Home) -> Result<Vec<Entry>, Error> {
    let folder = home.builds().join("steps");
    let mut entries = Vec::new();
    for (name, path) in names(&folder)?.into_iter().filter(|(name, _)| is_key(name)) {
        // Records that cannot be read are of no use to a build either, and marks are not steps; `prune` removes both.
        let record = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        entries.extend(record.filter(|record| !record.step.is_empty()).map(|record| Entry { key: name, record }));
    }
    entries.sort_by(|a, b| (&a.record.created, &a.key).cmp(&(&b.record.created, &b.key)));
    Ok(entries)
}

/// Removes the steps that `keep` rejects, the layers that no other step has, and, with `mounts`, the directories of
/// cache mounts. Returns the number of bytes freed.
pub fn prune(home: &Home, keep: impl Fn(&Entry) -> bool, mounts: bool) -> Result<u64, Error> {
    let builds = home.builds();
    let layout = match Layout::open(&builds) {
        Err(layout::Error::NoLayout { .. }) => return Ok(0),
        other => other?,
    };
    let _lock = layout.lock_blobs()?;
    let mut freed = 0;
    let mut remove = |path: &Path| -> Result<(), Error> {
        freed += size(path);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        Ok(removed.during("remove", path)?)
    };
    let kept: Vec<Entry> = list(home)?.into_iter().filter(|entry| keep(entry)).collect();
    let keys: HashSet<&str> = kept.iter().map(|entry| entry.key.as_str()).collect();
    let layers = || kept.iter().filter_map(|entry| entry.record.layer.as_ref());
    let blobs: HashSet<String> = layers().map(|layer| layer.descriptor.digest().digest().to_owned()).collect();
    for (name, path) in names(&builds.join("steps"))? {
        if !keys.contains(name.as_str()) {
            remove(&path)?;
        }
    }
    for (name, path) in names(&builds.join("blobs/sha256"))? {
        if !blobs.contains(&name) {
            remove(&path)?;
        }
    }
    if kept.is_empty() {
        for name in ["contents", "digests"] {
            let path = builds.join(name);
            if path.exists() {
                remove(&path)?;
            }
        }
    }
    if mounts {
        for (_, path) in names(&builds.join("mounts"))? {
            remove(&path)?;
        }
    }
    Ok(freed)
}

/// Whether a file's name is a step's key. A build that was killed may leave a file that it had not finished writing.
pub(super) fn is_key(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn names(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.during("read", folder)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.during("read", folder)?;
        names.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    names.sort();
    Ok(names)
}

/// The bytes in a file, or in all files below a directory.
fn size(path: &Path) -> u64 {
    walkdir::WalkDir::new(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|data| data.is_file())
        .map(|data| data.len())
        .sum()
}
