//! The documents of an image: a manifest for each platform, and an index of several.

use std::collections::{BTreeMap, HashMap};

use image_tool::address::digest::Digest;
use image_tool::layout::Writer;
use image_tool::layout::platform::Platform;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::json;

use super::error::Error;
use super::{Finished, attest};
use crate::build::output::{Form, Layers, Level};
use crate::cache::exchange;
use crate::step::session::Session;

/// Writes the image's blobs and documents. Returns the manifest or index, and the config of an image for one platform.
pub(super) fn write(
    session: &Session<'_>,
    finished: &[Finished],
    form: &Form,
    writer: &Writer,
) -> Result<(Descriptor, Option<Digest>), Error> {
    let (mut entries, mut attestations) = (Vec::new(), Vec::new());
    let mut config = None;
    for each in finished {
        let Finished { platform, built } = each;
        let mut draft = built.draft.clone();
        if !session.options.platforms.is_empty() {
            draft.set_platform(platform);
        }
        for (name, value) in &session.options.labels {
            draft.set_member("Labels", name, value.as_str());
        }
        if let Some(Layers { packing, all }) = form.layers {
            for layer in draft.layers.iter_mut().filter(|layer| all || layer.built) {
                *layer = layer.packed(packing, writer)?;
            }
        }
        if form.steps {
            let digests = built.draft.layers.iter().map(|layer| layer.descriptor.digest().to_string());
            let packed = draft.layers.iter().map(|layer| layer.descriptor.clone());
            draft.set_steps(exchange::inline(&session.cache, &digests.zip(packed).collect()));
        }
        let created = draft.created();
        let annotations = annotations(form, Level::Manifest, Some(platform));
        let mut descriptor = draft.write(writer, created.as_deref(), &annotations)?;
        config = Some(writer.layout().image_of(&descriptor)?.manifest().config().digest().clone());
        annotate(&mut descriptor, self::annotations(form, Level::ManifestDescriptor, Some(platform)));
        attestations.extend(attest::write(session, each, form, writer, &descriptor)?);
        entries.push(descriptor);
    }
    // As BuildKit has it, attestations come after all images.
    entries.extend(attestations);
    let of_index = annotations(form, Level::Index, None);
    let mut root = match &entries[..] {
        [only] => {
            if let Some(name) = of_index.keys().next() {
                return Err(Error::NoIndex(name.clone()));
            }
            only.clone()
        }
        _ => {
            config = config.filter(|_| finished.len() == 1);
            let mut document =
                json!({"schemaVersion": 2, "mediaType": MediaType::ImageIndex.to_string(), "manifests": entries});
            if !of_index.is_empty() {
                document["annotations"] = json!(of_index);
            }
            writer.put(MediaType::ImageIndex, document.to_string().as_bytes())?
        }
    };
    annotate(&mut root, annotations(form, Level::IndexDescriptor, None));
    Ok((root, config))
}

/// The annotations of a document.
fn annotations(form: &Form, level: Level, platform: Option<&Platform>) -> BTreeMap<String, String> {
    let fitting = form.annotations.iter().filter(|annotation| {
        annotation.level == level && (annotation.platform.is_none() || annotation.platform.as_ref() == platform)
    });
    fitting.map(|annotation| (annotation.name.clone(), annotation.value.clone())).collect()
}

fn annotate(descriptor: &mut Descriptor, annotations: BTreeMap<String, String>) {
    if !annotations.is_empty() {
        let mut all: HashMap<String, String> = descriptor.annotations().clone().unwrap_or_default();
        all.extend(annotations);
        descriptor.set_annotations(Some(all));
    }
}
