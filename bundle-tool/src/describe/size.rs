//! How much a container takes on disk.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use image_tool::address::Address;
use image_tool::address::digest;
use image_tool::layout::Layout;
use image_tool::show::summary::Summary;

use crate::bundle::annotation;
use crate::container::status::Container;

/// The size of a container's own files, and that of all its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// What it has written, in bytes.
    pub own: u64,
    /// That, and the image.
    pub all: u64,
}

/// The size of a container. A file system that is a copy of its image counts as written.
#[must_use]
pub fn of(container: &Container) -> Size {
    let Some(bundle) = container.bundle() else { return Size::default() };
    let upper = bundle.join("upper");
    let own = folder(if upper.exists() { &upper } else { Path::new("/nonexistent") });
    Size { own, all: own + image(container).unwrap_or(0) }
}

/// The size of the image's layers.
fn image(container: &Container) -> Option<u64> {
    let digest = digest::parse(container.annotation(annotation::DIGEST)?).ok()?;
    let address = Address::new(container.annotation(annotation::LAYOUT)?, None, Some(digest)).ok()?;
    let layout = Layout::of(&address).ok()?;
    let found = Summary::image(&layout, &layout.resolve(&address).ok()?).ok()?;
    Some(Summary::of(&layout, &found).size)
}

/// The sizes of all files beneath a folder, each once. What cannot be read does not count.
#[must_use]
pub fn folder(path: &Path) -> u64 {
    let (mut total, mut seen, mut left) = (0, BTreeSet::new(), vec![path.to_owned()]);
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Of the entry itself: links are not followed.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.nlink() < 2 || seen.insert((metadata.dev(), metadata.ino())) {
                total += metadata.len();
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/one"), "12345").unwrap();
        fs::hard_link(folder.path().join("a/one"), folder.path().join("two")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("link")).unwrap();
        assert_eq!(super::folder(folder.path()), 5 + 1);
        assert_eq!(super::folder(Path::new("/nonexistent")), 0);
    }
}
