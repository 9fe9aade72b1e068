//! ADD of an archive: its entries become entries of the layer, and replace what is there, as tar(1) does it.

use std::io;
use std::path::{Path, PathBuf};

use image_tool::layer::entry::{self, Entry, Kind};
use image_tool::layer::whiteout;

use super::{Copier, Data, Made, absolute};
use crate::copy::error::Error;
use crate::source::{digests, files};

impl Copier<'_, '_> {
    /// Unpacks an archive at the destination. Entries keep their modes and times, and their owners unless there is a
    /// `--chown`.
    pub(super) fn unpack(&mut self, file: &std::fs::File, name: &str) -> Result<(), Error> {
        let read = |source| Error::Read { name: name.to_owned(), source };
        self.write_waiting()?;
        let base = self.tree.resolve(Path::new(&self.options.destination))?;
        self.make_directory(&base, Made { mode: 0o755, ..self.options.made() })?;
        self.write_waiting()?;
        let decoder = file.try_clone().and_then(crate::source::archive::decoder).map_err(read)?;
        let mut reader = entry::Reader::new(io::BufReader::with_capacity(1 << 17, decoder));
        let failed = |source| Error::Archive { name: name.to_owned(), source };
        let mut buffer = vec![0; 1 << 17];
        while let Some(mut entry) = reader.next_entry().map_err(failed)? {
            let inside = files::inside(&entry.path.to_string_lossy());
            let inside = if entry.path.to_str().is_some() { inside } else { lossless(&entry.path) };
            if inside.file_name().is_none() {
                continue;
            }
            let path = self.place(&base, &inside)?;
            self.check_name(&path)?;
            if let Some(parent) = path.parent() {
                // A directory that the archive does not name.
                let made = Made { mode: 0o755, owner: (0, 0), ..self.options.made() };
                self.make_directory(parent, made)?;
            }
            if let Kind::HardLink(target) = &entry.kind {
                entry.kind = Kind::HardLink(self.link_target(&path, &base, target)?);
            }
            self.parents(&path);
            self.write_waiting()?;
            let opaque = self.make_room(&path, &entry);
            entry.path = path.clone();
            entry.xattrs.retain(|(name, _)| name == digests::CAPABILITY);
            if let Some(owner) = self.options.owner {
                (entry.uid, entry.gid) = owner;
            }
            entry.modified.seconds = self.options.latest(entry.modified.seconds);
            let (size, is_file) = (entry.stored(), entry.kind == Kind::File);
            let is_directory = entry.kind == Kind::Directory;
            self.archive.entry(&entry).map_err(Error::Write)?;
            if is_file {
                self.stream(&mut reader, size, &mut buffer, &path)?;
            }
            if opaque {
                let marker = path.join(whiteout::OPAQUE);
                self.archive.entry(&Entry::new(marker, Kind::File, 0o644)).map_err(Error::Write)?;
            }
            self.insert(&path, entry, Data::None);
            self.waiting.remove(&path);
            if is_directory {
                self.written.insert(path);
            }
        }
        Ok(())
    }

    /// The path of an entry in the image. Links in the directories above it, the archive's own and the image's, are resolved as if the
    /// destination were the root, so that nothing is unpacked elsewhere.
    fn place(&self, base: &Path, inside: &Path) -> Result<PathBuf, Error> {
        let parent = self.tree.resolve_beneath(base, inside.parent().unwrap_or(Path::new("")))?;
        Ok(parent.join(inside.file_name().unwrap_or_default()))
    }

    /// The path that a hard link leads to, which must be in this layer: the layer is unpacked alone.
    fn link_target(&self, path: &Path, base: &Path, target: &Path) -> Result<PathBuf, Error> {
        let target = self.place(base, &lossless(target))?;
        if !self.tree.is_new(&target) || self.tree.is_directory(&target) {
            return Err(Error::Link { path: absolute(path), target: absolute(&target) });
        }
        Ok(target)
    }

    /// Prepares for an entry that replaces what is there: everything but a directory where it is a directory itself. Returns
    /// whether the directory must hide what layers below have in it.
    fn make_room(&mut self, path: &Path, entry: &Entry) -> bool {
        if entry.kind != Kind::Directory {
            self.written.retain(|written| !written.starts_with(path));
            return false;
        }
        // What this layer has put here may have replaced a directory of a layer below, which must not come back.
        !self.tree.is_directory(path) && self.tree.is_new(path)
    }
}

/// The path's normal components, in any encoding; `..` is dropped.
fn lossless(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect()
}
