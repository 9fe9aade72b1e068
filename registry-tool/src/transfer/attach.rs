//! An artifact that refers to an image, made of files and pushed beside it: an SBOM, a report, a licence.

use std::collections::BTreeMap;
use std::path::PathBuf;

use image_tool::address::digest::sha256;
use image_tool::error::{During as _, Io};
use oci_spec::image::{Descriptor, MediaType};
use serde_json::json;
use thiserror::Error;

use super::beside::{BesideError, described, list, put, reach};
use crate::client::{ClientError, Registry};
use crate::question::round::Round;
use crate::reference::ImageName;

/// The most bytes that a file may have: it is held in memory.
const FILE_LIMIT: u64 = 256 << 20;

/// What to attach, and what to.
pub struct Order<'a> {
    /// The image.
    pub name: &'a ImageName,
    /// What it is.
    pub artifact_type: String,
    /// The files, each with its media type.
    pub files: Vec<(PathBuf, String)>,
    /// The annotations of the artifact.
    pub annotations: BTreeMap<String, String>,
}

/// Why nothing was attached.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The image, or its registry.
    #[error(transparent)]
    Beside(#[from] BesideError),
    /// A file cannot be read.
    #[error(transparent)]
    Io(#[from] Io),
    /// A file is too large.
    #[error("{}: more than {FILE_LIMIT} bytes (push it as a layer of an image)", .path.display())]
    TooLarge {
        /// The path of the file.
        path: PathBuf,
    },
}

/// Attaches an artifact to an image; returns its digest.
///
/// # Errors
/// [`AttachError`].
pub async fn attach(order: &Order<'_>, round: Round<'_>) -> Result<String, AttachError> {
    let mut layers = Vec::new();
    for (path, media_type) in &order.files {
        if std::fs::metadata(path).during("read", path)?.len() > FILE_LIMIT {
            return Err(AttachError::TooLarge { path: path.clone() });
        }
        let bytes = std::fs::read(path).during("read", path)?;
        let mut layer = described(media_type, &bytes);
        if let Some(name) = path.file_name() {
            let title = ("org.opencontainers.image.title".to_owned(), name.to_string_lossy().into_owned());
            layer.set_annotations(Some([title].into()));
        }
        layers.push((layer, bytes));
    }
    let (registry, image) = reach(order.name, round).await?;
    let mut subject = image.descriptor;
    subject.set_annotations(None);
    let pushed = push(&registry, order, &subject, layers).await;
    Ok(pushed.map_err(|error| BesideError::of(order.name, error))?)
}

async fn push(
    registry: &Registry,
    order: &Order<'_>,
    subject: &Descriptor,
    layers: Vec<(Descriptor, Vec<u8>)>,
) -> Result<String, ClientError> {
    let empty = b"{}";
    let config = described("application/vnd.oci.empty.v1+json", empty);
    put(registry, &config, empty.to_vec()).await?;
    let mut descriptors = Vec::new();
    for (layer, bytes) in layers {
        put(registry, &layer, bytes).await?;
        descriptors.push(layer);
    }
    let media_type = MediaType::ImageManifest.to_string();
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "artifactType": order.artifact_type,
        "config": config,
        "layers": descriptors,
        "subject": subject,
    });
    if !order.annotations.is_empty() {
        document["annotations"] = json!(order.annotations);
    }
    let bytes = document.to_string().into_bytes();
    let digest = sha256(&bytes).to_string();
    registry.put_manifest(&digest, &media_type, bytes.clone().into()).await?;
    let image = subject.digest().to_string();
    if registry.referrers(&image).await?.is_none() {
        let mut descriptor = json!(described(MediaType::ImageManifest.as_ref(), &bytes));
        descriptor["artifactType"] = order.artifact_type.as_str().into();
        if !order.annotations.is_empty() {
            descriptor["annotations"] = json!(order.annotations);
        }
        list(registry, &image, &descriptor).await?;
    }
    Ok(digest)
}
