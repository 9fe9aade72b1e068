//! The table of contents of a layer: what COPY and WORKDIR must know of the image below.
//!
//! COPY follows the links of the image below (`/lib` is `usr/lib`), must know whether its destination is a directory,
//! and repeats the owner and mode of every parent directory. Unpacking a base image for that would take seconds.
//! Instead, its table of contents is read once, from the layer's blob or from its unpacked directory, and kept in
//! `builds/contents/` by diff id. [`crate::stage::tree`] merges the tables of several layers.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use image_tool::address::digest::Digest;
use image_tool::address::home::Home;
use image_tool::beneath::{self, Root, Time};
use image_tool::error::{During, Io};
use image_tool::layer;
use image_tool::layer::apply;
use image_tool::layer::cache::Archive;
use image_tool::layer::entry::{self, Entry, Kind, Reader};
use image_tool::layer::merge;
use image_tool::layer::stream::{self, Stream};
use image_tool::layer::whiteout::{self, Whiteout};
use image_tool::layout;
use rustix::fs::{AtFlags, FileType};

use super::layer::Layer;

/// A layer's table of contents. Paths neither begin nor end in `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Files, directories and links, in the order of the archive: a later entry replaces an earlier one.
    pub entries: Vec<(Vec<u8>, Node)>,
    /// The paths that the layer deletes.
    pub deleted: Vec<Vec<u8>>,
    /// The directories whose lower contents the layer hides.
    pub opaque: Vec<Vec<u8>>,
}

/// A file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The type.
    pub kind: NodeKind,
    /// The permission bits.
    pub mode: u32,
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The modification time.
    pub modified: Time,
    /// The extended attributes of a directory, which are repeated with it.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

/// The types that matter to what is copied over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// Anything else.
    File,
}

