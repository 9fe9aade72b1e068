//! A signature for an image at a registry, put where cosign puts it.

use std::collections::BTreeMap;

use oci_spec::image::MediaType;
use serde_json::{Value, json};
use thiserror::Error;

use super::beside::{BesideError, described, put, reach};
use crate::client::Registry;
use crate::question::failure::EndpointError;
use crate::question::manifest::Content;
use crate::question::round::Round;
use crate::question::signature::{signatures, tag, written};
use crate::reference::ImageName;
use crate::trust::key::{KeyError, PrivateKey};
use crate::trust::payload::{Kind, Payload};
use crate::trust::signature::{PAYLOAD, Signature, Signers};

/// What to sign, and as whom.
pub struct Order<'a> {
    /// The image.
    pub name: &'a ImageName,
    /// The key.
    pub key: &'a PrivateKey,
    /// The certificate of the key, and those that lead from it to its root.
    pub certificate: Option<(&'a str, &'a str)>,
    /// What else is signed.
    pub annotations: BTreeMap<String, Value>,
    /// Whether each image of an index is signed too.
    pub is_recursive: bool,
}

/// Why an image was not signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// The image, or its registry.
    #[error(transparent)]
    Beside(#[from] BesideError),
    /// The key cannot sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Signs an image; returns its digest.
///
/// Signatures that it has already are kept. One of the same key over the same payload is not repeated.
///
/// # Errors
/// [`SignError`].
pub async fn sign(order: &Order<'_>, round: Round<'_>) -> Result<String, SignError> {
    let name = order.name;
    let (registry, digests) = subjects(name, order.is_recursive, round).await?;
    for digest in &digests {
        let (reference, annotations) = (reference(name), order.annotations.clone());
        let payload = Payload { kind: Kind::Cosign, reference, digest: digest.clone(), annotations };
        let made = Signature::make(&payload, order.key, order.certificate)?;
        add(&registry, order, &payload, made).await.map_err(|error| BesideError::of(name, error))?;
    }
    Ok(digests.into_iter().next().expect("the image itself is the first"))
}

/// The registry of an image, and the digests that are signed: its own, and those of an index's images.
pub(super) async fn subjects(
    name: &ImageName,
    is_recursive: bool,
    round: Round<'_>,
) -> Result<(Registry, Vec<String>), BesideError> {
    let (registry, top) = reach(name, round).await?;
    let mut digests = vec![top.descriptor.digest().to_string()];
    if let (true, Content::Index(images)) = (is_recursive, &top.content) {
        digests.extend(images.iter().map(|image| image.digest().to_string()));
    }
    Ok((registry, digests))
}

/// The name that is signed: the repository, as cosign writes it.
fn reference(name: &ImageName) -> String {
    let host = if name.registry() == "docker.io" { "index.docker.io" } else { name.registry() };
    format!("{host}/{}", name.repository())
}

/// Adds a signature to those of an image.
async fn add(registry: &Registry, order: &Order<'_>, payload: &Payload, made: Signature) -> Result<(), EndpointError> {
    let (known, artifact) = signatures(registry, &payload.digest).await?;
    let own = Signers { keys: vec![order.key.public()], authority: None };
    let is_same = |other: &Signature| {
        let has_same_certificate = other.annotations.get("dev.sigstore.cosign/certificate")
            == made.annotations.get("dev.sigstore.cosign/certificate");
        other.payload == made.payload && has_same_certificate && own.check(other, &payload.digest).is_ok()
    };
    if known.iter().any(is_same) {
        return Ok(());
    }
    let mut layer = described(PAYLOAD, &made.payload);
    layer.set_annotations(Some(made.annotations));
    put(registry, &layer, made.payload).await?;
    let mut layers = artifact.and_then(|artifact| written(&artifact.bytes)).unwrap_or_default();
    layers.push(layer);

    // The config that cosign writes: that of an image without a platform.
    let zero = "0001-01-01T00:00:00Z";
    let ids: Vec<String> = layers.iter().map(|layer| layer.digest().to_string()).collect();
    let history: Vec<Value> = layers.iter().map(|_| json!({ "created": zero })).collect();
    let config = json!({
        "architecture": "", "created": zero, "history": history, "os": "",
        "rootfs": { "type": "layers", "diff_ids": ids }, "config": {},
    });
    let config = config.to_string().into_bytes();
    let config_descriptor = described(MediaType::ImageConfig.as_ref(), &config);
    put(registry, &config_descriptor, config).await?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.to_string(),
        "config": config_descriptor,
        "layers": layers,
    });
    let media_type = MediaType::ImageManifest.to_string();
    registry.put_manifest(&tag(&payload.digest), &media_type, manifest.to_string().into()).await?;
    Ok(())
}
