//! ADD of an archive: its entries become entries of the layer.

use std::io;
use std::path::{Path, PathBuf};

use image_tool::layer::entry::{self, Kind};

use super::{Copier, Data, absolute};
use crate::copy::error::Error;
use crate::source::files;

impl Copier<'_, '_> {
    /// Unpacks an archive at the destination. Entries keep their owners, modes and times.
    pub(super) fn unpack(&mut self, file: &std::fs::File, name: &str) -> Result<(), Error> {
        let read = |source| Error::Read { name: name.to_owned(), source };
        let base = self.directory_destination()?;
        self.write_waiting()?;
        let decoder = file.try_clone().and_then(crate::source::archive::decoder).map_err(read)?;
        let mut reader = entry::Reader::new(io::BufReader::with_capacity(1 << 17, decoder));
        let failed = |source| Error::Archive { name: name.to_owned(), source };
        let mut buffer = vec![0; 1 << 17];
        while let Some(mut entry) = reader.next_entry().map_err(failed)? {
            let inside = files::inside(&entry.path.to_string_lossy());
            let inside = if entry.path.to_str().is_some() { inside } else { lossless(&entry.path) };
            let Some(file_name) = inside.file_name() else { continue };
            // Links, the archive's own and the image's, are resolved in the image.
            let parent = self.tree.resolve(&base.join(inside.parent().unwrap_or(Path::new(""))))?;
            let path = parent.join(file_name);
            self.check_name(&path)?;
            self.make_directory(&parent)?;
            if let Kind::HardLink(target) = &entry.kind {
                entry.kind = Kind::HardLink(self.tree.resolve(&base.join(lossless(target)))?);
            }
            let is_directory = entry.kind == Kind::Directory;
            match is_directory {
                true if self.tree.is_directory(&self.tree.resolve(&path)?) => {
                    // The archive of a root file system with merged /usr may hold `lib/`; it means the directory that
                    // the link `lib` leads to.
                    let path = self.tree.resolve(&path)?;
                    if path.as_os_str().is_empty() || path == base {
                        continue;
                    }
                    entry.path = path;
                }
                true => entry.path = path,
                false if self.tree.is_directory(&path) => return Err(Error::OverDirectory(absolute(&path))),
                false => entry.path = path,
            }
            let path = entry.path.clone();
            self.parents(&path);
            self.write_waiting()?;
            self.adjust(&mut entry);
            let size = entry.stored();
            let is_file = entry.kind == Kind::File;
            self.archive.entry(&entry).map_err(Error::Write)?;
            if is_file {
                self.stream(&mut reader, size, &mut buffer, &path)?;
            }
            self.insert(&path, entry, Data::None);
            self.waiting.remove(&path);
            if is_directory {
                self.written.insert(path);
            }
        }
        Ok(())
    }
}

/// The path's normal components, in any encoding; `..` is dropped.
fn lossless(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect()
}
