//! An archive of images, read in one pass into a layout.
//!
//! What comes first in an archive is not defined: docker writes the layers before the `manifest.json` that explains them.
//! So every large file becomes a blob in the making, without a name in the layout, and small ones stay in memory; at the
//! end those that an image needs are committed, and the rest is as if it had never been. Nothing is copied a second time
//! and nothing is left behind by an archive that was cut.
//!
//! Layers stay the bytes that they are. A plain tar becomes a plain layer, which is what makes loading cost a hash and a
//! copy: compressing it would take twenty times as long, for a blob whose digest nobody else has. (Pushed to a registry a
//! plain layer costs more to transfer; whoever wants it small saves it from a layout where it is.) With an `index.json`
//! every blob is held against the digest by which it is named, as in a pull. A layer that only `manifest.json` names is held
//! against the config's diff id, compressed or not.

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
use crate::layout::Writer;

/// An image that was loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The name that it had in the archive, if it had one that a layout can have.
    pub name: Option<RefName>,
    /// What it is.
    pub descriptor: Descriptor,
}

/// Reads an archive, plain or compressed with gzip or zstd, and puts its images into the writer's layout.
///
/// # Errors
/// [`Error`]; the layout then has no new entry.
pub fn load<R: Read>(input: R, writer: &Writer) -> Result<(Vec<Loaded>, Format), Error> {
    raise_file_limit();
    let (decoder, _) = Decoder::detect(input)?;
    let mut archive = Archive::new(writer);
    archive.read(BufReader::with_capacity(256 * 1024, decoder))?;
    let (loaded, format) =
        if archive.find(Path::new("index.json")).is_some() && archive.find(Path::new("oci-layout")).is_some() {
            (archive.oci()?, Format::Oci)
        } else if archive.find(Path::new("manifest.json")).is_some() {
            (archive.docker()?, Format::Docker)
        } else if archive.find(Path::new("repositories")).is_some() {
            (archive.legacy()?, Format::Docker)
        } else {
            return Err(Error::NoImage);
        };
    if loaded.is_empty() {
        return Err(Error::NoImage);
    }
    writer.layout().update_index(|index| {
        for Loaded { name, descriptor } in &loaded {
            match name {
                Some(name) => index.set(name, descriptor),
                None => index.add(descriptor),
            }
        }
        Ok(())
    })?;
    Ok((loaded, format))
}

/// As far as it goes: a file is open for each layer until the end. With too many, opening fails and says so.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
