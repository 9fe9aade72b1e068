//! Converting an image: the same layers in another compression.
//!
//! eStargz adds files to a layer, a table of contents among them. They are put in and taken out with it, and the diff IDs in the config
//! follow, as when containerd converts an image. docker's manifests have no annotations, which say where a table is: an image whose
//! layers get tables becomes OCI's.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, MediaType};
use serde_json::Value;

use super::append::{Error, Tee, flavoured, read_through};
use crate::layer::Compression;
use crate::layer::cache::{self, Source};
use crate::layer::limit::Limits;
use crate::layer::pack::{Format, Packed, Packer, Packing, SeekableError, TOC_DIGEST, strip};
use crate::layer::stream::Stream;
use crate::layout::{self, Image, Layout, Writer, is_index};

/// Annotations about the bytes of a blob, which are wrong for another one: tables of contents of stargz and zstd:chunked.
const ABOUT_BYTES: [&str; 4] = [
    "containerd.io/snapshot/stargz/",
    "io.containers.estargz.",
    "io.containers.zstd-chunked.",
    "io.github.containers.zstd-chunked.",
];

/// The beginning of docker's media types.
const DOCKER: &str = "application/vnd.docker.";

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

/// Writes an image whose layers are packed in this way. The config stays as it is, and so do the files, their order and the
/// diff IDs; those of eStargz are others. Layers that are packed so already are kept, unless a level was asked for, as are those that may
/// not be distributed. One that has no place in a table of contents is compressed as a whole. Every layer is verified.
///
/// # Errors
/// [`Error`].
pub fn convert(layout: &Layout, image: &Image, writer: &Writer, conversion: Conversion) -> Result<Descriptor, Error> {
    conversion.limits.check(image.manifest().layers().len())?;
    let mut manifest = parsed(image.manifest_bytes(), image.descriptor())?;
    let mut config = None;
    for (index, source) in Source::of_image(layout, image)?.into_iter().enumerate() {
        let is_foreign = source.descriptor.urls().as_ref().is_some_and(|urls| !urls.is_empty());
        if is_foreign || conversion.packing.is_met_by(Format::of(&source.descriptor)?) {
            continue;
        }
        let packed = repack(&source, writer, conversion)?;
        let entry = &mut manifest["layers"][index];
        describe(entry, &packed.descriptor);
        entry["mediaType"] = flavoured(&packed.descriptor, image)?.media_type().to_string().into();
        if let Some(annotations) = entry.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !ABOUT_BYTES.iter().any(|prefix| key.starts_with(prefix)));
            if annotations.is_empty() {
                entry.as_object_mut().map(|entry| entry.remove("annotations"));
            }
        }
        for (key, value) in packed.descriptor.annotations().iter().flatten() {
            entry["annotations"][key] = value.as_str().into();
        }
        if packed.diff_id != source.diff_id {
            let config = match &mut config {
                Some(config) => config,
                None => config.insert(parsed(image.config_bytes(), image.manifest().config())?),
            };
            config["rootfs"]["diff_ids"][index] = packed.diff_id.to_string().into();
        }
    }
    if let Some(mut config) = config {
        // Before there were digests, docker's builder had the ID of an image here, which this one does not have.
        for part in ["config", "container_config"] {
            if let Some(part) = config.get_mut(part).and_then(Value::as_object_mut) {
                part.remove("Image");
            }
        }
        let config = writer.put(image.manifest().config().media_type().clone(), config.to_string().as_bytes())?;
        describe(&mut manifest["config"], &config);
    }
    if conversion.packing.is_seekable() {
        make_oci(&mut manifest);
    }
    Ok(writer.put(super::append::media_type(image, &manifest), manifest.to_string().as_bytes())?)
}

/// Gives a manifest OCI's media types in place of docker's.
fn make_oci(manifest: &mut Value) {
    let is_docker = |value: &Value| value.as_str().is_some_and(|text| text.starts_with(DOCKER));
    if is_docker(&manifest["mediaType"]) {
        manifest["mediaType"] = MediaType::ImageManifest.to_string().into();
    }
    if is_docker(&manifest["config"]["mediaType"]) {
        manifest["config"]["mediaType"] = MediaType::ImageConfig.to_string().into();
    }
    for layer in manifest["layers"].as_array_mut().into_iter().flatten() {
        let media_type = &mut layer["mediaType"];
        let Some(text) = media_type.as_str().filter(|text| text.starts_with(DOCKER)) else { continue };
        let is_foreign = text.contains(".foreign.");
        if let Ok(compression) = Compression::of(&MediaType::from(text)) {
            let oci = compression.media_type().to_string();
            *media_type = if is_foreign { oci.replace(".layer.", ".layer.nondistributable.") } else { oci }.into();
        }
    }
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
        if conversion.packing.is_seekable() {
            entry["mediaType"] = new.media_type().to_string().into();
        }
        converted.insert(descriptor.digest().to_string(), new.digest().to_string());
    }
    for entry in index["manifests"].as_array_mut().into_iter().flatten() {
        let attested = entry["annotations"][ATTESTED].as_str().and_then(|digest| converted.get(digest));
        if let Some(digest) = attested {
            entry["annotations"][ATTESTED] = digest.as_str().into();
        }
    }
    if conversion.packing.is_seekable() && index["mediaType"].as_str().is_some_and(|text| text.starts_with(DOCKER)) {
        index["mediaType"] = MediaType::ImageIndex.to_string().into();
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
pub fn repack(source: &Source, writer: &Writer, conversion: Conversion) -> Result<Packed, Error> {
    let Conversion { packing, limits } = conversion;
    // nerdctl's zstd:chunked has this annotation too, and eStargz's landmark.
    let annotations = source.descriptor.annotations().as_ref();
    let strips = annotations.is_some_and(|all| all.contains_key(TOC_DIGEST));
    if packing.is_seekable() {
        let packed = read(source, limits, |stream| Ok(packing.pack(stream, writer, limits, strips)?));
        match packed {
            Err(Error::Unread { digest, source }) if matches!(*source, Error::Seekable(SeekableError::Unfit(_))) => {
                tracing::info!("layer {digest}: compressed as a whole: {source}");
            }
            other => return other,
        }
    }
    let mut packer = Packer::new(writer, packing.plain())?;
    read(source, limits, |stream| {
        if strips {
            return Ok(strip(stream, &mut packer, limits)?);
        }
        read_through(Tee { reader: stream, writer: &mut packer }, limits.entries()).map(drop)
    })?;
    let (descriptor, diff_id) = packer.finish()?;
    Ok(Packed { descriptor, diff_id })
}

/// Does something with the archive of a layer, and verifies it.
fn read<T>(source: &Source, limits: Limits, work: impl FnOnce(&mut Stream) -> Result<T, Error>) -> Result<T, Error> {
    let digest = || source.descriptor.digest().clone();
    let unread = |error| Error::Unread { digest: digest(), source: Box::new(error) };
    let mut stream = source.start_within(limits)?.into_stream();
    let done = work(&mut stream);
    // What is decided before the end of the archive need not wait for it.
    if let Err(error @ (Error::TooMany { .. } | Error::Seekable(SeekableError::Unfit(_)))) = done {
        return Err(unread(error));
    }
    // What is wrong with the blob says more than the error of reading it.
    stream.finish().map_err(|source| cache::Error::Blob { digest: digest(), source })?;
    done.map_err(unread)
}
