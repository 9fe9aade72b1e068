//! The files of images: unpacked, gathered, packed as one archive, or put into a folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use image_tool::beneath::Root;
use image_tool::error::During;
use image_tool::layer::apply::{self, Applier};
use image_tool::layer::cache::{Source, apply_all};
use image_tool::layer::diff;
use image_tool::layer::merge;
use image_tool::layer::owner::Owners;
use image_tool::layout::platform::Platform;
use rustix::fs::FileType;

use super::Finished;
use super::error::Error;
use crate::stage::layer::Layer;

/// Creates a folder.
pub(super) fn create(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    fs::create_dir(&path).during("create", &path)?;
    Ok(path)
}

/// Unpacks an image into an empty folder.
pub(super) fn unpack(finished: &Finished, folder: &Path) -> Result<(), Error> {
    apply_all(&sources(&finished.built.draft.layers)?, Root::open(folder)?, apply::Options::tree())?;
    Ok(())
}

/// The files of several platforms in one folder.
#[derive(Default)]
pub(super) struct Gathered {
    /// Which platform a path comes from, and whether it is a directory.
    paths: BTreeMap<PathBuf, (String, bool)>,
}

impl Gathered {
    /// Adds the files of a platform. Only directories may be there already.
    pub(super) fn add(&mut self, platform: &Platform, from: &Path, to: &Path) -> Result<(), Error> {
        for entry in walkdir::WalkDir::new(from).min_depth(1) {
            let entry = entry.map_err(io::Error::from).during("read", from)?;
            let path = entry.path().strip_prefix(from).unwrap_or(entry.path()).to_owned();
            let directory = entry.file_type().is_dir();
            match self.paths.get(&path) {
                Some((_, true)) if directory => {}
                Some((other, _)) => {
                    return Err(Error::Twice { path, platforms: (other.clone(), platform.to_string()) });
                }
                None => drop(self.paths.insert(path, (platform.to_string(), directory))),
            }
        }
        transfer(|pipe| pack(from, pipe, None), to, apply::Options::tree())
    }
}

fn sources(layers: &[Layer]) -> Result<Vec<Source>, Error> {
    let open = |layer: &Layer| {
        let Layer { layout, descriptor, diff_id, .. } = layer;
        let blob = layout.open_blob(descriptor)?;
        Ok(Source { blob, descriptor: descriptor.clone(), diff_id: diff_id.clone() })
    };
    layers.iter().map(open).collect()
}

/// Writes the files of an image as an archive.
pub(super) fn flatten(image: &Finished, output: &mut dyn Write, options: &merge::Options) -> Result<(), Error> {
    merge::merge(&sources(&image.built.draft.layers)?, output, options)?;
    Ok(())
}

/// Writes the files of an image into a folder, as [`merge`] does those of a tree.
pub(super) fn write(image: &Finished, path: &Path, options: merge::Options) -> Result<(), Error> {
    fs::create_dir_all(path).during("create", path)?;
    let options = merge::Options { without_root: true, ..options };
    transfer(|pipe| flatten(image, pipe, &options), path, owned())
}

/// Writes a tree as an archive.
pub(super) fn pack(tree: &Path, output: &mut dyn Write, epoch: Option<i64>) -> Result<(), Error> {
    let options = diff::Options { latest: epoch, ..diff::Options::default() };
    diff::tree(&Root::open(tree)?, output, &options)?;
    Ok(())
}

/// Writes a tree into a folder, which may hold files already. They are kept, unless the tree has others of the same
/// name. As with docker, all files belong to the caller.
pub(super) fn merge(tree: &Path, path: &Path, epoch: Option<i64>) -> Result<(), Error> {
    fs::create_dir_all(path).during("create", path)?;
    // The folder itself is the caller's, and keeps its mode.
    let permissions = fs::metadata(path).during("stat", path)?.permissions();
    fs::set_permissions(tree, permissions).during("chmod", tree)?;
    transfer(|pipe| pack(tree, pipe, epoch), path, owned())
}

/// How files are written that belong to the caller.
fn owned() -> apply::Options {
    apply::Options { owners: Owners::Caller, ..apply::Options::tree() }
}

/// Puts the files of an archive, which `write` writes, into a folder.
fn transfer(
    write: impl FnOnce(&mut dyn Write) -> Result<(), Error> + Send,
    path: &Path,
    options: apply::Options,
) -> Result<(), Error> {
    let (reader, writer) = io::pipe().during("open", Path::new("pipe"))?;
    std::thread::scope(|scope| {
        let written = scope.spawn(move || {
            let mut writer = io::BufWriter::with_capacity(1 << 16, writer);
            write(&mut writer)?;
            Ok::<_, Error>(writer.flush().during("write", Path::new("pipe"))?)
        });
        // The archive is a plain tree without whiteouts, so nothing is deleted; and links in the folder are not followed.
        let apply = || -> Result<(), apply::Error> {
            let mut applier = Applier::new(Root::open(path).map_err(apply::Error::from)?, options);
            let mut reader = BufReader::with_capacity(1 << 16, reader);
            applier.layer(&mut reader)?;
            applier.finish()?;
            // The writer has more to write, as archives are padded.
            let _ = io::copy(&mut reader, &mut io::sink());
            Ok(())
        };
        let applied = apply().map_err(|source| Error::Merge { path: path.to_owned(), source });
        let written = written.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // If the folder cannot be written, the pipe breaks too.
        applied.and(written)
    })
}

/// Removes what is in a folder and not in the tree that was written into it.
pub(super) fn delete_others(tree: &Path, path: &Path) -> Result<(), Error> {
    let (tree, root) = (Root::open(tree)?, Root::open(path)?);
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for name in root.names(&folder)? {
            let path = folder.join(name);
            match tree.lstat(&path)? {
                None => root.remove(&path)?,
                Some(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => folders.push(path),
                Some(_) => {}
            }
        }
    }
    Ok(())
}
