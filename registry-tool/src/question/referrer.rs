//! What refers to an image at a registry: signatures, SBOMs, attestations and other artifacts (distribution-spec, "Listing Referrers").

use std::collections::BTreeMap;

use image_tool::address::digest;
use serde_json::Value;

use super::failure::EndpointError;
use crate::client::{ClientError, Registry};

/// An artifact that refers to an image.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// The digest of its manifest.
    pub digest: String,
    /// What it is.
    pub artifact_type: String,
    /// The size of its manifest.
    pub size: u64,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its descriptor, as the registry wrote it.
    pub descriptor: Value,
}

/// The artifacts that refer to an image, of one type if that is given.
///
/// A registry without the list has an index under a tag that names the digest, if clients kept one.
///
/// # Errors
/// As for any request.
pub async fn referrers(
    registry: &Registry,
    image: &str,
    artifact_type: Option<&str>,
) -> Result<Vec<Referrer>, EndpointError> {
    let found = match registry.referrers(image).await? {
        Some(found) => found,
        None => tagged(registry, image).await?,
    };
    let referrers = found.into_iter().filter_map(read);
    Ok(referrers.filter(|referrer| artifact_type.is_none_or(|wanted| referrer.artifact_type == wanted)).collect())
}

/// The list under the tag of those registries that know of no other (distribution-spec, "Referrers Tag Schema").
async fn tagged(registry: &Registry, image: &str) -> Result<Vec<Value>, ClientError> {
    let document = match registry.manifest(&tag(image)).await {
        Err(error) if error.is_absence() => return Ok(Vec::new()),
        other => other?,
    };
    let index: Value = serde_json::from_slice(&document.bytes).unwrap_or_default();
    Ok(index["manifests"].as_array().cloned().unwrap_or_default())
}

/// The tag that lists what refers to an image.
#[must_use]
pub fn tag(image: &str) -> String {
    image.replace(':', "-")
}

/// A referrer, if its descriptor has what one needs. A registry's word is not trusted to be a digest.
fn read(descriptor: Value) -> Option<Referrer> {
    let text = |key: &str| descriptor.get(key).and_then(Value::as_str);
    let digest = text("digest").filter(|text| digest::parse(text).is_ok())?.to_owned();
    let artifact_type = text("artifactType").or(text("mediaType")).unwrap_or_default().to_owned();
    let annotations = serde_json::from_value(descriptor["annotations"].clone()).unwrap_or_default();
    let size = descriptor["size"].as_u64().unwrap_or_default();
    Some(Referrer { digest, artifact_type, size, annotations, descriptor })
}
