//! Tags, manifests and blobs that are deleted (distribution-spec, "Content Management").

use std::sync::Arc;

use hyper::StatusCode;
use image_tool::address::RefName;
use image_tool::layout::{self, Index, REF_NAME};
use oci_distribution::errors::OciErrorCode;
use oci_spec::image::Descriptor;

use super::ask::{Ask, Reference, parse_digest, unknown};
use super::content::{Answer, status};
use super::failure::{Failure, blocking};
use super::namespace::Place;
use super::publish::reference;
use super::store::catalog::{Catalog, Document};

/// A tag, or a manifest with all of its tags in this repository.
pub(super) async fn manifest(ask: Arc<Ask>, name: String, reference: &str) -> Result<Answer, Failure> {
    let reference = Reference::parse(reference)?;
    blocking(move || {
        let place = ask.place(&name)?;
        let catalog = place.store.catalog()?;
        if catalog.repository(&place.repository).is_none() && matches!(reference, Reference::Tag(_)) {
            return Err(unknown(&name));
        }
        let is_done = match &reference {
            Reference::Tag(tag) => untag(&place, tag)?,
            Reference::Digest(digest) => match catalog.manifest(&place.repository, digest) {
                Some(document) => delete(&place, &catalog, document)?,
                None => false,
            },
        };
        place.store.has_changed();
        if is_done {
            Ok(status(StatusCode::ACCEPTED))
        } else {
            Err(Failure::missing(OciErrorCode::ManifestUnknown, "there is no such manifest"))
        }
    })
    .await
}

/// Takes a tag away. The image stays, without it.
fn untag(place: &Place, tag: &str) -> Result<bool, Failure> {
    let reference = reference(&place.repository, tag)?;
    let former = place.store.catalog()?.tag(&place.repository, tag).cloned();
    Ok(place.store.layout().update_index(|index| {
        // The ref may have a host in front that was cut off; then it is the one that leads to the image.
        let is_gone = remove_all(index, &reference) || remove_cut(index, former.as_ref(), &reference)?;
        if let Some(former) = former.as_ref().filter(|_| is_gone) {
            index.add(former);
        }
        Ok(is_gone)
    })?)
}

/// Removes a ref, even if a careless program gave it to several images.
fn remove_all(index: &mut Index, reference: &RefName) -> bool {
    let mut is_gone = false;
    while index.remove(reference) {
        is_gone = true;
    }
    is_gone
}

fn remove_cut(index: &mut Index, former: Option<&Descriptor>, reference: &RefName) -> Result<bool, layout::Error> {
    let end = format!("/{reference}");
    let cut = index.entries()?.into_iter().find_map(|(name, descriptor)| {
        let is_meant = former.is_some_and(|former| former.digest() == descriptor.digest());
        name.filter(|name| is_meant && name.ends_with(&end))
    });
    Ok(cut.and_then(|name| name.parse().ok()).is_some_and(|name| index.remove(&name)))
}

/// Removes the tags of a manifest in this repository, and the manifest itself, unless other repositories have it. The manifests of
/// an index stay, each as an image without a tag.
fn delete(place: &Place, catalog: &Catalog, document: &Document) -> Result<bool, Failure> {
    let digest = document.descriptor.digest();
    let tags = catalog.repository(&place.repository).map(|repository| {
        let own = repository.tags.iter().filter(|(_, image)| image.digest() == digest);
        own.map(|(tag, _)| tag.clone()).collect::<Vec<_>>()
    });
    let tags = tags.unwrap_or_default();
    let is_done = place.store.layout().update_index(|index| {
        let mut is_done = index.remove_unnamed(digest);
        for tag in &tags {
            if let Ok(reference) = reference(&place.repository, tag) {
                is_done |= remove_all(index, &reference) || remove_cut(index, Some(&document.descriptor), &reference)?;
            }
        }
        let is_held = index.descriptors()?.iter().any(|entry| {
            entry.digest() == digest && entry.annotations().as_ref().is_some_and(|all| all.contains_key(REF_NAME))
        });
        if is_done && !is_held {
            for part in document.manifests.iter().filter(|part| catalog.document(part.digest()).is_some()) {
                index.add(part);
            }
        }
        Ok(is_done)
    })?;
    if is_done {
        return Ok(true);
    }
    Err(Failure::unsupported("the manifest is a part of an index (delete that first)"))
}

/// A blob that no image uses.
pub(super) async fn blob(ask: Arc<Ask>, name: String, digest: &str) -> Result<Answer, Failure> {
    let digest = parse_digest(digest)?;
    blocking(move || {
        let place = ask.place(&name)?;
        if place.store.catalog()?.uses(&digest) {
            return Err(Failure::unsupported("an image uses the blob (delete that first)"));
        }
        if place.store.forget(&digest)? {
            Ok(status(StatusCode::ACCEPTED))
        } else {
            Err(Failure::missing(OciErrorCode::BlobUnknown, format!("there is no blob {digest}")))
        }
    })
    .await
}
