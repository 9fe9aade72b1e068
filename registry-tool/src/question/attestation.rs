//! The SBOM and the provenance of an image at a registry: in its index, or in artifacts that refer to it.

use image_tool::layout::attestation::{Attestation, STATEMENT_LIMIT, attests, predicate};
use oci_spec::image::Descriptor;
use serde_json::Value;

use super::failure::EndpointError;
use super::manifest::{Content, Manifest};
use super::query::{promised, small_within};
use super::referrer::referrers;
use crate::client::Registry;

/// More artifacts than anybody reads about one image.
const ARTIFACTS: usize = 64;

/// What is said of `image`, which a name led to by `top`, perhaps its index.
///
/// # Errors
/// As for any request, and if what is said is not JSON.
pub async fn attestations(
    registry: &Registry,
    top: &Manifest,
    image: &Descriptor,
    wanted: Attestation,
) -> Result<Vec<Value>, EndpointError> {
    let mut found = Vec::new();
    if let Content::Index(entries) = &top.content {
        for entry in entries.iter().filter(|entry| attests(entry, image.digest())) {
            say(registry, &promised(registry, entry).await?, wanted, &mut found).await?;
        }
    }
    let mut digests = vec![image.digest().to_string()];
    if top.descriptor.digest() != image.digest() {
        digests.push(top.descriptor.digest().to_string());
    }
    for digest in digests {
        for artifact in referrers(registry, &digest, None).await?.into_iter().take(ARTIFACTS) {
            let Ok(entry) = serde_json::from_value::<Descriptor>(artifact.descriptor) else { continue };
            match promised(registry, &entry).await {
                // It has gone since it was listed.
                Err(error) if error.is_absence() => {}
                artifact => say(registry, &artifact?, wanted, &mut found).await?,
            }
        }
    }
    Ok(found)
}

async fn say(
    registry: &Registry,
    artifact: &Manifest,
    wanted: Attestation,
    found: &mut Vec<Value>,
) -> Result<(), EndpointError> {
    let Content::Image(blobs) = &artifact.content else { return Ok(()) };
    for layer in blobs.iter().skip(1).filter(|layer| wanted.is_in(layer)) {
        let bytes = small_within(registry, layer, STATEMENT_LIMIT).await?;
        let said = predicate(layer, &bytes);
        found.push(said.map_err(|source| EndpointError::Blob { host: registry.host().to_owned(), source })?);
    }
    Ok(())
}
