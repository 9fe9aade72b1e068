//! Loading an archive of images into a layout, in one pass.
//!
//! The order of files in an archive is not defined: docker writes layers before the `manifest.json` that refers to
//! them. So every large file is written as a blob without a name in the layout, and small files stay in memory. At the
//! end, the blobs that an image needs are committed, and the others vanish. Nothing is copied twice, and a truncated
//! archive leaves nothing behind.
//!
//! Layers are stored as they are. A plain tar becomes a plain layer, so that loading costs only a hash and a copy;
//! compressing it would take twenty times as long, for a blob whose digest nobody else has. (Pushing a plain layer to a
//! registry transfers more bytes.) With an `index.json`, the digest of every blob is verified, as when pulling. A layer
//! that only `manifest.json` names is verified by the diff ID in the config, compressed or not.
//!
//! `store` keeps the files; `oci`, `docker` and `legacy` find the images in them, each in one format.

mod docker;
mod legacy;
mod oci;
mod store;

use std::io::{BufReader, Read};
use std::path::Path;

use oci_spec::image::Descriptor;

use self::store::Archive;
use super::{Error, Format};
use crate::address::RefName;
use crate::layer::Decoder;
use crate::layer::limit::Limits;
use crate::layout::{Layout, Writer};

/// An image that was loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The name in the archive, if it is a valid ref.
    pub name: Option<RefName>,
    /// The manifest or index of the image.
    pub descriptor: Descriptor,
}

/// Loads an archive, plain or compressed with gzip, zstd, bzip2 or xz, into the layout of the writer.
///
/// An `index.json` with entries tells all; docker 25 leaves it without any for an image that was saved by its ID, which
/// `manifest.json` names then. An `oci-layout` file is not needed to understand either.
///
/// # Errors
/// [`Error`]. The layout then has no new entry.
pub fn load<R: Read>(input: R, writer: &Writer, limits: Limits) -> Result<(Vec<Loaded>, Format), Error> {
    raise_file_limit();
    let (decoder, _) = Decoder::detect(input)?;
    let mut archive = Archive::new(writer, limits);
    archive.read(BufReader::with_capacity(256 * 1024, decoder))?;
    let has = |archive: &Archive<'_>, name: &str| archive.find(Path::new(name)).is_some();
    let mut found = (Vec::new(), Format::Docker);
    if has(&archive, "index.json") {
        found = (archive.oci()?, Format::Oci);
    }
    if found.0.is_empty() && has(&archive, "manifest.json") {
        found = (archive.docker()?, Format::Docker);
    } else if found.0.is_empty() && has(&archive, "repositories") {
        found = (archive.legacy()?, Format::Docker);
    }
    let (loaded, format) = found;
    if loaded.is_empty() {
        let known = ["index.json", "manifest.json", "repositories"].into_iter().find(|name| has(&archive, name));
        return Err(known.map_or(Error::NoImage, |name| Error::Unnamed { path: name.into() }));
    }
    for Loaded { descriptor, .. } in &loaded {
        check_layers(writer.layout(), descriptor, limits)?;
    }
    writer.layout().update_index(|index| {
        for Loaded { name, descriptor } in &loaded {
            match name {
                Some(name) => writer.name(index, name, descriptor),
                None => index.add(descriptor),
            }
        }
        Ok(())
    })?;
    Ok((loaded, format))
}

/// Whether each image has no more layers than it may have.
fn check_layers(layout: &Layout, descriptor: &Descriptor, limits: Limits) -> Result<(), Error> {
    if limits.layers.is_none() {
        return Ok(());
    }
    for manifest in layout.manifests(descriptor)? {
        // An index may name what the archive lacks.
        if layout.has(&manifest) {
            let found = layout.image_of(&manifest)?.manifest().layers().len();
            limits.check(found).map_err(|source| Error::Layers { digest: manifest.digest().clone(), source })?;
        }
    }
    Ok(())
}

/// Raises the limit of open files as far as possible, since each large file stays open until the end. If it is too low,
/// opening fails and says so.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
