//! What is said of an image beside it: its SBOM, and how it was made. BuildKit puts both as in-toto statements into the index of the
//! image (BuildKit, docs/attestations/attestation-storage.md), others as artifacts that refer to it (image-spec, "subject").
//!
//! Only digests are verified: a statement is worth what whoever made the index or the artifact is trusted for.

use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::Value;

use super::{Error, Layout, MANIFEST_LIMIT, is_index, is_manifest};
use crate::address::digest::Digest;

/// The maximum size of a statement or an SBOM, more than any has: 64 MiB.
pub const STATEMENT_LIMIT: u64 = 64 << 20;

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attestation {
    /// Which packages are in the image, in SPDX's or CycloneDX's form.
    Sbom,
    /// What the image was made from, and how, in SLSA's form.
    Provenance,
}

impl Attestation {
    /// What people call it.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Sbom => "SBOM",
            Self::Provenance => "provenance",
        }
    }

    /// Whether a layer of an attestation or an artifact says it.
    #[must_use]
    pub fn is_in(self, layer: &Descriptor) -> bool {
        let media_type = layer.media_type().to_string();
        let annotations = layer.annotations().as_ref();
        let predicate = annotations.and_then(|all| all.get("in-toto.io/predicate-type"));
        match (self, predicate) {
            (Self::Sbom, Some(kind)) => {
                kind.starts_with("https://spdx.dev/Document") || kind.starts_with("https://cyclonedx.org/bom")
            }
            (Self::Provenance, Some(kind)) => kind.starts_with("https://slsa.dev/provenance/"),
            (Self::Sbom, None) => ["application/spdx+json", "application/vnd.cyclonedx+json"].contains(&&*media_type),
            (Self::Provenance, None) => false,
        }
    }
}

/// Whether an entry of an index is an attestation of the image with this digest.
#[must_use]
pub fn attests(entry: &Descriptor, image: &Digest) -> bool {
    let annotation = |key: &str| entry.annotations().as_ref()?.get(key).map(String::as_str);
    annotation("vnd.docker.reference.type") == Some("attestation-manifest")
        && annotation("vnd.docker.reference.digest") == Some(image.as_ref())
}

/// What a layer says: the predicate of an in-toto statement, or the document itself.
///
/// # Errors
/// [`Error::Malformed`] if it is not JSON.
pub fn predicate(layer: &Descriptor, bytes: &[u8]) -> Result<Value, Error> {
    let malformed = |reason: String| Error::Malformed { what: format!("attestation {}", layer.digest()), reason };
    let mut document: Value = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    let is_statement =
        document.get("_type").is_some_and(|kind| kind.as_str().is_some_and(|kind| kind.contains("in-toto.io/")));
    match document.get_mut("predicate") {
        Some(predicate) if is_statement => Ok(predicate.take()),
        _ => Ok(document),
    }
}

impl Layout {
    /// What is said of `image`, in `index` if it is one, and by artifacts in the layout that refer to either.
    ///
    /// # Errors
    /// [`Error::Malformed`], and those of reading.
    pub fn attestations(
        &self,
        index: &Descriptor,
        image: &Descriptor,
        wanted: Attestation,
    ) -> Result<Vec<Value>, Error> {
        let mut found = Vec::new();
        for entry in self.manifests(index)?.iter().filter(|entry| attests(entry, image.digest())) {
            let manifest: ImageManifest = self.attesting(entry)?;
            self.say(&manifest, wanted, &mut found)?;
        }
        for entry in self.index()?.descriptors()?.iter().filter(|entry| is_manifest(entry) && !is_index(entry)) {
            // What cannot be read is no artifact of this image, and others have their own say.
            let Ok(manifest) = self.attesting(entry) else { continue };
            let subject = manifest.subject().as_ref().map(Descriptor::digest);
            if subject.is_some_and(|subject| subject == image.digest() || subject == index.digest()) {
                self.say(&manifest, wanted, &mut found)?;
            }
        }
        Ok(found)
    }

    fn attesting(&self, entry: &Descriptor) -> Result<ImageManifest, Error> {
        let malformed = |reason: String| Error::Malformed { what: format!("manifest {}", entry.digest()), reason };
        serde_json::from_slice(&self.read(entry, MANIFEST_LIMIT)?).map_err(|error| malformed(error.to_string()))
    }

    fn say(&self, manifest: &ImageManifest, wanted: Attestation, found: &mut Vec<Value>) -> Result<(), Error> {
        for layer in manifest.layers().iter().filter(|layer| wanted.is_in(layer)) {
            found.push(predicate(layer, &self.read(layer, STATEMENT_LIMIT)?)?);
        }
        Ok(())
    }
}
