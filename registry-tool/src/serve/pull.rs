//! Manifests and blobs on their way out (distribution-spec, "Pull").

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_RANGE,
    RANGE,
};
use image_tool::address::digest::{Digest, Hasher};
use image_tool::layout::{Error, MANIFEST_LIMIT};
use oci_distribution::errors::OciErrorCode;
use oci_spec::image::Descriptor;

use super::ask::{Ask, Reference, entity_tag, parse_digest, unknown};
use super::content::{Answer, Content, document, set, status};
use super::failure::{Failure, blocking};
use super::range::{Wanted, wanted};
use super::store::{OCTETS, Store};
use super::stream::BlobStream;

/// The digest of what an answer holds.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest, or its headers alone.
pub(super) async fn manifest(ask: Arc<Ask>, name: String, reference: &str) -> Result<Answer, Failure> {
    let reference = Reference::parse(reference)?;
    blocking(move || {
        let place = ask.place(&name)?;
        let catalog = place.store.catalog()?;
        let found = match &reference {
            Reference::Tag(tag) => catalog.tag(&place.repository, tag).cloned(),
            Reference::Digest(digest) => {
                catalog.manifest(&place.repository, digest).map(|document| document.descriptor.clone())
            }
        };
        let descriptor = found.ok_or_else(|| match catalog.repository(&place.repository) {
            Some(_) => Failure::missing(OciErrorCode::ManifestUnknown, "there is no such manifest"),
            None => unknown(&name),
        })?;
        shown(&ask, &place.store, &descriptor)
    })
    .await
}

fn shown(ask: &Ask, store: &Store, descriptor: &Descriptor) -> Result<Answer, Failure> {
    let media_type = descriptor.media_type().to_string();
    if !ask.accepts(&media_type) {
        let message = format!("the manifest is {media_type}, which the client does not accept");
        return Err(Failure::missing(OciErrorCode::ManifestUnknown, message));
    }
    let mut answer = if ask.has(&entity_tag(descriptor.digest())) {
        status(StatusCode::NOT_MODIFIED)
    } else if ask.is_head() && store.layout().has(descriptor) {
        let mut answer = document(&media_type, Bytes::new(), true);
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(descriptor.size()));
        answer
    } else {
        let bytes = store.layout().read(descriptor, MANIFEST_LIMIT).map_err(|error| match error {
            Error::MissingBlob { .. } => Failure::missing(OciErrorCode::ManifestUnknown, error.to_string()),
            error => error.into(),
        })?;
        document(&media_type, Bytes::from(bytes), ask.is_head())
    };
    name_content(&mut answer, descriptor.digest());
    if let Some(host) = ask.host() {
        set(&mut answer, HeaderName::from_static("oci-namespace"), host);
    }
    Ok(answer)
}

/// A blob or a part of it, or its headers alone.
pub(super) async fn blob(ask: Arc<Ask>, name: String, digest: &str) -> Result<Answer, Failure> {
    let digest = parse_digest(digest)?;
    blocking(move || {
        let place = ask.place(&name)?;
        let (descriptor, file) = place
            .store
            .blob(&digest)?
            .ok_or_else(|| Failure::missing(OciErrorCode::BlobUnknown, format!("there is no blob {digest}")))?;
        Ok(sent(&ask, &place.store, &descriptor, file))
    })
    .await
}

fn sent(ask: &Ask, store: &Arc<Store>, descriptor: &Descriptor, file: File) -> Answer {
    let (digest, size) = (descriptor.digest(), descriptor.size());
    let tag = entity_tag(digest);
    // A client that has a part of something else wants the whole.
    let range = ask.header(RANGE).filter(|_| ask.header(IF_RANGE).is_none_or(|known| known == tag));
    let (code, part) = match wanted(range, size) {
        _ if ask.has(&tag) => (StatusCode::NOT_MODIFIED, None),
        Wanted::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        Wanted::Part(part) if !ask.is_head() => (StatusCode::PARTIAL_CONTENT, Some(part)),
        Wanted::Whole | Wanted::Part(_) => (StatusCode::OK, None),
    };
    let mut answer = status(code);
    name_content(&mut answer, digest);
    set(&mut answer, ACCEPT_RANGES, "bytes");
    set(&mut answer, CACHE_CONTROL, "max-age=31536000, immutable");
    match (code, part) {
        (StatusCode::OK, _) => {
            answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
            set(&mut answer, CONTENT_TYPE, OCTETS);
            if !ask.is_head() {
                *answer.body_mut() = Content::Blob(Box::new(whole(store, digest, size, file)));
            }
        }
        (_, Some(part)) => {
            let length = part.end() - part.start() + 1;
            set(&mut answer, CONTENT_RANGE, &format!("bytes {}-{}/{size}", part.start(), part.end()));
            answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
            set(&mut answer, CONTENT_TYPE, OCTETS);
            *answer.body_mut() = Content::Blob(Box::new(BlobStream::new(file, *part.start(), length)));
        }
        (StatusCode::RANGE_NOT_SATISFIABLE, _) => set(&mut answer, CONTENT_RANGE, &format!("bytes */{size}")),
        _ => {}
    }
    answer
}

/// A whole blob, verified on its way unless it was since its file last changed.
fn whole(store: &Arc<Store>, digest: &Digest, size: u64, file: File) -> BlobStream {
    let before = file.metadata().ok().filter(|_| !store.is_sound(digest, &file));
    let stream = BlobStream::new(file, 0, size);
    match (before, Hasher::of(digest)) {
        (Some(before), Ok(hasher)) => {
            let (store, name) = (Arc::clone(store), digest.clone());
            let verdict = move |is_sound| {
                if is_sound {
                    store.verified(&name, &before);
                }
            };
            stream.verified(hasher, digest.clone(), Box::new(verdict))
        }
        _ => stream,
    }
}

/// Says which bytes an answer stands for.
pub(super) fn name_content(answer: &mut Answer, digest: &Digest) {
    set(answer, CONTENT_DIGEST, digest.as_ref());
    set(answer, ETAG, &entity_tag(digest));
}
