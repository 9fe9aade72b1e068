//! Merging layers: the whole tree of an image as one archive, as a stream.
//!
//! [`merge`] writes no file. The layers are read twice: first for their headers, from which `tree` makes the tree in memory, then for
//! the data of the files that are left in it. So the result does not depend on the rights of the caller or on a file system:
//! devices, capabilities, owners and files without any permission are what the layers say.
//!
//! The directories come first, in the order of their paths, so that every path leads through directories only. Everything else
//! follows in the order in which the layers have it, further names of a file right behind the first. The root has an entry if a
//! layer has one. Nothing depends on the clock.
//!
//! Both times the digest of every blob and the diff ID of every archive are verified: in the first reading before anything is
//! written, in the second before the archive is ended.
//!
//! [`index`] makes the same tree of layers whose archives are files, and writes it as an EROFS image that refers to them. The room is
//! one of `layer`; it knows `apply`'s rules, but no file system.

mod index;
mod tree;

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

pub use self::index::{Archive, entries, index};
use self::tree::Tree;
use super::apply::{self, is_overlay_mark};
use super::cache::{self, Source};
use super::entry::{self, Entry, Kind, Reader, Writer};
use super::erofs;
use super::limit::Limits;
use super::parallel;
use super::stream::Stream;
use crate::address::digest::Digest;
use crate::beneath::Time;

