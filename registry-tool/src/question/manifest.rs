//! Manifests and indexes as they come from a registry: bytes that are verified before they are believed.
//!
//! Media types are OCI's and docker's schema 2. Nothing is converted: an image keeps its digest.

use bytes::Bytes;
use image_tool::address::digest::{self, Digest};
use image_tool::layout::{check_document, is_index, is_manifest};
use oci_spec::image::{Descriptor, MediaType};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::client::Document;

/// More layers than any builder makes; docker's own limit is 127.
const LAYERS: usize = 1024;
/// More platforms than any index has.
const MANIFESTS: usize = 1024;

pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Why a document cannot be believed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Its bytes are not what its digest promises.
    #[error("manifest {expected}")]
    Unsound {
        /// The digest that was asked for.
        expected: Digest,
        /// How the bytes differ.
        source: digest::Error,
    },
    /// The registry names another digest than the bytes have.
    #[error("manifest: the registry says {claimed}, its bytes are {actual}")]
    Claim {
        /// The digest in the answer's header.
        claimed: String,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// It is not what its media type says, or of an unknown kind.
    #[error("manifest {digest}: {reason}")]
    Malformed {
        /// The digest of the document.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
}

/// A verified document and what it holds.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// The document itself, byte for byte: what the digest stands for.
    pub bytes: Bytes,
    /// What the document refers to.
    pub content: Content,
}

/// What a document refers to.
#[derive(Clone, Debug)]
pub enum Content {
    /// One image: its config first, then its layers.
    Image(Vec<Descriptor>),
    /// An image for each of several platforms.
    Index(Vec<Descriptor>),
}

#[derive(Deserialize)]
struct ImageDocument {
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct IndexDocument {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    media_type: Option<String>,
    schema_version: Option<i64>,
    config: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Verifies a document that was asked for by name, and by digest if the name has one.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn named(document: &Document, wanted: Option<&Digest>) -> Result<Self, ManifestError> {
        let actual = verify(document, wanted)?;
        let media_type = media_type(document, &actual)?;
        let descriptor = Descriptor::new(media_type, document.bytes.len() as u64, actual);
        Self::parse(descriptor, document.bytes.clone())
    }

    /// Verifies a document that an index promised.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn promised(descriptor: &Descriptor, bytes: Bytes) -> Result<Self, ManifestError> {
        let expected = descriptor.digest();
        let unsound = |source| ManifestError::Unsound { expected: expected.clone(), source };
        if bytes.len() as u64 != descriptor.size() {
            return Err(unsound(digest::Error::Size { expected: descriptor.size(), actual: bytes.len() as u64 }));
        }
        let actual = hash(&bytes, Some(expected))?;
        if actual != *expected {
            return Err(unsound(digest::Error::Mismatch { expected: expected.clone(), actual }));
        }
        Self::parse(descriptor.clone(), bytes)
    }

    /// The index with only those of its entries that are kept; itself if all are. Its other fields stay.
    ///
    /// # Errors
    /// [`ManifestError::Malformed`].
    pub(super) fn with_entries(&self, is_kept: impl Fn(&Descriptor) -> bool) -> Result<Self, ManifestError> {
        let Content::Index(entries) = &self.content else { return Ok(self.clone()) };
        let kept: Vec<bool> = entries.iter().map(is_kept).collect();
        if kept.iter().all(|is_kept| *is_kept) {
            return Ok(self.clone());
        }
        let mut document: Value =
            serde_json::from_slice(&self.bytes).map_err(|error| self.malformed(error.to_string()))?;
        let mut kept = kept.into_iter();
        if let Some(entries) = document["manifests"].as_array_mut() {
            entries.retain(|_| kept.next() == Some(true));
        }
        Self::made(self.descriptor.media_type(), &document)
    }

    /// A document of ours.
    ///
    /// # Errors
    /// [`ManifestError::Malformed`].
    pub(super) fn made(media_type: &MediaType, document: &Value) -> Result<Self, ManifestError> {
        let bytes = Bytes::from(document.to_string());
        let descriptor = Descriptor::new(media_type.clone(), bytes.len() as u64, digest::sha256(&bytes));
        Self::parse(descriptor, bytes)
    }

