//! Verifying images: the digest and size of every blob, every diff ID, every document and the archive of every layer.
//!
//! Not everything in a layout is a container image, even if it has the form of one: attestations, signatures, charts, policies.
//! What is none is judged by digests and sizes alone, as image-spec manifest.md wants ("implementations must not fail on media
//! types that they do not know"). Diff IDs are compared where a config has them, for layers that are archives.
//!
//! The room only reads. It may know `address`, `layer` and `layout`.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci_spec::image::{Descriptor, MediaType};
use serde_json::Value;

use crate::address::digest::Digest;
use crate::layer::Compression;
use crate::layer::entry::{self, Reader};
use crate::layer::limit::{Limits, TooManyLayers};
use crate::layer::stream::{self, Stream};
use crate::layout::{self, Image, Layout, MANIFEST_LIMIT, check_document, is_index, is_manifest};

/// A problem of an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A document or blob is missing or corrupt.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The blob of a layer does not match its descriptor or its diff ID.
    #[error("layer {digest}")]
    Layer {
        /// The digest of the blob.
        digest: Digest,
        /// Why verification failed.
        source: stream::Error,
    },
    /// A layer is not a tar archive.
    #[error("layer {digest}")]
    Archive {
        /// The digest of the blob.
        digest: Digest,
        /// Why verification failed.
        source: entry::Error,
    },
    /// The config has an invalid diff ID.
    #[error("config {digest}: diff id")]
    DiffId {
        /// The digest of the config.
        digest: Digest,
        /// Why verification failed.
        source: crate::address::digest::Error,
    },
    /// An image has more layers than it may have.
    #[error("manifest {digest}")]
    Layers {
        /// The digest of the manifest.
        digest: Digest,
        /// How many it has.
        source: TooManyLayers,
    },
    /// A layer has more entries than it may have.
    #[error("layer {digest}: more than {limit} entries")]
    Entries {
        /// The digest of the blob.
        digest: Digest,
        /// The maximum number of entries.
        limit: u64,
    },
    /// The layout has none of the manifests of an index.
    #[error("index {digest}: the layout has none of its manifests")]
    Empty {
        /// The digest of the index.
        digest: Digest,
    },
}

/// Verifies images. A blob that several images share is verified once.
#[derive(Default)]
pub struct Verification {
    sound: BTreeSet<(String, String)>,
    limits: Limits,
}

