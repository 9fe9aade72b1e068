//! What differs between two images: files, and the packages that their package managers know of.
//!
//! Each image's layers are merged into one archive, which is read while it is written ([`crate::layer::merge`]), so nothing is
//! unpacked, and any user sees every file. Files are compared by kind, mode, owner, capabilities and content, and not by their times.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::address::digest::{Digest, Hasher};
use crate::layer::cache::{self, Source};
use crate::layer::entry::{self, Entry, Kind, Reader};
use crate::layer::limit::Limits;
use crate::layer::merge::{self, Options, merge};
use crate::layout::{Image, Layout};

/// The largest list of packages that is read; Debian's largest is a tenth of this.
const LIST_LIMIT: u64 = 64 << 20;

/// Why images cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The layers cannot be read.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The layers cannot be merged.
    #[error(transparent)]
    Merge(#[from] merge::Error),
    /// The merged archive cannot be read.
    #[error(transparent)]
    Archive(#[from] entry::Error),
    /// There is no pipe between writing and reading the archive.
    #[error("pipe")]
    Pipe(#[source] io::Error),
}

/// What became of a file or a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the new image has it.
    Added,
    /// Both have it, but not the same.
    Changed,
    /// Only the old image has it.
    Deleted,
}

/// A file that is not the same in both images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// What became of it.
    pub change: Change,
    /// Its path.
    pub path: PathBuf,
    /// Its size in the old image, in bytes.
    pub old: Option<u64>,
    /// Its size in the new image, in bytes.
    pub new: Option<u64>,
}

/// A package that is not the same in both images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    /// What became of it.
    pub change: Change,
    /// Its name.
    pub name: String,
    /// Its version in the old image.
    pub old: Option<String>,
    /// Its version in the new image.
    pub new: Option<String>,
}

/// What differs between two images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The size of all files of the old image, in bytes.
    pub old: u64,
    /// The size of all files of the new image, in bytes.
    pub new: u64,
    /// The files, by path.
    pub files: Vec<FileChange>,
    /// The packages, by name.
    pub packages: Vec<PackageChange>,
}

/// What an image holds.
#[derive(Debug, Default)]
struct Contents {
    files: BTreeMap<PathBuf, File>,
    packages: BTreeMap<String, String>,
}

/// What makes a file the same as another.
#[derive(Debug, PartialEq, Eq)]
struct File {
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    xattrs: Vec<(std::ffi::OsString, Vec<u8>)>,
    content: Option<Digest>,
}

impl Comparison {
    /// Compares two images.
    ///
    /// # Errors
    /// [`Error`].
    pub fn of(old: (&Layout, &Image), new: (&Layout, &Image), limits: Limits) -> Result<Self, Error> {
        let (old, new) = (Contents::of(old, limits)?, Contents::of(new, limits)?);
        let size = |contents: &Contents| contents.files.values().map(|file| file.size).sum();
        let file = |(change, path, old, new): (Change, &PathBuf, Option<&File>, Option<&File>)| FileChange {
            change,
            path: path.clone(),
            old: old.map(|file| file.size),
            new: new.map(|file| file.size),
        };
        let package = |(change, name, old, new): (Change, &String, Option<&String>, Option<&String>)| PackageChange {
            change,
            name: name.clone(),
            old: old.cloned(),
            new: new.cloned(),
        };
        Ok(Self {
            old: size(&old),
            new: size(&new),
            files: changes(&old.files, &new.files).into_iter().map(file).collect(),
            packages: changes(&old.packages, &new.packages).into_iter().map(package).collect(),
        })
    }
}

/// What differs between two maps, by key.
fn changes<'a, K: Ord, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> Vec<(Change, &'a K, Option<&'a V>, Option<&'a V>)> {
    let gone = old.iter().filter(|(key, _)| !new.contains_key(key)).map(|(key, value)| (key, Some(value), None));
    let there = new.iter().map(|(key, value)| (key, old.get(key), Some(value)));
    let mut all: Vec<_> = gone
        .chain(there)
        .filter_map(|(key, before, after)| match (before, after) {
            (None, after) => Some((Change::Added, key, None, after)),
            (before, None) => Some((Change::Deleted, key, before, None)),
            (Some(one), Some(other)) if one != other => Some((Change::Changed, key, before, after)),
            _ => None,
        })
        .collect();
    all.sort_by(|one, other| one.1.cmp(other.1));
    all
}

