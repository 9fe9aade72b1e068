//! Converting an image: the same layers in another compression.

use std::io;

use oci_spec::image::Descriptor;
use serde_json::Value;

use super::append::{Error, flavoured};
use crate::layer::cache::{self, Source};
use crate::layer::pack::Packer;
use crate::layer::{Compression, Packing};
use crate::layout::{self, Image, Layout, Writer};

/// Annotations about the bytes of a blob, which are wrong for another one: tables of contents of stargz and zstd:chunked.
const ABOUT_BYTES: [&str; 3] =
    ["containerd.io/snapshot/stargz/", "io.containers.estargz.", "io.github.containers.zstd-chunked."];

/// Writes an image whose layers are compressed in this way. The config stays as it is, and so do the files, their order and the
/// diff IDs. Layers that are compressed so already are kept, as are those that may not be distributed. Every layer is verified.
///
/// # Errors
/// [`Error`].
pub fn convert(layout: &Layout, image: &Image, writer: &Writer, compression: Compression) -> Result<Descriptor, Error> {
    let mut manifest: Value =
        serde_json::from_slice(image.manifest_bytes()).map_err(|error| layout::Error::Malformed {
            what: format!("manifest {}", image.descriptor().digest()),
            reason: error.to_string(),
        })?;
    for (index, source) in Source::of_image(layout, image)?.into_iter().enumerate() {
        let is_foreign = source.descriptor.urls().as_ref().is_some_and(|urls| !urls.is_empty());
        if is_foreign || Compression::of(source.descriptor.media_type())? == compression {
            continue;
        }
        let layer = flavoured(&repack(&source, writer, compression)?, image)?;
        let entry = &mut manifest["layers"][index];
        entry["mediaType"] = layer.media_type().to_string().into();
        entry["digest"] = layer.digest().to_string().into();
        entry["size"] = layer.size().into();
        if let Some(annotations) = entry.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !ABOUT_BYTES.iter().any(|prefix| key.starts_with(prefix)));
        }
    }
    Ok(writer.put(super::append::media_type(image, &manifest), manifest.to_string().as_bytes())?)
}

/// Writes the archive of a layer as another blob, once it is verified.
///
/// # Errors
/// [`Error`].
pub fn repack(source: &Source, writer: &Writer, packing: impl Into<Packing>) -> Result<Descriptor, Error> {
    let digest = || source.descriptor.digest().clone();
    let mut stream = source.start()?.into_stream();
    let mut packer = Packer::new(writer, packing)?;
    let copied = io::copy(&mut stream, &mut packer);
    // What is wrong with the blob says more than the error of reading it.
    stream.finish().map_err(|source| cache::Error::Blob { digest: digest(), source })?;
    copied
        .map_err(|error| crate::error::Io::new("write", writer.layout().path().join("blobs"), error))
        .map_err(layout::Error::from)?;
    Ok(packer.finish()?.0)
}
