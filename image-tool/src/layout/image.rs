//! Images: manifest and config, found through nested indexes.

use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest, MediaType};
use serde_json::Value;

use super::platform::{Platform, offered};
use super::{Error, Layout};
use crate::address::Address;
use crate::address::digest::Digest;

/// The maximum size of a manifest or an index: 4 MiB, as the distribution-spec recommends to registries.
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// The maximum size of a config, more than any has: 8 MiB.
pub const CONFIG_LIMIT: u64 = 8 << 20;
const DEPTH: usize = 4;
const LAYERS: usize = 1024;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An image for one platform. The raw bytes are kept beside the parsed documents, since they have the digest and
/// contain fields that the types lack, such as the Healthcheck of docker.
#[derive(Debug, Clone)]
pub struct Image {
    descriptor: Descriptor,
    manifest: ImageManifest,
    manifest_bytes: Vec<u8>,
    config: ImageConfiguration,
    config_bytes: Vec<u8>,
}

impl Image {
    /// The descriptor of the manifest.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &ImageManifest {
        &self.manifest
    }

    /// The manifest as bytes.
    #[must_use]
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// The config.
    #[must_use]
    pub fn config(&self) -> &ImageConfiguration {
        &self.config
    }

    /// The config as bytes.
    #[must_use]
    pub fn config_bytes(&self) -> &[u8] {
        &self.config_bytes
    }

    /// The layers, the lowest first, each with its diff ID.
    pub fn layers(&self) -> impl Iterator<Item = (&Descriptor, &str)> {
        self.manifest.layers().iter().zip(self.config.rootfs().diff_ids().iter().map(String::as_str))
    }
}

/// Whether a descriptor is that of an index or a docker manifest list.
#[must_use]
pub fn is_index(descriptor: &Descriptor) -> bool {
    match descriptor.media_type() {
        MediaType::ImageIndex => true,
        MediaType::Other(text) => text == DOCKER_LIST,
        _ => false,
    }
}

/// Whether a descriptor is that of an image manifest, OCI's or docker's.
#[must_use]
pub fn is_manifest(descriptor: &Descriptor) -> bool {
    match descriptor.media_type() {
        MediaType::ImageManifest => true,
        MediaType::Other(text) => text == DOCKER_MANIFEST,
        _ => false,
    }
}

impl Layout {
    /// The image of an address for a platform.
    ///
    /// If the address means a single image, its platform is ignored: nothing else was offered.
    ///
    /// # Errors
    /// [`Error::NoPlatform`], and those of resolving and reading.
    pub fn image(&self, address: &Address, platform: &Platform) -> Result<Image, Error> {
        let descriptor = self.resolve(address)?;
        if !is_index(&descriptor) {
            return self.image_of(&descriptor);
        }
        let manifests = self.manifests(&descriptor)?;
        let chosen = match &manifests[..] {
            [only] if only.platform().is_none() => Some(only),
            _ => platform.choose(&manifests),
        };
        match chosen {
            Some(manifest) => self.image_of(manifest),
            None => {
                let offered = offered(&manifests);
                Err(Error::NoPlatform { address: address.clone(), wanted: platform.to_string(), offered })
            }
        }
    }

    /// The image of a manifest's descriptor.
    ///
    /// # Errors
    /// [`Error::Malformed`] if manifest and config do not match, and those of reading.
    pub fn image_of(&self, descriptor: &Descriptor) -> Result<Image, Error> {
        let malformed = |reason: String| Error::Malformed { what: format!("manifest {}", descriptor.digest()), reason };
        let manifest_bytes = self.document(descriptor)?;
        if !is_manifest(descriptor) {
            return Err(malformed(format!("{} is not an image manifest", descriptor.media_type())));
        }
        let manifest: ImageManifest =
            serde_json::from_slice(&manifest_bytes).map_err(|error| malformed(error.to_string()))?;
        if manifest.layers().len() > LAYERS {
            return Err(malformed(format!("{} layers exceed the limit of {LAYERS}", manifest.layers().len())));
        }
        if matches!(manifest.config().media_type(), MediaType::EmptyJSON) {
            return Err(malformed("it is an artifact, not a container image".to_owned()));
        }
        let config_bytes = self.read(manifest.config(), CONFIG_LIMIT)?;
        let config: ImageConfiguration = serde_json::from_slice(&config_bytes).map_err(|error| Error::Malformed {
            what: format!("config {}", manifest.config().digest()),
            reason: error.to_string(),
        })?;
        let (layers, diff_ids) = (manifest.layers().len(), config.rootfs().diff_ids().len());
        if layers != diff_ids {
            return Err(malformed(format!("it has {layers} layers, but its config has {diff_ids} diff IDs")));
        }
        Ok(Image { descriptor: descriptor.clone(), manifest, manifest_bytes, config, config_bytes })
    }

