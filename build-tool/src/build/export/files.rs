//! The files of an image: unpacked, packed as one archive, or put into a folder.

use std::fs;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use image_tool::beneath::Root;
use image_tool::error::During;
use image_tool::layer::apply::{self, Applier};
use image_tool::layer::cache::{Source, apply_all};
use image_tool::layer::diff;
use image_tool::layer::owner::Owners;

use super::Finished;
use super::error::Error;
use crate::stage::layer::Layer;
use crate::step::session::Session;

/// Unpacks the images below `folder`, those for several platforms into a folder each: `linux_amd64`.
pub(super) fn unpack(session: &Session<'_>, finished: &[Finished], folder: &Path) -> Result<PathBuf, Error> {
    let tree = folder.join("tree");
    fs::create_dir(&tree).during("create", &tree)?;
    for Finished { platform, built } in finished {
        let mut place = tree.clone();
        if session.options.platforms.len() > 1 {
            place.push(platform.to_string().replace('/', "_"));
            fs::create_dir(&place).during("create", &place)?;
        }
        apply_all(&sources(&built.draft.layers)?, Root::open(&place)?, apply::Options::tree())?;
    }
    Ok(tree)
}

/// Unpacks one image below `folder`.
pub(super) fn unpack_one(finished: &Finished, folder: &Path) -> Result<PathBuf, Error> {
    let tree = folder.join("tree");
    fs::create_dir(&tree).during("create", &tree)?;
    apply_all(&sources(&finished.built.draft.layers)?, Root::open(&tree)?, apply::Options::tree())?;
    Ok(tree)
}

fn sources(layers: &[Layer]) -> Result<Vec<Source>, Error> {
    let open = |layer: &Layer| {
        let Layer { layout, descriptor, diff_id, .. } = layer;
        let blob = layout.open_blob(descriptor)?;
        Ok(Source { blob, descriptor: descriptor.clone(), diff_id: diff_id.clone() })
    };
    layers.iter().map(open).collect()
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
    let (reader, writer) = io::pipe().during("open", Path::new("pipe"))?;
    let options = apply::Options { owners: Owners::Caller, ..apply::Options::tree() };
    std::thread::scope(|scope| {
        let packed = scope.spawn(move || {
            let mut writer = io::BufWriter::with_capacity(1 << 16, writer);
            pack(tree, &mut writer, epoch)?;
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
        let packed = packed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // If the folder cannot be written, the pipe breaks too.
        applied.and(packed)
    })
}
