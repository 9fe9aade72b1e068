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
use super::mirror::{Arriving, Fetch};
use super::range::{Wanted, wanted};
use super::store::{OCTETS, Store};
use super::stream::BlobStream;

/// The digest of what an answer holds.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest, or its headers alone.
pub(super) async fn manifest(ask: Arc<Ask>, name: String, reference: &str) -> Result<Answer, Failure> {
    let wanted = Reference::parse(reference)?;
    let Some(fetch) = ask.fetch(&name, reference).await? else { return held(ask, name, wanted).await };
    match fetch.manifest().await {
        Ok(None) => held(ask, name, wanted).await,
        Ok(Some((descriptor, bytes))) => shown(&ask, &descriptor, || Ok(bytes)),
        // What is here is good enough while the registry cannot say more.
        Err(failure) => held(ask, name, wanted).await.map_err(|_| failure),
    }
}

/// A manifest of the layout.
async fn held(ask: Arc<Ask>, name: String, reference: Reference) -> Result<Answer, Failure> {
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
        if ask.is_head() && !place.store.layout().has(&descriptor) {
            return Err(Failure::missing(OciErrorCode::ManifestUnknown, "there is no such manifest"));
        }
        shown(&ask, &descriptor, || {
            let read = place.store.layout().read(&descriptor, MANIFEST_LIMIT);
            read.map(Bytes::from).map_err(|error| match error {
                Error::MissingBlob { .. } => Failure::missing(OciErrorCode::ManifestUnknown, error.to_string()),
                error => error.into(),
            })
        })
    })
    .await
}

fn shown(ask: &Ask, descriptor: &Descriptor, read: impl FnOnce() -> Result<Bytes, Failure>) -> Result<Answer, Failure> {
    let media_type = descriptor.media_type().to_string();
    if !ask.accepts(&media_type) {
        let message = format!("the manifest is {media_type}, which the client does not accept");
        return Err(Failure::missing(OciErrorCode::ManifestUnknown, message));
    }
    let mut answer = if ask.has(&entity_tag(descriptor.digest())) {
        status(StatusCode::NOT_MODIFIED)
    } else if ask.is_head() {
        let mut answer = document(&media_type, Bytes::new(), true);
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(descriptor.size()));
        answer
    } else {
        document(&media_type, read()?, false)
    };
    name_content(&mut answer, descriptor.digest());
    if let Some(host) = ask.host() {
        set(&mut answer, HeaderName::from_static("oci-namespace"), host);
    }
    Ok(answer)
}

/// A blob or a part of it, or its headers alone.
pub(super) async fn blob(ask: Arc<Ask>, name: String, digest: &str) -> Result<Answer, Failure> {
    let text = digest;
    let digest = parse_digest(digest)?;
    let (asked, repository, wanted) = (Arc::clone(&ask), name.clone(), digest.clone());
    let held = blocking(move || {
        let place = asked.place(&repository)?;
        let Some((descriptor, file)) = place.store.blob(&wanted)? else { return Ok(None) };
        let (mut answer, part) = headed(&asked, &wanted, descriptor.size());
        let stream = match part {
            Some(Wanted::Whole) => whole(&place.store, &descriptor, file)?,
            Some(Wanted::Part(part)) => BlobStream::new(file, *part.start(), part.end() - part.start() + 1),
            Some(Wanted::Nothing) | None => return Ok(Some(answer)),
        };
        *answer.body_mut() = Content::Blob(Box::new(stream));
        Ok(Some(answer))
    });
    if let Some(answer) = held.await? {
        return Ok(answer);
    }
    match ask.fetch(&name, text).await? {
        Some(fetch) => arriving(&ask, &fetch, &digest).await,
        None => Err(Failure::missing(OciErrorCode::BlobUnknown, format!("there is no blob {digest}"))),
    }
}

/// A blob that is fetched from another registry meanwhile.
async fn arriving(ask: &Ask, fetch: &Fetch<'_>, digest: &Digest) -> Result<Answer, Failure> {
    if ask.is_head() {
        return Ok(headed(ask, digest, fetch.blob_size(digest).await?).0);
    }
    let Arriving { size, file, growth } = fetch.blob(digest).await?;
    let (mut answer, part) = headed(ask, digest, size);
    let stream = match part {
        Some(Wanted::Whole) => {
            let stream = BlobStream::growing(file, 0, size, size, growth);
            match Hasher::of(digest) {
                // Where a download begins anew, what has been sent of the first may be wrong.
                Ok(hasher) => stream.verified(hasher, digest.clone()),
                Err(_) => stream,
            }
        }
        Some(Wanted::Part(part)) => {
            BlobStream::growing(file, *part.start(), part.end() - part.start() + 1, size, growth)
        }
        Some(Wanted::Nothing) | None => return Ok(answer),
    };
    *answer.body_mut() = Content::Blob(Box::new(stream));
    Ok(answer)
}

/// The answer of a blob of this size, still without a body, and what belongs into that.
fn headed(ask: &Ask, digest: &Digest, size: u64) -> (Answer, Option<Wanted>) {
    let tag = entity_tag(digest);
    // A client that has a part of something else wants the whole.
    let range = ask.header(RANGE).filter(|_| ask.header(IF_RANGE).is_none_or(|known| known == tag));
    let (code, part) = match wanted(range, size) {
        _ if ask.has(&tag) => (StatusCode::NOT_MODIFIED, None),
        Wanted::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        part @ Wanted::Part(_) if !ask.is_head() => (StatusCode::PARTIAL_CONTENT, Some(part)),
        Wanted::Whole | Wanted::Part(_) => (StatusCode::OK, (!ask.is_head()).then_some(Wanted::Whole)),
    };
    let mut answer = status(code);
    name_content(&mut answer, digest);
    set(&mut answer, ACCEPT_RANGES, "bytes");
    set(&mut answer, CACHE_CONTROL, "max-age=31536000, immutable");
    let length = match &part {
        Some(Wanted::Part(part)) => {
            set(&mut answer, CONTENT_RANGE, &format!("bytes {}-{}/{size}", part.start(), part.end()));
            part.end() - part.start() + 1
        }
        _ if code == StatusCode::OK => size,
        _ => {
            if code == StatusCode::RANGE_NOT_SATISFIABLE {
                set(&mut answer, CONTENT_RANGE, &format!("bytes */{size}"));
            }
            return (answer, None);
        }
    };
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    set(&mut answer, CONTENT_TYPE, OCTETS);
    (answer, part)
}

/// A whole blob, verified on its way unless it was since its file last changed.
fn whole(store: &Arc<Store>, descriptor: &Descriptor, file: File) -> Result<BlobStream, Error> {
    let size = descriptor.size();
    if store.is_sound(descriptor.digest(), &file) {
        return Ok(BlobStream::new(file, 0, size));
    }
    let (file, growth) = store.check(descriptor, file)?;
    Ok(BlobStream::growing(file, 0, size, size, growth))
}

/// Says which bytes an answer stands for.
pub(super) fn name_content(answer: &mut Answer, digest: &Digest) {
    set(answer, CONTENT_DIGEST, digest.as_ref());
    set(answer, ETAG, &entity_tag(digest));
}