    /// The manifests of a descriptor: itself, or those of the index in order.
    ///
    /// # Errors
    /// [`Error::Malformed`], and those of reading.
    pub fn manifests(&self, descriptor: &Descriptor) -> Result<Vec<Descriptor>, Error> {
        let mut found = Vec::new();
        self.visit(descriptor, DEPTH, &mut |descriptor| {
            if !is_index(descriptor) {
                found.push(descriptor.clone());
            }
        })?;
        Ok(found)
    }

    /// The descriptor with `digest` among `entries` and in their indexes.
    pub(super) fn reachable(&self, entries: &[Descriptor], digest: &Digest) -> Option<Descriptor> {
        if let Some(entry) = entries.iter().find(|entry| entry.digest() == digest) {
            return Some(entry.clone());
        }
        let mut found = None;
        for entry in entries.iter().filter(|entry| is_index(entry)) {
            // Ignore an index that cannot be read; the digest may be in another one.
            let _ = self.visit(entry, DEPTH, &mut |descriptor| {
                if descriptor.digest() == digest {
                    found.get_or_insert_with(|| descriptor.clone());
                }
            });
        }
        found
    }

    fn visit(&self, descriptor: &Descriptor, depth: usize, visitor: &mut dyn FnMut(&Descriptor)) -> Result<(), Error> {
        visitor(descriptor);
        if !is_index(descriptor) {
            return Ok(());
        }
        let malformed = |reason: String| Error::Malformed { what: format!("index {}", descriptor.digest()), reason };
        if depth == 0 {
            return Err(malformed(format!("indexes are nested more than {DEPTH} deep")));
        }
        let document: Value =
            serde_json::from_slice(&self.document(descriptor)?).map_err(|error| malformed(error.to_string()))?;
        for entry in document["manifests"].as_array().into_iter().flatten() {
            let entry: Descriptor =
                serde_json::from_value(entry.clone()).map_err(|error| malformed(error.to_string()))?;
            self.visit(&entry, depth - 1, visitor)?;
        }
        Ok(())
    }

    /// Reads a manifest or an index, and rejects one that reads as both (CVE-2021-41190) or contradicts its descriptor.
    ///
    /// # Errors
    /// [`Error::Malformed`], and those of reading.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let bytes = self.read(descriptor, MANIFEST_LIMIT)?;
        check_document(&bytes, descriptor)
            .map_err(|reason| Error::Malformed { what: format!("manifest {}", descriptor.digest()), reason })?;
        Ok(bytes)
    }
}

/// Whether two media types are OCI's and docker's for the same document: programs that convert one often mix them.
fn is_twin(one: &str, other: &str) -> bool {
    let (manifest, index) = (MediaType::ImageManifest.to_string(), MediaType::ImageIndex.to_string());
    let twins = [[manifest.as_str(), DOCKER_MANIFEST], [index.as_str(), DOCKER_LIST]];
    twins.iter().any(|pair| pair.contains(&one) && pair.contains(&other))
}

/// Rejects a document that reads as both manifest and index, or whose `mediaType` is not that of its descriptor.
///
/// # Errors
/// What is wrong, as text.
pub fn check_document(bytes: &[u8], descriptor: &Descriptor) -> Result<(), String> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let has = |key: &str| document.get(key).is_some_and(|value| !value.is_null());
    if has("manifests") && (has("layers") || has("config")) {
        return Err("it reads as a manifest and as an index (CVE-2021-41190)".to_owned());
    }
    if has("fsLayers") || has("history") {
        return Err("it has docker's schema 1, which is not supported".to_owned());
    }
    let told = descriptor.media_type().to_string();
    match document.get("mediaType").and_then(Value::as_str) {
        Some(own) if own != told && !is_twin(own, &told) => {
            Err(format!("it says that it is {own}, but its descriptor says {told}"))
        }
        _ => Ok(()),
    }
}