/// Why a layer's contents are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The layer's blob is missing, or has another size.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The blob does not match its digest, or cannot be decompressed.
    #[error("layer {digest}")]
    Stream {
        /// The blob's digest.
        digest: Digest,
        /// What is wrong with it.
        source: stream::Error,
    },
    /// The blob is not a valid tar archive.
    #[error("layer {digest}")]
    Archive {
        /// The blob's digest.
        digest: Digest,
        /// What is wrong with it.
        source: entry::Error,
    },
    /// The stored archive is not valid.
    #[error("layer {digest}")]
    Stored {
        /// The blob's digest.
        digest: Digest,
        /// What is wrong with it.
        source: apply::Error,
    },
    /// The cache of layers cannot be used.
    #[error(transparent)]
    Unpacked(#[from] layer::cache::Error),
    /// The unpacked layer cannot be read.
    #[error(transparent)]
    Directory(#[from] Io),
}

impl Contents {
    /// Returns the contents of `layer`, from the cache in `builds/`, its unpacked directory, its stored archive, or its blob.
    pub fn of(layer: &Layer, home: &Home) -> Result<Self, Error> {
        let path = home.builds().join("contents").join(layer.diff_id.digest());
        if let Some(contents) = fs::File::open(&path).ok().and_then(|file| Self::read(BufReader::new(file))) {
            return Ok(contents);
        }
        let contents = match (layer.unpacked(home)?, layer.archive(home)?) {
            (Some(unpacked), _) => Self::of_directory(unpacked.path())?,
            (None, Some(archive)) => Self::of_archive(layer, &archive)?,
            (None, None) => Self::of_blob(layer)?,
        };
        // A disk that is full or read-only costs time, but not the build.
        let _ = contents.save(&path);
        Ok(contents)
    }

    /// Reads the headers of a stored archive, which was verified.
    fn of_archive(layer: &Layer, archive: &Archive) -> Result<Self, Error> {
        let archive = merge::Archive { diff_id: archive.diff_id(), file: archive.file(), size: archive.size() };
        let failed = |source| Error::Stored { digest: layer.descriptor.digest().clone(), source };
        let mut contents = Self::default();
        for (entry, _) in merge::entries(archive, apply::ENTRIES).map_err(failed)? {
            contents.push(entry);
        }
        Ok(contents)
    }

    /// Reads the layer's archive, which is verified to its end.
    fn of_blob(layer: &Layer) -> Result<Self, Error> {
        let digest = || layer.descriptor.digest().clone();
        let blob = layer.layout.open_blob(&layer.descriptor)?;
        let limit = stream::default_limit(layer.descriptor.size());
        let stream_error = |source| Error::Stream { digest: digest(), source };
        let stream = Stream::open(blob, &layer.descriptor, Some(&layer.diff_id), limit).map_err(stream_error)?;
        let mut reader = Reader::new(stream);
        let mut contents = Self::default();
        while let Some(entry) = reader.next_entry().map_err(|source| Error::Archive { digest: digest(), source })? {
            contents.push(entry);
        }
        reader.into_inner().finish().map_err(stream_error)?;
        Ok(contents)
    }

    /// Adds an entry of an archive.
    pub fn push(&mut self, entry: Entry) {
        let path = clean(entry.path.as_os_str().as_bytes());
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], &path[..]),
        };
        if entry.kind == entry::WHITEOUT {
            self.deleted.push(path);
            return;
        }
        match whiteout::parse(std::ffi::OsStr::from_bytes(name)) {
            Some(Whiteout::Of(name)) => {
                let separator: &[u8] = if parent.is_empty() { b"" } else { b"/" };
                self.deleted.push([parent, separator, name.as_bytes()].concat());
                return;
            }
            Some(Whiteout::Opaque) => {
                self.opaque.push(parent.to_vec());
                return;
            }
            Some(_) => return,
            None => {}
        }
        let kind = match entry.kind {
            Kind::Directory => NodeKind::Directory,
            Kind::Symlink(target) => NodeKind::Symlink(target.into_os_string().into_vec()),
            _ => NodeKind::File,
        };
        let xattrs = if kind == NodeKind::Directory { entry.xattrs } else { Vec::new() };
        let node = Node { kind, mode: entry.mode, uid: entry.uid, gid: entry.gid, modified: entry.modified, xattrs };
        self.entries.push((path, node));
    }

    /// Reads a lower directory of overlayfs, in which device nodes and attributes mark deletions.
    fn of_directory(path: &Path) -> Result<Self, Error> {
        let failed =
            |error: beneath::Error| Io { operation: "read", path: path.into(), source: io::Error::other(error) };
        let root = Root::open(path).map_err(failed)?;
        let mut contents = Self::default();
        let mut waiting = vec![PathBuf::new()];
        while let Some(directory) = waiting.pop() {
            let fd = root.directory(&directory).map_err(failed)?;
            if rustix::fs::fgetxattr(&fd, image_tool::layer::apply::Marks::here().opaque(), &mut [0u8; 1])
                .is_ok_and(|n| n == 1)
            {
                contents.opaque.push(directory.as_os_str().as_bytes().to_vec());
            }
            for name in root.names(&directory).map_err(failed)? {
                let path = directory.join(&name);
                let stat = rustix::fs::statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW).during("read", &path)?;
                let key = path.as_os_str().as_bytes().to_vec();
                let kind = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::CharacterDevice if stat.st_rdev == 0 => {
                        contents.deleted.push(key);
                        continue;
                    }
                    FileType::Directory => NodeKind::Directory,
                    FileType::Symlink => {
                        NodeKind::Symlink(root.read_link(&path).map_err(failed)?.into_os_string().into_vec())
                    }
                    _ => NodeKind::File,
                };
                let mut xattrs = Vec::new();
                if kind == NodeKind::Directory {
                    xattrs = root.xattrs(&path).map_err(failed)?;
                    xattrs.retain(|(name, _)| !image_tool::layer::apply::is_overlay_mark(name));
                    waiting.push(path);
                }
                let (uid, gid) = image_tool::layer::owner::Owners::here()
                    .in_layer(stat.st_uid, stat.st_gid)
                    .unwrap_or((stat.st_uid, stat.st_gid));
                let node =
                    Node { kind, mode: stat.st_mode & 0o7777, uid, gid, modified: Time::modified(&stat), xattrs };
                contents.entries.push((key, node));
            }
        }
        Ok(contents)
    }

    /// Writes the table to a file, whole or not at all.
    fn save(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        let mut buffer = Vec::with_capacity(self.entries.len() * 64);
        for (path, node) in &self.entries {
            let (letter, target): (char, &[u8]) = match &node.kind {
                NodeKind::Directory => ('d', b""),
                NodeKind::Symlink(target) => ('l', target),
                NodeKind::File => ('f', b""),
            };
            let Time { seconds, nanoseconds } = node.modified;
            let Node { mode, uid, gid, xattrs, .. } = node;
            write!(buffer, "{letter} {mode} {uid} {gid} {seconds} {nanoseconds} {}\0", xattrs.len())?;
            for part in [path, target] {
                buffer.extend_from_slice(part);
                buffer.push(0);
            }
            for (name, value) in xattrs {
                buffer.extend_from_slice(name.as_bytes());
                buffer.push(0);
                value.iter().try_for_each(|byte| write!(buffer, "{byte:02x}"))?;
                buffer.push(0);
            }
        }
        for (letter, paths) in [("w", &self.deleted), ("o", &self.opaque)] {
            for path in paths {
                buffer.extend_from_slice(letter.as_bytes());
                buffer.push(0);
                buffer.extend_from_slice(path);
                buffer.push(0);
            }
        }
        buffer.extend_from_slice(b"end\0");
        file.write_all(&buffer)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Reads what [`Self::save`] wrote; `None` if it is truncated or damaged.
    fn read(mut file: impl BufRead) -> Option<Self> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let mut parts = bytes.split(|byte| *byte == 0);
        let mut contents = Self::default();
        loop {
            let head = std::str::from_utf8(parts.next()?).ok()?;
            match head {
                "end" => return Some(contents),
                "w" => contents.deleted.push(parts.next()?.to_vec()),
                "o" => contents.opaque.push(parts.next()?.to_vec()),
                _ => {
                    let mut fields = head.split(' ');
                    let letter = fields.next()?;
                    let mut number = || fields.next()?.parse::<i64>().ok();
                    let (mode, uid, gid) = (number()?, number()?, number()?);
                    let modified = Time { seconds: number()?, nanoseconds: number()?.try_into().ok()? };
                    let count = number()?;
                    let path = parts.next()?.to_vec();
                    let target = parts.next()?;
                    let kind = match letter {
                        "d" => NodeKind::Directory,
                        "l" => NodeKind::Symlink(target.to_vec()),
                        "f" => NodeKind::File,
                        _ => return None,
                    };
                    let mut xattrs = Vec::new();
                    for _ in 0..count {
                        let name = OsString::from_vec(parts.next()?.to_vec());
                        let hex = std::str::from_utf8(parts.next()?).ok()?;
                        let value =
                            (0..hex.len() / 2).map(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok());
                        xattrs.push((name, value.collect::<Option<Vec<u8>>>()?));
                    }
                    let node = Node {
                        kind,
                        mode: mode.try_into().ok()?,
                        uid: uid.try_into().ok()?,
                        gid: gid.try_into().ok()?,
                        modified,
                        xattrs,
                    };
                    contents.entries.push((path, node));
                }
            }
        }
    }
}