    /// The error of a document that is what its digest says, and yet not to be used.
    pub(super) fn malformed(&self, reason: String) -> ManifestError {
        ManifestError::Malformed { digest: self.descriptor.digest().clone(), reason }
    }

    fn parse(mut descriptor: Descriptor, bytes: Bytes) -> Result<Self, ManifestError> {
        let digest = descriptor.digest().clone();
        let malformed = |reason: String| ManifestError::Malformed { digest: digest.clone(), reason };
        check_document(&bytes, &descriptor).map_err(malformed)?;
        // OCI's and docker's type for it may be mixed; what it says itself is what a registry expects with a push.
        let own = serde_json::from_slice::<Head>(&bytes).ok().and_then(|head| head.media_type);
        if let Some(own) = own.filter(|own| *own != descriptor.media_type().to_string()) {
            descriptor.set_media_type(MediaType::from(own.as_str()));
        }
        let json = |error: serde_json::Error| malformed(error.to_string());
        let content = if is_index(&descriptor) {
            let document: IndexDocument = serde_json::from_slice(&bytes).map_err(json)?;
            if document.manifests.len() > MANIFESTS {
                return Err(malformed(format!("{} manifests are more than {MANIFESTS}", document.manifests.len())));
            }
            Content::Index(document.manifests)
        } else if is_manifest(&descriptor) {
            let document: ImageDocument = serde_json::from_slice(&bytes).map_err(json)?;
            if document.layers.len() > LAYERS {
                return Err(malformed(format!("{} layers are more than {LAYERS}", document.layers.len())));
            }
            Content::Image(std::iter::once(document.config).chain(document.layers).collect())
        } else {
            return Err(malformed(format!("{} is not an image manifest or index", descriptor.media_type())));
        };
        let referenced = match &content {
            Content::Image(blobs) | Content::Index(blobs) => blobs,
        };
        for blob in referenced {
            digest::Hasher::of(blob.digest()).map_err(|error| malformed(error.to_string()))?;
        }
        Ok(Self { descriptor, bytes, content })
    }
}

/// The digest of a document, if it is the one that is wanted and that the registry says.
///
/// # Errors
/// [`ManifestError::Unsound`], [`ManifestError::Claim`].
pub(super) fn verify(document: &Document, wanted: Option<&Digest>) -> Result<Digest, ManifestError> {
    let actual = hash(&document.bytes, wanted)?;
    if let Some(expected) = wanted
        && *expected != actual
    {
        let source = digest::Error::Mismatch { expected: expected.clone(), actual };
        return Err(ManifestError::Unsound { expected: expected.clone(), source });
    }
    // A registry may use another algorithm in its header than we asked for; then there is nothing to compare.
    if let Some(claimed) = &document.digest
        && claimed.starts_with("sha256:")
        && actual.to_string().starts_with("sha256:")
        && *claimed != actual.to_string()
    {
        return Err(ManifestError::Claim { claimed: claimed.chars().take(80).collect(), actual });
    }
    Ok(actual)
}

fn hash(bytes: &[u8], wanted: Option<&Digest>) -> Result<Digest, ManifestError> {
    let hasher = match wanted {
        Some(digest) => digest::Hasher::of(digest),
        None => Ok(digest::Hasher::sha256()),
    };
    let mut hasher = hasher
        .map_err(|source| ManifestError::Unsound { expected: wanted.expect("sha256 is supported").clone(), source })?;
    hasher.update(bytes);
    Ok(hasher.finish())
}

