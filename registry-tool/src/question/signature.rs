//! The signatures that a registry has of an image, where cosign puts them: in an artifact under a tag that names the digest.

use bytes::Bytes;
use oci_spec::image::{Descriptor, ImageManifest};

use super::failure::EndpointError;
use super::lookaside::kept_aside;
use super::manifest::{Content, Manifest};
use super::query;
use crate::client::{Registry, Settings};
use crate::place::policy::{By, Demand};
use crate::reference::ImageName;
use crate::trust::payload::Payload;
use crate::trust::signature::{PAYLOAD, Signature, TrustError};

/// More signatures than anybody gives one image.
const SIGNATURES: usize = 256;

/// More bytes than any payload has.
const PAYLOAD_LIMIT: u64 = 1 << 20;

/// The tag under which the signatures of an image are.
#[must_use]
pub fn tag(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

/// The signatures of the image with a digest, and the artifact that holds them, if there is one.
///
/// # Errors
/// As for any request. One without signatures is no error.
pub async fn signatures(
    registry: &Registry,
    digest: &str,
) -> Result<(Vec<Signature>, Option<Manifest>), EndpointError> {
    let document = match registry.manifest(&tag(digest)).await {
        Err(error) if error.is_absence() => return Ok((Vec::new(), None)),
        other => other?,
    };
    let wrong = |source| EndpointError::Manifest { host: registry.host().to_owned(), source };
    let manifest = Manifest::named(&document, None).map_err(wrong)?;
    let mut found = Vec::new();
    for layer in layers(&manifest).into_iter().take(SIGNATURES) {
        let payload = query::small(registry, &layer).await?;
        found.push(Signature { payload, annotations: layer.annotations().clone().unwrap_or_default() });
    }
    Ok((found, Some(manifest)))
}

/// The layers of an artifact that are payloads.
fn layers(manifest: &Manifest) -> Vec<Descriptor> {
    let Content::Image(blobs) = &manifest.content else { return Vec::new() };
    let is_payload = |blob: &&Descriptor| blob.media_type().to_string() == PAYLOAD && blob.size() <= PAYLOAD_LIMIT;
    blobs.iter().skip(1).filter(is_payload).cloned().collect()
}

/// The layers of an artifact of signatures as they were written, with what is not a payload too.
pub(crate) fn written(manifest: &Bytes) -> Option<Vec<Descriptor>> {
    let manifest: ImageManifest = serde_json::from_slice(manifest).ok()?;
    Some(manifest.layers().clone())
}

/// Whether an image has the signatures that it must have, under one of its digests: that of its index, or its own.
///
/// # Errors
/// [`EndpointError::Untrusted`], and the registry's.
pub(crate) async fn meet(
    registry: &Registry,
    name: &ImageName,
    demands: &[Demand],
    digests: &[&str],
    settings: &Settings,
) -> Result<(), EndpointError> {
    let mut digests = digests.to_vec();
    digests.dedup();
    // Cosign's are asked for once, whoever must have made them.
    let mut known = Vec::new();
    if demands.iter().any(|demand| matches!(demand.by, By::Sigstore(_))) {
        for digest in &digests {
            known.push(signatures(registry, digest).await?.0);
        }
    }
    for demand in demands {
        let fits = |payload: &Payload| {
            if demand.identity.fits(&payload.reference, name) {
                Ok(())
            } else {
                Err(format!("it is one of the name {:?}", payload.reference))
            }
        };
        let mut failure: Option<TrustError> = None;
        let mut is_met = false;
        for (number, digest) in digests.iter().enumerate() {
            let good = match &demand.by {
                By::Sigstore(signers) => signers.good(&known[number], digest, fits),
                By::Gpg(keyring, lookaside) => {
                    let found = kept_aside(lookaside, name, registry, digest, settings).await?;
                    keyring.good(&found, digest, fits)
                }
            };
            match good {
                Ok(_) => is_met = true,
                // What is wrong with signatures says more than that there is none.
                Err(error @ TrustError::NoneGood { .. }) => failure = Some(error),
                Err(error) => failure = failure.or(Some(error)),
            }
            if is_met {
                break;
            }
        }
        if let Some(source) = failure.filter(|_| !is_met) {
            return Err(EndpointError::Untrusted { host: registry.host().to_owned(), source });
        }
    }
    Ok(())
}