/// The path of an entry without `.`, empty components, and slashes at its ends. `..` stays: it matches nothing.
fn clean(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Contents {
        let mut contents = Contents::default();
        let mut directory = Entry::new("./usr/", Kind::Directory, 0o755);
        directory.xattrs.push(("user.a".into(), vec![0, 255]));
        directory.modified = Time { seconds: -5, nanoseconds: 7 };
        contents.push(directory);
        contents.push(Entry::new("lib", Kind::Symlink("usr/lib".into()), 0o777));
        contents.push(Entry::new("usr/file", Kind::File, 0o4755));
        contents.push(Entry::new("usr/.wh.gone", Kind::File, 0));
        contents.push(Entry::new(".wh.top", Kind::File, 0));
        contents.push(Entry::new("usr/share/.wh..wh..opq", Kind::File, 0));
        contents
    }

    #[test]
    fn what_is_saved_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x/table");
        sample().save(&path).unwrap();
        assert_eq!(Contents::read(BufReader::new(fs::File::open(&path).unwrap())), Some(sample()));
        let bytes = fs::read(&path).unwrap();
        for end in 0..bytes.len() - 1 {
            assert_eq!(Contents::read(&bytes[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn whiteouts_are_told_from_files() {
        let contents = sample();
        assert_eq!(contents.deleted, [b"usr/gone".to_vec(), b"top".to_vec()]);
        assert_eq!(contents.opaque, [b"usr/share".to_vec()]);
        assert_eq!(contents.entries.len(), 3);
    }
}