/// The media type of a document: the header's if it is one of ours, else its own field, else what its members show.
fn media_type(document: &Document, digest: &Digest) -> Result<MediaType, ManifestError> {
    let malformed = |reason: String| ManifestError::Malformed { digest: digest.clone(), reason };
    let head: Head = serde_json::from_slice(&document.bytes).map_err(|error| malformed(error.to_string()))?;
    if head.schema_version == Some(1) {
        return Err(malformed("docker's schema 1 is not supported (push the image anew)".into()));
    }
    let ours = |text: &String| {
        let media_type = MediaType::from(text.as_str());
        let known = matches!(media_type, MediaType::ImageManifest | MediaType::ImageIndex);
        (known || text == DOCKER_MANIFEST || text == DOCKER_LIST).then_some(media_type)
    };
    if let Some(media_type) = document.media_type.as_ref().and_then(ours) {
        return Ok(media_type);
    }
    match (head.media_type, head.manifests.is_some(), head.config.is_some()) {
        (Some(own), ..) => Ok(MediaType::from(own.as_str())),
        (None, true, false) => Ok(MediaType::ImageIndex),
        (None, false, true) => Ok(MediaType::ImageManifest),
        _ => Err(malformed("neither a manifest nor an index".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

    fn document(text: &str, media_type: Option<&str>) -> Document {
        Document {
            media_type: media_type.map(Into::into),
            digest: None,
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    #[test]
    fn a_document_is_known_by_header_field_or_members() {
        let image = format!("{{\"schemaVersion\":2,{CONFIG},\"layers\":[]}}");
        let named = |header| Manifest::named(&document(&image, header), None);
        for header in [None, Some("application/json"), Some("application/vnd.oci.image.manifest.v1+json")] {
            assert!(matches!(named(header).unwrap().content, Content::Image(blobs) if blobs.len() == 1), "{header:?}");
        }
        let docker = named(Some(DOCKER_MANIFEST)).unwrap();
        assert_eq!(docker.descriptor.media_type().to_string(), DOCKER_MANIFEST);
        let index = Manifest::named(&document(r#"{"schemaVersion":2,"manifests":[]}"#, None), None).unwrap();
        assert!(matches!(index.content, Content::Index(_)));
    }

    #[test]
    fn hostile_documents_are_refused() {
        let both = format!("{{\"schemaVersion\":2,{CONFIG},\"manifests\":[]}}");
        let many = format!(
            "{{\"schemaVersion\":2,{CONFIG},\"layers\":[{}]}}",
            vec![CONFIG.trim_start_matches("\"config\":"); LAYERS + 1].join(",")
        );
        let negative = r#"{"schemaVersion":2,"config":{"mediaType":"x/y","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":-1}}"#;
        let evil_digest = r#"{"schemaVersion":2,"config":{"mediaType":"x/y","digest":"sha256:../../etc","size":1}}"#;
        let other = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        for (text, header, reason) in [
            (both.as_str(), Some(manifest), "CVE-2021-41190"),
            (many.as_str(), None, "layers are more than"),
            (negative, None, "invalid value"),
            (evil_digest, None, ""),
            (other, Some(manifest), "it says that it is"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schema 1"),
            (r#"{"schemaVersion":2}"#, None, "neither"),
            ("<html>", None, "expected value"),
            ("", None, "EOF"),
        ] {
            let error = Manifest::named(&document(text, header), None).expect_err(text).to_string();
            assert!(error.contains(reason) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_digest_that_was_asked_for_decides() {
        let text = format!("{{\"schemaVersion\":2,{CONFIG}}}");
        let right = digest::sha256(text.as_bytes());
        let wrong = digest::sha256(b"other");
        assert!(Manifest::named(&document(&text, None), Some(&right)).is_ok());
        let error = Manifest::named(&document(&text, None), Some(&wrong)).unwrap_err();
        assert!(matches!(error, ManifestError::Unsound { .. }));
        let mut claimed = document(&text, None);
        claimed.digest = Some(wrong.to_string());
        assert!(matches!(Manifest::named(&claimed, None), Err(ManifestError::Claim { .. })));
        let promised = Descriptor::new(MediaType::ImageManifest, 1, right);
        let error = Manifest::promised(&promised, Bytes::from(text)).unwrap_err();
        assert!(matches!(error, ManifestError::Unsound { source: digest::Error::Size { .. }, .. }));
    }
}
