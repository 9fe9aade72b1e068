//! The documents of an image, put into a registry once their blobs are there.

use image_tool::address::digest::Digest;

use crate::client::{ClientError, Registry};
use crate::question::plan::Plan;
use crate::reference::ImageName;

/// The names that an image gets in one repository.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    name: &'a ImageName,
    more_tags: &'a [String],
}

/// What a registry says that it stored, if that is something else.
pub(super) struct Changed {
    /// The digest of what was sent.
    pub(super) sent: Digest,
    /// The digest that the registry reports.
    pub(super) claimed: String,
}

impl<'a> Names<'a> {
    pub(super) fn new(name: &'a ImageName, more_tags: &'a [String]) -> Self {
        Self { name, more_tags }
    }

    fn tags(self) -> Vec<&'a str> {
        self.name.tag().into_iter().chain(self.more_tags.iter().map(String::as_str)).collect()
    }
}

/// Puts the documents of an image, those that others refer to first, and the image itself last, under its names: whoever pulls
/// meanwhile sees the old image or the new one. Tells of a document that is another at the registry.
///
/// # Errors
/// As for any request.
pub(super) async fn put(registry: &Registry, plan: &Plan, names: Names<'_>) -> Result<Option<Changed>, ClientError> {
    let last = plan.documents.len().saturating_sub(1);
    for (number, document) in plan.documents.iter().enumerate() {
        let digest = document.descriptor.digest();
        let by_digest = digest.to_string();
        let tags = if number == last { names.tags() } else { Vec::new() };
        let references = if tags.is_empty() { vec![by_digest.as_str()] } else { tags };
        let media_type = document.descriptor.media_type().to_string();
        for reference in references {
            let claimed = registry.put_manifest(reference, &media_type, document.bytes.clone()).await?;
            if let Some(claimed) = claimed.filter(|claimed| claimed.starts_with("sha256:") && *claimed != by_digest) {
                return Ok(Some(Changed { sent: digest.clone(), claimed }));
            }
        }
    }
    Ok(None)
}
