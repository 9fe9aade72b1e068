//! What attaching, signing and copying share: the image at its own registry, small blobs that are put beside it, and the list of what
//! refers to it.

use bytes::Bytes;
use futures_util::stream;
use image_tool::address::digest::sha256;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};
use thiserror::Error;

use crate::client::{ClientError, Registry};
use crate::place::mirror::MirrorError;
use crate::question::failure::EndpointError;
use crate::question::manifest::Manifest;
use crate::question::query::manifest;
use crate::question::referrer;
use crate::question::round::Round;
use crate::reference::ImageName;

/// Why nothing was put beside an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BesideError {
    /// The registry does not have the image, or failed.
    #[error("{name}")]
    Endpoint {
        /// The name as typed.
        name: String,
        /// Why.
        source: EndpointError,
    },
    /// The configuration of registries is wrong, or forbids it.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
}

impl BesideError {
    /// A failure about this image.
    pub(super) fn of(name: &ImageName, source: impl Into<EndpointError>) -> Self {
        Self::Endpoint { name: name.typed().to_owned(), source: source.into() }
    }
}

/// The registry of an image, and what it has under the name. No mirror is asked: what is written goes to the registry.
///
/// # Errors
/// [`BesideError`].
pub(super) async fn reach(name: &ImageName, round: Round<'_>) -> Result<(Registry, Manifest), BesideError> {
    let endpoint = round.mirrors.push_endpoint(name.reference())?;
    let registry = Registry::connect(&endpoint, round.settings).await;
    let registry = registry.map_err(|error| BesideError::of(name, error))?;
    let found = manifest(&registry, name).await.map_err(|error| BesideError::of(name, error))?;
    Ok((registry, found))
}

/// The descriptor of bytes.
pub(super) fn described(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::from(media_type), bytes.len() as u64, sha256(bytes))
}

/// Sends a small blob, unless it is there.
pub(super) async fn put(registry: &Registry, descriptor: &Descriptor, bytes: Vec<u8>) -> Result<(), ClientError> {
    let digest = descriptor.digest().to_string();
    if registry.has_blob(&digest, descriptor.size()).await? {
        return Ok(());
    }
    let bytes = Bytes::from(bytes);
    registry.put_blob(&digest, descriptor.size(), || Some(stream::iter([Ok::<_, std::io::Error>(bytes.clone())]))).await
}

/// Adds an artifact to the list of those that refer to an image, which is under a tag where the registry keeps none itself.
pub(super) async fn list(registry: &Registry, image: &str, artifact: &Value) -> Result<(), ClientError> {
    let tag = referrer::tag(image);
    let known = match registry.manifest(&tag).await {
        Err(error) if error.is_absence() => None,
        other => Some(other?),
    };
    let known: Value = known.and_then(|known| serde_json::from_slice(&known.bytes).ok()).unwrap_or_default();
    let mut manifests = known["manifests"].as_array().cloned().unwrap_or_default();
    manifests.retain(|entry| entry["digest"] != artifact["digest"]);
    manifests.push(artifact.clone());
    let media_type = MediaType::ImageIndex.to_string();
    let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
    registry.put_manifest(&tag, &media_type, index.to_string().into()).await.map(drop)
}