impl Verification {
    /// A verification that has not seen any blob.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A verification for which images that exceed limits are not sound.
    #[must_use]
    pub fn within(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The problems of everything reachable from `descriptor`.
    pub fn verify(&mut self, layout: &Layout, descriptor: &Descriptor) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut layers = Vec::new();
        let limits = self.limits;
        document(layout, descriptor, limits, &mut layers, &mut problems);
        layers.retain(|(layer, diff_id): &(Descriptor, Option<Digest>)| {
            !self.sound.contains(&key(layer, diff_id.as_ref()))
        });
        layers.sort_by_key(|(layer, diff_id)| key(layer, diff_id.as_ref()));
        layers.dedup();
        // The largest first, so that no thread is left alone with one at the end.
        layers.sort_by_key(|(layer, _)| std::cmp::Reverse(layer.size()));
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Vec::new());
        let sound = Mutex::new(&mut self.sound);
        let work = || {
            while let Some((descriptor, diff_id)) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                match blob(layout, descriptor, diff_id.as_ref(), limits) {
                    Ok(()) => {
                        sound.lock().expect("no thread panics with it").insert(key(descriptor, diff_id.as_ref()));
                    }
                    Err(problem) => found.lock().expect("no thread panics with it").push(problem),
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(layers.len());
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        let mut found = found.into_inner().expect("no thread panics with it");
        found.sort_by_key(ToString::to_string);
        problems.append(&mut found);
        problems
    }
}

fn document(
    layout: &Layout,
    descriptor: &Descriptor,
    limits: Limits,
    layers: &mut Vec<(Descriptor, Option<Digest>)>,
    problems: &mut Vec<Problem>,
) {
    if is_index(descriptor) {
        let manifests = match layout.manifests(descriptor) {
            Ok(manifests) => manifests,
            Err(error) => return problems.push(error.into()),
        };
        // After pulling one platform, the index still names the others.
        let present: Vec<&Descriptor> = manifests
            .iter()
            .filter(|manifest| !matches!(layout.open_blob(manifest), Err(layout::Error::MissingBlob { .. })))
            .collect();
        if present.is_empty() && !manifests.is_empty() {
            problems.push(Problem::Empty { digest: descriptor.digest().clone() });
        }
        for manifest in present {
            document(layout, manifest, limits, layers, problems);
        }
        return;
    }
    if is_manifest(descriptor) {
        match layout.image_of(descriptor) {
            Ok(image) => {
                if let Err(source) = limits.check(image.manifest().layers().len()) {
                    return problems.push(Problem::Layers { digest: descriptor.digest().clone(), source });
                }
                return image_layers(&image, layers, problems);
            }
            Err(layout::Error::Malformed { .. }) if is_artifact(layout, descriptor) => {}
            Err(error) => return problems.push(error.into()),
        }
    }
    match layout.reach(std::slice::from_ref(descriptor)) {
        Ok(blobs) => layers.extend(blobs.into_values().map(|blob| (blob, None))),
        Err(error) => problems.push(error.into()),
    }
}

fn key(descriptor: &Descriptor, diff_id: Option<&Digest>) -> (String, String) {
    (descriptor.digest().to_string(), diff_id.map(ToString::to_string).unwrap_or_default())
}

fn image_layers(image: &Image, layers: &mut Vec<(Descriptor, Option<Digest>)>, problems: &mut Vec<Problem>) {
    for (layer, diff_id) in image.layers() {
        if Compression::of(layer.media_type()).is_err() {
            layers.push((layer.clone(), None));
            continue;
        }
        match crate::address::digest::parse(diff_id) {
            Ok(diff_id) => layers.push((layer.clone(), Some(diff_id))),
            Err(source) => {
                let digest = image.manifest().config().digest().clone();
                problems.push(Problem::DiffId { digest, source });
            }
        }
    }
}

/// Whether a manifest that cannot be read as that of a container image is none: by its own words, or because its config has no
/// diff IDs, or because none of its layers is an archive of files.
fn is_artifact(layout: &Layout, descriptor: &Descriptor) -> bool {
    let Ok(bytes) = layout.read(descriptor, MANIFEST_LIMIT) else { return false };
    // A document that can be read in two ways is nothing that one could judge.
    if check_document(&bytes, descriptor).is_err() {
        return false;
    }
    let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let config = &document["config"];
    let images = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
    if document["artifactType"].is_string() || config["mediaType"].as_str().is_some_and(|text| !images.contains(&text))
    {
        return true;
    }
    let layers = document["layers"].as_array().map_or(&[][..], Vec::as_slice);
    let is_archive =
        |layer: &Value| layer["mediaType"].as_str().is_some_and(|text| Compression::of(&MediaType::from(text)).is_ok());
    if !layers.is_empty() && !layers.iter().any(is_archive) {
        return true;
    }
    let config = serde_json::from_value::<Descriptor>(config.clone()).ok();
    let config = config.and_then(|config| layout.read(&config, MANIFEST_LIMIT).ok());
    let config = config.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    // An index under the name of a config is nothing that one could judge either.
    config.is_some_and(|config| {
        config.is_object() && config["manifests"].is_null() && config["rootfs"]["diff_ids"].is_null()
    })
}

/// Verifies one blob. With a diff ID it is read as a layer.
fn blob(layout: &Layout, descriptor: &Descriptor, diff_id: Option<&Digest>, limits: Limits) -> Result<(), Problem> {
    let Some(diff_id) = diff_id else {
        return Ok(layout.blob(descriptor)?.finish().map_err(|error| layout.read_error(descriptor, error))?);
    };
    let digest = || descriptor.digest().clone();
    let file = layout.open_blob(descriptor)?;
    let stream = Stream::open(file, descriptor, Some(diff_id), limits.archive(descriptor.size()));
    let mut stream = stream.map_err(|source| Problem::Layer { digest: digest(), source })?;
    let mut reader = Reader::new(&mut stream);
    let mut entries = 0;
    let archive = loop {
        match reader.next_entry() {
            Ok(Some(_)) if entries == limits.entries() => {
                return Err(Problem::Entries { digest: digest(), limit: entries });
            }
            Ok(Some(_)) => entries += 1,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // Report the corrupt blob, not the broken archive that results from it.
    stream.verdict().map_err(|source| Problem::Layer { digest: digest(), source })?;
    archive.map_err(|source| Problem::Archive { digest: digest(), source })
}
