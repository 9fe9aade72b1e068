//! The two dialects of the same documents: OCI's, and docker's schema 2. Blobs stay as they are; only what refers to them is rewritten,
//! so the digest of a rewritten image is another.

use std::collections::HashMap;

use image_tool::layer::Compression;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

use super::manifest::{Content, DOCKER_LIST, DOCKER_MANIFEST, Manifest, ManifestError};
use super::plan::Plan;

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OCI's, which has room for everything.
    Oci,
    /// docker's schema 2, which knows container images alone.
    V2s2,
}

impl Format {
    /// The image in this dialect. A document that is in it already stays as it is, byte for byte.
    ///
    /// # Errors
    /// [`ManifestError::Malformed`] for what the dialect has no words for: an artifact, or a layer of zstd.
    pub(crate) fn convert(self, mut plan: Plan) -> Result<Plan, ManifestError> {
        // By the old digest. Documents come after those that they refer to.
        let mut new = HashMap::new();
        for manifest in &mut plan.documents {
            let old = manifest.descriptor.digest().clone();
            *manifest = self.document(manifest, &new)?;
            new.insert(old.to_string(), manifest.descriptor.clone());
        }
        Ok(plan)
    }

    fn document(self, old: &Manifest, new: &HashMap<String, Descriptor>) -> Result<Manifest, ManifestError> {
        let before: Value = serde_json::from_slice(&old.bytes).map_err(|error| old.malformed(error.to_string()))?;
        let mut document = before.clone();
        let media_type = match &old.content {
            Content::Image(_) => {
                self.image(old, &mut document)?;
                self.word(MediaType::ImageManifest, DOCKER_MANIFEST)
            }
            Content::Index(_) => {
                self.index(&mut document, new);
                self.word(MediaType::ImageIndex, DOCKER_LIST)
            }
        };
        if self == Self::V2s2 {
            self.check_words(old, &mut document)?;
        }
        if document == before && *old.descriptor.media_type() == media_type {
            return Ok(old.clone());
        }
        document["mediaType"] = media_type.to_string().into();
        Manifest::made(&media_type, &document)
    }

    fn word(self, oci: MediaType, docker: &str) -> MediaType {
        match self {
            Self::Oci => oci,
            Self::V2s2 => MediaType::from(docker),
        }
    }

    fn image(self, old: &Manifest, document: &mut Value) -> Result<(), ManifestError> {
        let config = document["config"]["mediaType"].as_str().unwrap_or_default();
        if config == DOCKER_CONFIG || config == MediaType::ImageConfig.to_string() {
            document["config"]["mediaType"] = self.word(MediaType::ImageConfig, DOCKER_CONFIG).to_string().into();
        } else if self == Self::V2s2 {
            return Err(old.malformed(format!("docker's schema 2 has no room for {config:?} (an artifact is OCI's)")));
        }
        for layer in document["layers"].as_array_mut().into_iter().flatten() {
            let text = layer["mediaType"].as_str().unwrap_or_default();
            match self.layer(text) {
                Some(word) => layer["mediaType"] = word.into(),
                None if self == Self::Oci => {}
                None => {
                    let reason = format!(
                        "docker's schema 2 has no layers of type {text:?} (copy --dest-compress-format gzip makes others)"
                    );
                    return Err(old.malformed(reason));
                }
            }
        }
        Ok(())
    }

    /// The media type of a layer; `None` if there is none in this dialect.
    fn layer(self, text: &str) -> Option<String> {
        let is_foreign = text.contains(".nondistributable.") || text.contains(".foreign.");
        let compression = Compression::of(&MediaType::from(text)).ok()?;
        Some(match (self, compression) {
            (Self::Oci, compression) => {
                let suffix = match compression {
                    Compression::None => "",
                    Compression::Gzip => "+gzip",
                    Compression::Zstd => "+zstd",
                };
                let kind = if is_foreign { "nondistributable." } else { "" };
                format!("application/vnd.oci.image.layer.{kind}v1.tar{suffix}")
            }
            (Self::V2s2, Compression::Zstd) => return None,
            (Self::V2s2, compression) => {
                let suffix = if compression == Compression::Gzip { ".gzip" } else { "" };
                let kind = if is_foreign { "foreign." } else { "" };
                format!("application/vnd.docker.image.rootfs.{kind}diff.tar{suffix}")
            }
        })
    }

    fn index(self, document: &mut Value, new: &HashMap<String, Descriptor>) {
        let entries: Vec<Value> = document["manifests"].as_array().cloned().unwrap_or_default();
        let renamed = |mut entry: Value| {
            // An attestation tells which image it is of.
            let attested = entry["annotations"]["vnd.docker.reference.digest"].as_str().and_then(|text| new.get(text));
            if let Some(image) = attested {
                entry["annotations"]["vnd.docker.reference.digest"] = image.digest().to_string().into();
            }
            if let Some(manifest) = entry["digest"].as_str().and_then(|digest| new.get(digest)) {
                entry["mediaType"] = manifest.media_type().to_string().into();
                entry["digest"] = manifest.digest().to_string().into();
                entry["size"] = manifest.size().into();
            }
            entry
        };
        document["manifests"] = json!(entries.into_iter().map(renamed).collect::<Vec<_>>());
    }

    /// Drops annotations, for which schema 2 has no field, and refuses what would be another thing without its other fields.
    fn check_words(self, old: &Manifest, document: &mut Value) -> Result<(), ManifestError> {
        for field in ["subject", "artifactType"] {
            if document.get(field).is_some() {
                return Err(old.malformed(format!("docker's schema 2 has no {field} (an artifact is OCI's)")));
            }
        }
        let Some(fields) = document.as_object_mut() else { return Ok(()) };
        fields.remove("annotations");
        for (_, list) in fields.iter_mut().filter(|(name, _)| matches!(name.as_str(), "layers" | "manifests")) {
            for entry in list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                entry.remove("annotations");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_a_name_in_each_dialect() {
        let (oci, docker) = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.");
        for (one, other) in [
            ("v1.tar", "diff.tar"),
            ("v1.tar+gzip", "diff.tar.gzip"),
            ("nondistributable.v1.tar+gzip", "foreign.diff.tar.gzip"),
        ] {
            let (one, other) = (format!("{oci}{one}"), format!("{docker}{other}"));
            assert_eq!(Format::V2s2.layer(&one).as_ref(), Some(&other));
            assert_eq!(Format::Oci.layer(&other).as_ref(), Some(&one));
            assert_eq!(Format::Oci.layer(&one).as_ref(), Some(&one));
        }
        assert_eq!(Format::V2s2.layer(&format!("{oci}v1.tar+zstd")), None);
        assert_eq!(Format::Oci.layer(&format!("{docker}diff.tar.zstd")), Some(format!("{oci}v1.tar+zstd")));
    }
}