/// Why layers could not be merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer is corrupt, or is not an archive.
    #[error(transparent)]
    Layer(#[from] cache::Error),
    /// A layer could not be applied to those below it.
    #[error("layer {digest}")]
    Apply {
        /// The digest of the blob.
        digest: Digest,
        /// Why it could not be applied.
        source: apply::Error,
    },
    /// A layer was not the same when it was read again.
    #[error("layer {digest}: changed while it was read")]
    Changed {
        /// The digest of the blob.
        digest: Digest,
    },
    /// The archive could not be written.
    #[error("write the archive")]
    Write(#[source] io::Error),
    /// The tree cannot be written as an EROFS image.
    #[error(transparent)]
    Index(#[from] erofs::Error),
}

/// How to merge layers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The latest modification time, in seconds since 1970; later ones are clamped (`SOURCE_DATE_EPOCH`).
    pub latest: Option<i64>,
    /// The limits of each layer.
    pub limits: Limits,
    /// Whether the root has no entry, even if a layer has one.
    pub without_root: bool,
}

/// Writes the tree that the layers make, the lowest first, as one archive. Returns `output`.
///
/// # Errors
/// [`Error`]. If a layer is corrupt, nothing has been written.
pub fn merge<W: Write>(sources: &[Source], output: W, options: &Options) -> Result<W, Error> {
    let mut tree = Tree::new();
    for (layer, entries) in headers(sources, options)?.into_iter().enumerate() {
        let failed = |source| Error::Apply { digest: sources[layer].descriptor.digest().clone(), source };
        tree.begin(layer);
        for (number, entry) in entries.into_iter().enumerate() {
            tree.add(number, entry).map_err(failed)?;
        }
        tree.end().map_err(failed)?;
    }
    let mut output = Output { writer: Writer::new(output), latest: options.latest, limits: options.limits };
    // By layer and number, the nodes that have data or stand for themselves, with all their names.
    let mut left: Vec<HashMap<usize, (usize, Vec<PathBuf>)>> = vec![HashMap::new(); sources.len()];
    tree.walk(|path, node| {
        let entry = tree.entry(node);
        match tree.origin(node) {
            _ if options.without_root && path == Path::new(".") => {}
            _ if entry.kind == Kind::Directory => return output.put(entry, path, None),
            Some((layer, number)) => left[layer].entry(number).or_insert((node, Vec::new())).1.push(path),
            None => {}
        }
        Ok(())
    })?;
    for (source, left) in sources.iter().zip(left) {
        copy(source, &tree, left, &mut output)?;
    }
    output.writer.finish().map_err(Error::Write)
}

/// The entries of all layers, without their data.
fn headers(sources: &[Source], options: &Options) -> Result<Vec<Vec<Entry>>, Error> {
    parallel::map(sources, |source| {
        read(source, options.limits, |stream| {
            let mut reader = Reader::new(stream);
            let mut entries = Vec::new();
            while let Some(entry) = reader.next_entry()? {
                if entries.len() as u64 == options.limits.entries() {
                    return Err(apply::Error::TooMany { limit: options.limits.entries() }.into());
                }
                entries.push(entry);
            }
            Ok(entries)
        })
    })
}

/// Why reading the entries of a layer stopped.
enum Stop {
    /// The archive is not one, or not one to apply.
    Layer(apply::Error),
    /// The fault is not the layer's.
    Other(Error),
}

impl From<apply::Error> for Stop {
    fn from(error: apply::Error) -> Self {
        Self::Layer(error)
    }
}

impl From<entry::Error> for Stop {
    fn from(error: entry::Error) -> Self {
        Self::Layer(error.into())
    }
}

/// Reads a layer, and verifies its blob and its archive.
fn read<T>(source: &Source, limits: Limits, work: impl FnOnce(&mut Stream) -> Result<T, Stop>) -> Result<T, Error> {
    let digest = source.descriptor.digest().clone();
    let mut stream = source.start_within(limits)?.into_stream();
    let done = work(&mut stream);
    if let Err(Stop::Other(error)) = done {
        return Err(error);
    }
    // Report the corrupt blob, not the broken archive that results from it.
    match (stream.finish(), done) {
        (Err(source), _) => Err(cache::Error::Blob { digest, source }.into()),
        (Ok(_), Err(Stop::Layer(source))) => Err(Error::Apply { digest, source }),
        (Ok(_), Err(Stop::Other(error))) => Err(error),
        (Ok(_), Ok(value)) => Ok(value),
    }
}

/// Copies what is left of a layer. Nothing has to be read if nothing is left.
fn copy<W: Write>(
    source: &Source,
    tree: &Tree,
    mut left: HashMap<usize, (usize, Vec<PathBuf>)>,
    output: &mut Output<W>,
) -> Result<(), Error> {
    if left.is_empty() {
        return Ok(());
    }
    let changed = || Error::Changed { digest: source.descriptor.digest().clone() };
    read(source, output.limits, |stream| {
        let mut reader = Reader::new(stream);
        let mut number = 0;
        while let Some(entry) = reader.next_entry()? {
            if let Some((node, names)) = left.remove(&number) {
                let known = tree.entry(node);
                if (&known.kind, known.size, &known.sparse) != (&entry.kind, entry.size, &entry.sparse) {
                    return Err(Stop::Other(changed()));
                }
                output.file(&entry, names, &mut reader)?;
            }
            number += 1;
        }
        if left.is_empty() { Ok(()) } else { Err(Stop::Other(changed())) }
    })
}

struct Output<W: Write> {
    writer: Writer<W>,
    latest: Option<i64>,
    limits: Limits,
}

impl<W: Write> Output<W> {
    /// Writes the header of an entry under a path, as a hard link if there is a target.
    fn put(&mut self, entry: &Entry, path: PathBuf, target: Option<&PathBuf>) -> Result<(), Error> {
        let mut entry = Entry { path, ..entry.clone() };
        entry.xattrs.retain(|(name, _)| !is_overlay_mark(name));
        if let Some(latest) = self.latest.filter(|latest| *latest < entry.modified.seconds) {
            entry.modified = Time { seconds: latest, nanoseconds: 0 };
        }
        if let Some(target) = target {
            entry = Entry { kind: Kind::HardLink(target.clone()), xattrs: Vec::new(), sparse: None, ..entry };
        }
        self.writer.entry(&entry).map_err(Error::Write)
    }

    /// Writes an entry with its data, and a hard link for each further name.
    fn file(&mut self, entry: &Entry, names: Vec<PathBuf>, data: &mut impl BufRead) -> Result<(), Stop> {
        let mut names = names.into_iter();
        let Some(first) = names.next() else { return Ok(()) };
        self.put(entry, first.clone(), None).map_err(Stop::Other)?;
        loop {
            let bytes = data.fill_buf().map_err(entry::Error::from)?;
            if bytes.is_empty() {
                break;
            }
            self.writer.write_all(bytes).map_err(|error| Stop::Other(Error::Write(error)))?;
            let count = bytes.len();
            data.consume(count);
        }
        for name in names {
            self.put(entry, name, Some(&first)).map_err(Stop::Other)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::image::{Descriptor, MediaType};

    use super::*;
    use crate::address::digest;

    fn source(archive: &[u8]) -> Source {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        let digest = digest::sha256(archive);
        let descriptor = Descriptor::new(MediaType::ImageLayer, archive.len() as u64, digest.clone());
        Source { blob: file, descriptor, diff_id: digest }
    }

    fn archive(entries: &[(Entry, &str)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in entries {
            let size = if entry.kind == Kind::File { data.len() as u64 } else { 0 };
            writer.entry(&Entry { size, ..entry.clone() }).unwrap();
            writer.write_all(data.as_bytes()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn file<'a>(path: &str, data: &'a str) -> (Entry, &'a str) {
        (Entry::new(path, Kind::File, 0o644), data)
    }

    fn other<'a>(path: &str, kind: Kind) -> (Entry, &'a str) {
        (Entry::new(path, kind, 0o755), "")
    }

    /// The merged archive in words: path, type and data of every entry.
    fn merged(layers: &[&[(Entry, &str)]]) -> Result<Vec<String>, Error> {
        let sources: Vec<Source> = layers.iter().map(|layer| source(&archive(layer))).collect();
        let bytes = merge(&sources, Vec::new(), &Options::default())?;
        assert_eq!(bytes, merge(&sources, Vec::new(), &Options::default())?, "equal input gives equal bytes");
        let mut reader = Reader::new(&bytes[..]);
        let mut found = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let mut data = String::new();
            io::Read::read_to_string(&mut reader, &mut data).unwrap();
            found.push(match &entry.kind {
                Kind::File => format!("{}={data}", entry.path.display()),
                Kind::HardLink(target) => format!("{}>{}", entry.path.display(), target.display()),
                Kind::Symlink(target) => format!("{}->{}", entry.path.display(), target.display()),
                Kind::Directory => entry.path.display().to_string(),
                _ => format!("{} {:?}", entry.path.display(), entry.kind),
            });
        }
        Ok(found)
    }

    #[test]
    fn upper_layers_delete_replace_and_fill() {
        let base = [
            other("a", Kind::Directory),
            file("a/x", "1"),
            file("a/y", "2"),
            other("b", Kind::Directory),
            file("b/z", "3"),
            other("dev/null", Kind::Character(1, 3)),
        ];
        let top = [file("a/.wh.x", ""), file("a/y", "4"), file("b/.wh..wh..opq", ""), file("b/new", "5")];
        assert_eq!(
            merged(&[&base, &top]).unwrap(),
            ["a/", "b/", "dev/", "dev/null Character(1, 3)", "a/y=4", "b/new=5"]
        );
        assert_eq!(
            merged(&[&base, &[file(".wh.a", ""), file("a/q", "6"), file(".wh.b", ""), file(".wh.dev", "")]]).unwrap(),
            ["a/", "a/q=6"]
        );
    }

    #[test]
    fn a_name_of_a_file_keeps_its_data_when_the_other_is_replaced() {
        let base = [file("a", "old"), other("b", Kind::HardLink("a".into())), other("c", Kind::HardLink("a".into()))];
        assert_eq!(merged(&[&base]).unwrap(), ["a=old", "b>a", "c>a"]);
        assert_eq!(merged(&[&base, &[file("a", "new")]]).unwrap(), ["b=old", "c>b", "a=new"]);
        // A link may come before its target.
        assert_eq!(merged(&[&[other("b", Kind::HardLink("a".into())), file("a", "x")]]).unwrap(), ["a=x", "b>a"]);
        assert!(matches!(merged(&[&[other("b", Kind::HardLink("a".into()))]]), Err(Error::Apply { .. })));
    }

    #[test]
    fn paths_lead_through_links_inside_the_root() {
        let base = [
            other("usr/lib", Kind::Directory),
            other("lib", Kind::Symlink("usr/lib".into())),
            other("var/run", Kind::Symlink("../../run".into())),
            other("loop", Kind::Symlink("loop".into())),
        ];
        let top = [file("lib/x", "1"), file("var/run/y", "2"), file("loop/z", "3"), file("lib/.wh.gone", "")];
        assert_eq!(
            merged(&[&base, &top]).unwrap(),
            [
                "loop/",
                "run/",
                "usr/",
                "usr/lib/",
                "var/",
                "lib->usr/lib",
                "var/run->../../run",
                "usr/lib/x=1",
                "run/y=2",
                "loop/z=3",
            ]
        );
    }

    #[test]
    fn names_that_would_read_as_deletions_are_never_written() {
        assert_eq!(merged(&[&[file(".wh..wh.plnk/1.2", "x"), file("a", "y")]]).unwrap(), ["a=y"]);
        assert!(matches!(merged(&[&[file(".wh.a/b", "x")]]), Err(Error::Apply { .. })));
        assert!(matches!(merged(&[&[file("../b", "x")]]), Err(Error::Apply { .. })));
        assert!(matches!(merged(&[&[file("./", "x")]]), Err(Error::Apply { .. })));
    }

    #[test]
    fn times_are_clamped_and_marks_of_overlayfs_dropped() {
        let mut entry = file("a", "").0;
        entry.modified = Time { seconds: 50, nanoseconds: 7 };
        entry.xattrs = vec![("trusted.overlay.opaque".into(), b"y".to_vec()), ("user.x".into(), b"1".to_vec())];
        let sources = [source(&archive(&[
            (Entry { modified: entry.modified, ..other("./", Kind::Directory).0 }, ""),
            (entry, ""),
        ]))];
        let bytes = merge(&sources, Vec::new(), &Options { latest: Some(9), ..Options::default() }).unwrap();
        let mut reader = Reader::new(&bytes[..]);
        let root = reader.next_entry().unwrap().unwrap();
        assert_eq!((root.path, root.modified.seconds), ("./".into(), 9));
        let read = reader.next_entry().unwrap().unwrap();
        assert_eq!(read.modified, Time { seconds: 9, nanoseconds: 0 });
        assert_eq!(read.xattrs, [("user.x".into(), b"1".to_vec())]);
        let bytes = merge(&sources, Vec::new(), &Options { without_root: true, ..Options::default() }).unwrap();
        assert_eq!(Reader::new(&bytes[..]).next_entry().unwrap().unwrap().path, Path::new("a"));
    }

    #[test]
    fn a_corrupt_layer_gives_no_byte() {
        let mut wrong = source(&archive(&[file("a", "x")]));
        wrong.diff_id = digest::sha256(b"other");
        let mut output = Vec::new();
        let error = merge(&[source(&archive(&[file("b", "y")])), wrong], &mut output, &Options::default()).unwrap_err();
        assert!(matches!(error, Error::Layer(cache::Error::Blob { .. })), "{error}");
        assert!(output.is_empty());
        assert!(
            merge(&[source(b"")], Vec::new(), &Options::default()).is_ok(),
            "an empty blob is an archive without entries"
        );
    }
}