impl Contents {
    fn of((layout, image): (&Layout, &Image), limits: Limits) -> Result<Self, Error> {
        let sources = Source::of_image(layout, image)?;
        let (reader, mut writer) = io::pipe().map_err(Error::Pipe)?;
        std::thread::scope(|scope| {
            let merged = scope.spawn(move || -> Result<(), merge::Error> {
                merge(&sources, &mut writer, &Options { limits, ..Options::default() })?;
                writer.flush().map_err(merge::Error::Write)
            });
            let read = Self::read(reader);
            match merged.join() {
                // What is wrong with a layer says more than the archive that ends early.
                Ok(Err(error)) if !matches!(error, merge::Error::Write(_)) || read.is_ok() => Err(error.into()),
                _ => read,
            }
        })
    }

    fn read(archive: impl Read) -> Result<Self, Error> {
        let mut reader = Reader::new(BufReader::with_capacity(256 * 1024, archive));
        let mut contents = Self::default();
        while let Some(entry) = reader.next_entry()? {
            let path = Path::new("/").join(entry::relative(&entry.path));
            let mut list = is_list(&path).then(Vec::new);
            let content = match entry.kind {
                Kind::File => Some(hash(&mut reader, list.as_mut()).map_err(entry::Error::from)?),
                _ => None,
            };
            if let Some(list) = list {
                contents.packages.extend(packages(&path, &String::from_utf8_lossy(&list)));
            }
            contents.files.insert(path, File::of(entry, content));
        }
        Ok(contents)
    }
}

impl File {
    fn of(entry: Entry, content: Option<Digest>) -> Self {
        let (owner, size) = ((entry.uid, entry.gid), entry.size);
        Self { kind: entry.kind, mode: entry.mode, owner, size, xattrs: entry.xattrs, content }
    }
}

/// Hashes the data of an entry, and keeps them in `list` as far as that goes.
fn hash(data: &mut impl Read, mut list: Option<&mut Vec<u8>>) -> io::Result<Digest> {
    let mut hasher = Hasher::sha256();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = data.read(&mut buffer)?;
        if count == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..count]);
        if let Some(list) = list.as_mut().filter(|list| ((list.len() + count) as u64) <= LIST_LIMIT) {
            list.extend_from_slice(&buffer[..count]);
        }
    }
}

const DPKG: &str = "/var/lib/dpkg/status";
/// Where distroless images have a file for each package.
const DPKG_EACH: &str = "/var/lib/dpkg/status.d";
const APK: &str = "/lib/apk/db/installed";

/// Whether a file lists packages.
fn is_list(path: &Path) -> bool {
    path == Path::new(DPKG)
        || path == Path::new(APK)
        || (path.parent() == Some(Path::new(DPKG_EACH)) && path.extension().is_none())
}

/// The packages of a list with their versions.
fn packages(path: &Path, text: &str) -> Vec<(String, String)> {
    let keys = if path == Path::new(APK) { ["P:", "V:"] } else { ["Package:", "Version:"] };
    let paragraph = |text: &str| {
        let value = |key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
        let is_installed = value("Status:").is_none_or(|status| status.ends_with(" installed"));
        Some((value(keys[0])?, value(keys[1])?)).filter(|_| is_installed)
    };
    text.split("\n\n").filter_map(paragraph).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_in_each_form() {
        let dpkg = "Package: a\nStatus: install ok installed\nVersion: 1-2\nDescription: x\n Package: no\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
        assert_eq!(packages(Path::new(DPKG), dpkg), [("a".to_owned(), "1-2".to_owned())]);
        assert!(
            is_list(Path::new("/var/lib/dpkg/status.d/base"))
                && !is_list(Path::new("/var/lib/dpkg/status.d/b.md5sums"))
        );
        assert_eq!(packages(Path::new(APK), "C:x\nP:musl\nV:1.2\n\n"), [("musl".to_owned(), "1.2".to_owned())]);
        assert!(packages(Path::new(APK), "\0\n\nP:\n").is_empty());
    }
}
