//! The merged tree as an EROFS image whose devices are the archives: nothing is read but headers.

use std::fs::File;
use std::io::{BufReader, Write};

use super::tree::{ROOT, Tree};
use super::{Error, Options};
use crate::address::digest::Digest;
use crate::layer::apply;
use crate::layer::entry::{self, Entry, Reader};
use crate::layer::erofs::{self, Content, Device, Node};
use crate::layer::{parallel, progress};

/// How much of an archive is read at once. A file of an image is twenty kilobytes on average.
const READ: usize = 16 * 1024;

/// A layer whose plain archive is a file. Its content has been verified.
#[derive(Debug, Clone, Copy)]
pub struct Archive<'a> {
    /// The digest of the content.
    pub diff_id: &'a Digest,
    /// The file.
    pub file: &'a File,
    /// The size in bytes.
    pub size: u64,
}

/// Reads the entries of an archive, each with the offset of its data. Data are skipped.
///
/// # Errors
/// [`apply::Error`].
pub fn entries(archive: Archive<'_>, limit: u64) -> Result<Vec<(Entry, u64)>, apply::Error> {
    let failed = |error| apply::Error::Archive(entry::Error::Io(error));
    let mut file = archive.file.try_clone().map_err(failed)?;
    std::io::Seek::rewind(&mut file).map_err(failed)?;
    let mut reader = Reader::new(BufReader::with_capacity(READ, file));
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        if entries.len() as u64 == limit {
            return Err(apply::Error::TooMany { limit });
        }
        let offset = reader.offset();
        reader.skip_data()?;
        if reader.offset() > archive.size {
            return Err(entry::Error::Truncated.into());
        }
        progress::add_entry();
        entries.push((entry, offset));
    }
    Ok(entries)
}

/// Writes the tree that archives make, the lowest first, as an EROFS image with the archives as its devices, in this order.
/// Returns its size.
///
/// # Errors
/// [`Error::Apply`], [`Error::Index`].
pub fn index<W: Write>(archives: &[Archive<'_>], uuid: [u8; 16], output: W, options: &Options) -> Result<u64, Error> {
    let failed = |archive: &Archive<'_>, source| Error::Apply { digest: archive.diff_id.clone(), source };
    let all = parallel::map(archives, |archive| {
        entries(*archive, options.limits.entries()).map_err(|source| failed(archive, source))
    })?;
    let mut tree = Tree::new();
    let mut places = Vec::with_capacity(all.len());
    for (layer, (archive, entries)) in archives.iter().zip(all).enumerate() {
        tree.begin(layer);
        let mut offsets = Vec::with_capacity(entries.len());
        for (number, (entry, offset)) in entries.into_iter().enumerate() {
            offsets.push(offset);
            tree.add(number, entry).map_err(|source| failed(archive, source))?;
        }
        tree.end().map_err(|source| failed(archive, source))?;
        places.push(offsets);
    }
    let devices: Vec<Device<'_>> = archives
        .iter()
        .map(|archive| Device {
            tag: archive.diff_id.digest(),
            // Who writes archives in whole blocks may forget the last.
            size: archive.size.next_multiple_of(erofs::BLOCK),
            file: archive.file,
        })
        .collect();
    Ok(erofs::write(&nodes(&tree, &places), &devices, uuid, output)?)
}

/// The nodes that names lead to, the root first, those of one directory beside each other. `places` has the offset of the data by
/// layer and number of the entry.
fn nodes<'t>(tree: &'t Tree, places: &[Vec<u64>]) -> Vec<Node<'t>> {
    const NONE: usize = usize::MAX;
    let mut numbers = vec![NONE; tree.len()];
    let mut order = vec![ROOT];
    numbers[ROOT] = 0;
    let mut next = 0;
    while let Some(node) = order.get(next).copied() {
        next += 1;
        for (_, below) in tree.folder(node).into_iter().flat_map(|(_, names)| names) {
            if numbers[below] == NONE {
                numbers[below] = order.len();
                order.push(below);
            }
        }
    }
    let content = |node| match (tree.folder(node), tree.origin(node)) {
        (Some((parent, names)), _) => Content::Directory {
            parent: numbers[parent],
            names: names.map(|(name, below)| (name, numbers[below])).collect(),
        },
        (None, Some((layer, number))) if tree.entry(node).kind == entry::Kind::File => {
            Content::File { device: layer, offset: places[layer][number] }
        }
        (None, _) => Content::Entry,
    };
    order.iter().map(|node| Node { entry: tree.entry(*node), content: content(*node) }).collect()
}
