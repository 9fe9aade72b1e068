//! Manifests on their way in (distribution-spec, "Pushing Manifests").

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use image_tool::address::RefName;
use image_tool::address::digest::{self, Digest, Hasher};
use image_tool::address::name::familiar;
use image_tool::layout::{Index, MANIFEST_LIMIT, check_document, is_index};
use oci_distribution::errors::OciErrorCode;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::Value;

use super::ask::{Ask, Reference, entity_tag};
use super::content::{Answer, located, set};
use super::failure::{Failure, blocking};
use super::namespace::Place;
use super::pull::name_content;
use super::push::target;
use super::receive::collect;
use super::store::Store;
use super::store::catalog::{Document, is_document, is_elsewhere};
use crate::reference::is_tag;

/// How many tags one manifest may be pushed with. The spec wants ten at least.
const TAGS: usize = 100;

/// `PUT`: a manifest under a tag, under a digest, or under a digest and some tags.
pub(super) async fn manifest(ask: Arc<Ask>, name: String, reference: &str, body: Incoming) -> Result<Answer, Failure> {
    let reference = Reference::parse(reference)?;
    let tags = tags(&ask, &reference)?;
    let too_large = || {
        let message = format!("a manifest has at most {MANIFEST_LIMIT} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, OciErrorCode::ManifestInvalid, message)
    };
    let said = ask.header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if said.is_some_and(|length| length > MANIFEST_LIMIT) {
        return Err(too_large());
    }
    let bytes = collect(body, MANIFEST_LIMIT, ask.hall.settings.timeout).await?.ok_or_else(too_large)?;
    // A client that goes away in the middle takes nothing with it.
    let work = tokio::spawn(blocking(move || {
        let expected = match &reference {
            Reference::Digest(digest) => Some(digest),
            Reference::Tag(_) => None,
        };
        let descriptor = described(&ask, &bytes, expected)?;
        let document = Document::parse(&descriptor, &bytes).map_err(invalid)?;
        let place = target(&ask, &name)?;
        store(&ask, &place, &document, &bytes, &tags)?;
        Ok(created(&name, &document, expected.is_some().then_some(&tags[..])))
    }));
    work.await.unwrap_or_else(|error| Err(Failure::internal(&error)))
}

fn invalid(reason: impl Into<String>) -> Failure {
    Failure::bad(OciErrorCode::ManifestInvalid, reason)
}

/// The tags that a manifest is pushed with.
fn tags(ask: &Ask, reference: &Reference) -> Result<Vec<String>, Failure> {
    if let Reference::Tag(tag) = reference {
        return Ok(vec![tag.clone()]);
    }
    let mut tags: Vec<String> = Vec::new();
    for tag in ask.query.all("tag") {
        if !is_tag(tag) {
            return Err(invalid(format!("{:?} is not a valid tag", tag.chars().take(80).collect::<String>())));
        }
        if !tags.iter().any(|known| known == tag) {
            tags.push(tag.to_owned());
        }
    }
    if tags.len() > TAGS {
        let message = format!("{} tags at once are more than {TAGS}", tags.len());
        return Err(Failure::new(StatusCode::URI_TOO_LONG, OciErrorCode::Unsupported, message));
    }
    Ok(tags)
}

/// The descriptor of a document, whose digest and kind must be what the client says.
fn described(ask: &Ask, bytes: &Bytes, expected: Option<&Digest>) -> Result<Descriptor, Failure> {
    let mut hasher = match expected {
        Some(digest) => {
            Hasher::of(digest).map_err(|error| Failure::bad(OciErrorCode::DigestInvalid, error.to_string()))?
        }
        None => Hasher::sha256(),
    };
    hasher.update(bytes);
    let digest = hasher.finish();
    if let Some(expected) = expected.filter(|expected| **expected != digest) {
        let message = digest::Error::Mismatch { expected: expected.clone(), actual: digest }.to_string();
        return Err(Failure::bad(OciErrorCode::DigestInvalid, message));
    }
    let document: Value = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
    let header = ask.header(CONTENT_TYPE).map(|full| full.split(';').next().unwrap_or_default().trim());
    let own = document.get("mediaType").and_then(Value::as_str);
    let media_type = match (header, own) {
        (Some(header), _) if !header.is_empty() && header != "application/json" => MediaType::from(header),
        (_, Some(own)) => MediaType::from(own),
        _ if document.get("manifests").is_some() => MediaType::ImageIndex,
        _ => MediaType::ImageManifest,
    };
    let descriptor = Descriptor::new(media_type, bytes.len() as u64, digest);
    if !is_document(&descriptor) {
        return Err(invalid(format!("{} is not a manifest that this registry takes", descriptor.media_type())));
    }
    check_document(bytes, &descriptor).map_err(invalid)?;
    if own.is_some_and(|own| own != descriptor.media_type().to_string()) {
        return Err(invalid(format!("it says that it is {}", own.unwrap_or_default())));
    }
    Ok(descriptor)
}

/// Stores a manifest whose blobs are there, then lets its tags lead to it. Garbage is not collected meanwhile.
fn store(ask: &Ask, place: &Place, document: &Document, bytes: &Bytes, tags: &[String]) -> Result<(), Failure> {
    let (store, descriptor) = (&*place.store, &document.descriptor);
    let writer = store.lease.hold(descriptor.digest().as_ref())?;
    let result = (|| {
        if !ask.hall.settings.is_sparse {
            check_blobs(store, document)?;
        }
        if store.layout().read(descriptor, MANIFEST_LIMIT).is_err() {
            let mut blob = writer.expect(descriptor)?;
            blob.write_all(bytes).map_err(|error| Failure::internal(&blob.error("write", error)))?;
            blob.commit(descriptor.media_type().clone())?;
        }
        let refs: Vec<RefName> = tags.iter().map(|tag| reference(&place.repository, tag)).collect::<Result<_, _>>()?;
        let update = store.layout().update_index(|index| {
            let current = index.descriptors()?.into_iter().find(|entry| {
                let name = entry.annotations().as_ref().and_then(|all| all.get(image_tool::layout::REF_NAME));
                refs.first().is_some_and(|wanted| name.is_some_and(|name| is_same(name, wanted)))
            });
            let current = current.map(|entry| entity_tag(entry.digest()));
            if !tags.is_empty() && ask.is_wrong_state(current.as_deref()) {
                return Ok(false);
            }
            enter(index, document, &refs)?;
            Ok(true)
        });
        store.has_changed();
        if update? {
            Ok(())
        } else {
            let message = "something else has the tag by now";
            Err(Failure::new(StatusCode::PRECONDITION_FAILED, OciErrorCode::Denied, message))
        }
    })();
    let parts = document.blobs.iter().chain(&document.manifests).map(|part| part.digest().as_ref());
    match result {
        // They are an image's now.
        Ok(()) => store.lease.release(parts.chain([descriptor.digest().as_ref()])),
        Err(_) => store.lease.release([descriptor.digest().as_ref()]),
    }
    result
}

fn is_same(name: &str, wanted: &RefName) -> bool {
    image_tool::address::name::equal(name, wanted.as_str())
}

/// Lets refs lead to a manifest. What they led to before stays, as an image without a tag: somebody may have noted its digest.
fn enter(index: &mut Index, document: &Document, refs: &[RefName]) -> Result<(), image_tool::layout::Error> {
    let former = index.descriptors()?;
    for reference in refs {
        index.set(reference, &document.descriptor);
    }
    index.add(&document.descriptor);
    // The manifests of an index came before it, as images without a tag; now they belong to it.
    for part in &document.manifests {
        index.remove_unnamed(part.digest());
    }
    for entry in former {
        let is_part = document.manifests.iter().any(|part| part.digest() == entry.digest());
        if !is_part {
            index.add(&entry);
        }
    }
    Ok(())
}

/// Every blob of an image must be there, except those from elsewhere. The manifests of an index need not: an index may name more than
/// a registry has.
fn check_blobs(store: &Store, document: &Document) -> Result<(), Failure> {
    if is_index(&document.descriptor) {
        return Ok(());
    }
    let mut missing = Vec::new();
    for blob in &document.blobs {
        if is_elsewhere(blob) {
            continue;
        }
        match store.blob(blob.digest())? {
            Some((found, _)) if found.size() == blob.size() => {}
            Some((found, _)) => {
                missing.push(format!("blob {} has {} bytes, not {}", blob.digest(), found.size(), blob.size()));
            }
            None => missing.push(format!("there is no blob {}", blob.digest())),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::each(StatusCode::BAD_REQUEST, || OciErrorCode::ManifestBlobUnknown, missing))
}

/// The ref that a tag has in its layout, in the spelling that the other tools show.
pub(super) fn reference(repository: &str, tag: &str) -> Result<RefName, Failure> {
    let familiar = if repository.is_empty() { String::new() } else { familiar(repository).0 };
    let text = Store::reference(&familiar, tag);
    text.parse().map_err(|error: image_tool::address::Error| Failure::bad(OciErrorCode::NameInvalid, error.to_string()))
}

fn created(name: &str, document: &Document, tags: Option<&[String]>) -> Answer {
    let digest = document.descriptor.digest();
    let mut answer = located(StatusCode::CREATED, &format!("/v2/{name}/manifests/{digest}"));
    name_content(&mut answer, digest);
    if let Some(subject) = &document.subject {
        set(&mut answer, HeaderName::from_static("oci-subject"), subject.as_ref());
    }
    for tag in tags.into_iter().flatten() {
        if let Ok(value) = HeaderValue::from_str(tag) {
            answer.headers_mut().append(HeaderName::from_static("oci-tag"), value);
        }
    }
    answer
}
