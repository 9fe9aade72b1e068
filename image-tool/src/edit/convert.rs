//! Converting an image: the same layers in another compression.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, MediaType};
use serde_json::Value;

use super::append::{Error, Tee, flavoured, read_through};
use crate::layer::Compression;
use crate::layer::cache::{self, Source};
use crate::layer::limit::Limits;
use crate::layer::pack::{Packer, Packing};
use crate::layout::{self, Image, Layout, Writer, is_index};

/// Annotations about the bytes of a blob, which are wrong for another one: tables of contents of stargz and zstd:chunked.
const ABOUT_BYTES: [&str; 3] =
    ["containerd.io/snapshot/stargz/", "io.containers.estargz.", "io.github.containers.zstd-chunked."];

/// The annotation of an attestation that names the image.
const ATTESTED: &str = "vnd.docker.reference.digest";

/// What layers are to become.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// How they are compressed.
    pub packing: Packing,
    /// The limits of what is read.
    pub limits: Limits,
}

/// Writes an image whose layers are compressed in this way. The config stays as it is, and so do the files, their order and the
/// diff IDs. Layers that are compressed so already are kept, unless a level was asked for, as are those that may not be distributed.
/// Every layer is verified.
///
/// # Errors
/// [`Error`].
pub fn convert(layout: &Layout, image: &Image, writer: &Writer, conversion: Conversion) -> Result<Descriptor, Error> {
    conversion.limits.check(image.manifest().layers().len())?;
    let mut manifest = parsed(image.manifest_bytes(), image.descriptor())?;
    for (index, source) in Source::of_image(layout, image)?.into_iter().enumerate() {
        let is_foreign = source.descriptor.urls().as_ref().is_some_and(|urls| !urls.is_empty());
        if is_foreign || conversion.packing.is_met_by(Compression::of(source.descriptor.media_type())?) {
            continue;
        }
        let layer = flavoured(&repack(&source, writer, conversion)?, image)?;
        let entry = &mut manifest["layers"][index];
        describe(entry, &layer);
        entry["mediaType"] = layer.media_type().to_string().into();
        if let Some(annotations) = entry.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !ABOUT_BYTES.iter().any(|prefix| key.starts_with(prefix)));
        }
    }
    Ok(writer.put(super::append::media_type(image, &manifest), manifest.to_string().as_bytes())?)
}

/// As [`convert`], for all images of an index and the index itself. What is attested of an image is told of the converted one;
/// artifacts stay as they are.
///
/// # Errors
/// [`Error`].
pub fn convert_all(
    layout: &Layout,
    top: &Descriptor,
    writer: &Writer,
    conversion: Conversion,
) -> Result<Descriptor, Error> {
    if !is_index(top) {
        return convert(layout, &layout.image_of(top)?, writer, conversion);
    }
    let mut index = parsed(&layout.document(top)?, top)?;
    let mut converted = HashMap::new();
    let entries = index["manifests"].as_array_mut().into_iter().flatten();
    for entry in entries {
        let descriptor: Descriptor = serde_json::from_value(entry.clone()).map_err(|error| malformed(top, &error))?;
        if is_artifact(layout, &descriptor)? {
            continue;
        }
        let new = convert_all(layout, &descriptor, writer, conversion)?;
        describe(entry, &new);
        converted.insert(descriptor.digest().to_string(), new.digest().to_string());
    }
    for entry in index["manifests"].as_array_mut().into_iter().flatten() {
        let attested = entry["annotations"][ATTESTED].as_str().and_then(|digest| converted.get(digest));
        if let Some(digest) = attested {
            entry["annotations"][ATTESTED] = digest.as_str().into();
        }
    }
    let media_type = index["mediaType"].as_str().map_or_else(|| top.media_type().clone(), MediaType::from);
    Ok(writer.put(media_type, index.to_string().as_bytes())?)
}

/// Whether an entry of an index is no container image: its layers are not layers of files.
fn is_artifact(layout: &Layout, entry: &Descriptor) -> Result<bool, Error> {
    if is_index(entry) {
        return Ok(false);
    }
    let manifest = parsed(&layout.document(entry)?, entry)?;
    let media_types = manifest["layers"].as_array().into_iter().flatten().map(|layer| layer["mediaType"].as_str());
    let is_layer = |text: Option<&str>| text.is_some_and(|text| Compression::of(&MediaType::from(text)).is_ok());
    Ok(!media_types.into_iter().all(is_layer))
}

fn parsed(bytes: &[u8], descriptor: &Descriptor) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|error| malformed(descriptor, &error))
}

fn malformed(descriptor: &Descriptor, error: &serde_json::Error) -> Error {
    layout::Error::Malformed { what: format!("manifest {}", descriptor.digest()), reason: error.to_string() }.into()
}

/// Points a descriptor in a document to other bytes.
fn describe(entry: &mut Value, new: &Descriptor) {
    entry["digest"] = new.digest().to_string().into();
    entry["size"] = new.size().into();
}

/// Writes the archive of a layer as another blob, once it is verified.
///
/// # Errors
/// [`Error`].
pub fn repack(source: &Source, writer: &Writer, conversion: Conversion) -> Result<Descriptor, Error> {
    let digest = || source.descriptor.digest().clone();
    let mut stream = source.start_within(conversion.limits)?.into_stream();
    let mut packer = Packer::new(writer, conversion.packing)?;
    let tee = Tee { reader: &mut stream, writer: &mut packer };
    let copied = read_through(tee, conversion.limits.entries()).map(drop);
    if let Err(error @ Error::TooMany { .. }) = copied {
        return Err(Error::Unread { digest: digest(), source: Box::new(error) });
    }
    // What is wrong with the blob says more than the error of reading it.
    stream.finish().map_err(|source| cache::Error::Blob { digest: digest(), source })?;
    copied.map_err(|source| Error::Unread { digest: digest(), source: Box::new(source) })?;
    Ok(packer.finish()?.0)
}
