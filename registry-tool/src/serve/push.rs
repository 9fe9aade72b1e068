//! Blobs on their way in (distribution-spec, "Pushing blobs").

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use image_tool::address::digest::{Digest, Hasher};
use image_tool::layout::{self, BlobWriter};
use oci_distribution::errors::OciErrorCode;
use oci_spec::image::MediaType;
use tokio::sync::OwnedMutexGuard;

use super::ask::{Ask, check, parse_digest};
use super::content::{Answer, located, set, status};
use super::failure::{Failure, blocking};
use super::namespace::Place;
use super::pull::name_content;
use super::range::chunk;
use super::receive::append;
use super::rules::Right;
use super::store::{OCTETS, Store};

/// How long a request waits for another one to the same upload: a client that lost its connection comes back before the server has
/// noticed.
const TURN: Duration = Duration::from_secs(10);

/// How many uploads a layout may have in progress: each is an open file.
const UPLOADS: usize = 1000;

/// The upload of a request, which no other one can get meanwhile.
type Held = OwnedMutexGuard<Option<BlobWriter>>;

/// Where something is pushed to; a layout is made if that is what it takes.
pub(super) fn target(ask: &Ask, name: &str) -> Result<Place, Failure> {
    check(name)?;
    match ask.hall.namespace.make(name) {
        Ok(Some(place)) => Ok(place),
        Ok(None) => Err(Failure::new(
            StatusCode::FORBIDDEN,
            OciErrorCode::Denied,
            format!("there is no place for a repository {name}"),
        )),
        Err(error @ layout::Error::NotALayout { .. }) => {
            tracing::warn!("{error}");
            Err(Failure::bad(
                OciErrorCode::NameInvalid,
                format!("other repositories have names that begin with {name}/"),
            ))
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST`: begins an upload, mounts a blob, or takes one whole.
pub(super) async fn begin(ask: Arc<Ask>, name: String, body: Incoming) -> Result<Answer, Failure> {
    if let Some(mount) = ask.query.get("mount") {
        let digest = parse_digest(mount)?;
        let (asked, repository) = (Arc::clone(&ask), name.clone());
        if blocking(move || mounted(&asked, &repository, &digest)).await? {
            return Ok(created(&name, &parse_digest(mount)?));
        }
    }
    let whole = ask.query.get("digest").map(parse_digest).transpose()?;
    let algorithm = ask.query.get("digest-algorithm").map(Hasher::named).transpose();
    let hasher = algorithm.map_err(|error| Failure::bad(OciErrorCode::DigestInvalid, error.to_string()))?;
    let (asked, repository) = (Arc::clone(&ask), name.clone());
    let (store, id, session) = blocking(move || {
        let store = target(&asked, &repository)?.store;
        if store.sessions.count() >= UPLOADS {
            let failure = Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                OciErrorCode::Toomanyrequests,
                format!("{UPLOADS} uploads are in progress"),
            );
            return Err(failure.with(RETRY_AFTER, HeaderValue::from(10)));
        }
        let (id, session) = store.sessions.begin(&store.lease)?;
        Ok((store, id, session))
    })
    .await?;
    let mut held = session.lock_owned().await;
    if let (Some(upload), Some(hasher)) = (held.as_mut(), hasher) {
        upload.announce(hasher);
    }
    match whole {
        Some(digest) => on_its_own(Work { ask, store, id, name, held }, body, Some(digest)).await,
        None => Ok(accepted(&name, &id, 0)),
    }
}

/// Whether a blob that is to be mounted is there now.
fn mounted(ask: &Ask, name: &str, digest: &Digest) -> Result<bool, Failure> {
    let place = target(ask, name)?;
    if place.store.blob(digest)?.is_some() {
        return Ok(true);
    }
    // Without a source, any layout in use will do, if everybody may read each of them.
    let sources = match ask.query.get("from") {
        Some(from) if check(from).is_ok() && ask.may(Right::Pull, from) => {
            ask.hall.namespace.find(from, None)?.into_iter().map(|place| place.store).collect()
        }
        Some(_) => Vec::new(),
        None if ask.hall.guard.rules.is_some() => Vec::new(),
        None => ask.hall.namespace.opened(),
    };
    for source in sources {
        if let Some((descriptor, _)) = source.blob(digest)? {
            place.store.lease.hold(digest.as_ref())?.take(source.layout(), &descriptor)?;
            place.store.lease.recall(digest.as_ref());
            return Ok(true);
        }
    }
    Ok(false)
}

/// `PATCH`: a chunk, or all bytes as they come.
pub(super) async fn advance(ask: Arc<Ask>, name: String, id: String, body: Incoming) -> Result<Answer, Failure> {
    let work = take(ask, name, id).await?;
    work.check_range()?;
    on_its_own(work, body, None).await
}

/// `PUT`: the end of an upload, perhaps with its last bytes.
pub(super) async fn finish(ask: Arc<Ask>, name: String, id: String, body: Incoming) -> Result<Answer, Failure> {
    let Some(digest) = ask.query.get("digest") else {
        return Err(Failure::bad(OciErrorCode::DigestInvalid, "the digest is missing"));
    };
    let digest = parse_digest(digest)?;
    let work = take(ask, name, id).await?;
    work.check_range()?;
    on_its_own(work, body, Some(digest)).await
}

/// `GET`: how far an upload is.
pub(super) async fn progress(ask: Arc<Ask>, name: String, id: String) -> Result<Answer, Failure> {
    let work = take(ask, name, id).await?;
    let mut answer = accepted(&work.name, &work.id, work.size());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(answer)
}

/// `DELETE`: an upload is not wanted any more.
pub(super) async fn cancel(ask: Arc<Ask>, name: String, id: String) -> Result<Answer, Failure> {
    let mut work = take(ask, name, id).await?;
    blocking(move || {
        if let Some(upload) = work.held.take() {
            upload.cancel();
        }
        work.store.sessions.end(&work.id, &work.store.lease);
        Ok(status(StatusCode::NO_CONTENT))
    })
    .await
}

/// A request that has its upload.
struct Work {
    ask: Arc<Ask>,
    store: Arc<Store>,
    id: String,
    name: String,
    held: Held,
}

/// Finds an upload, and waits until no other request has it.
async fn take(ask: Arc<Ask>, name: String, id: String) -> Result<Work, Failure> {
    let gone =
        || Failure::missing(OciErrorCode::BlobUploadUnknown, "there is no such upload (it ended or was given up)");
    let busy =
        || Failure::new(StatusCode::CONFLICT, OciErrorCode::BlobUploadInvalid, "another request is writing to it");
    let (asked, repository, wanted) = (Arc::clone(&ask), name.clone(), id.clone());
    let (store, session) = blocking(move || {
        let store = asked.place(&repository)?.store;
        let session = match store.sessions.find(&wanted, &store.lease) {
            Err(layout::Error::Busy { .. }) => return Err(busy()),
            found => found?.ok_or_else(gone)?,
        };
        Ok((store, session))
    })
    .await?;
    let held = tokio::time::timeout(TURN, session.lock_owned()).await.map_err(|_| busy())?;
    if held.is_none() {
        return Err(gone());
    }
    Ok(Work { ask, store, id, name, held })
}

/// Carries an upload on, whether the client waits for it or not: when a connection breaks, its request is forgotten in the middle,
/// but what has arrived must not be.
async fn on_its_own(work: Work, body: Incoming, digest: Option<Digest>) -> Result<Answer, Failure> {
    match tokio::spawn(work.carry_on(body, digest)).await {
        Ok(result) => result,
        Err(error) => Err(Failure::internal(&error)),
    }
}

impl Work {
    fn size(&self) -> u64 {
        self.held.as_ref().map_or(0, BlobWriter::size)
    }

    /// A chunk must begin where the last one ended, and be as long as it says.
    fn check_range(&self) -> Result<(), Failure> {
        let Some(header) = self.ask.header(CONTENT_RANGE) else { return Ok(()) };
        let Some(range) = chunk(header) else {
            return Err(Failure::bad(OciErrorCode::BlobUploadInvalid, "Content-Range is not FIRST-LAST"));
        };
        if *range.start() != self.size() {
            let message = format!("the upload has {} bytes; the chunk begins at {}", self.size(), range.start());
            let there = accepted(&self.name, &self.id, self.size());
            let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, OciErrorCode::BlobUploadInvalid, message);
            let header = |name: HeaderName| there.headers().get(name).cloned();
            return Err([LOCATION, RANGE].into_iter().fold(failure, |failure, name| match header(name.clone()) {
                Some(value) => failure.with(name, value),
                None => failure,
            }));
        }
        let length = self.ask.header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let said = range.end() - range.start() + 1;
        match length {
            Some(length) if length != said => {
                let message = format!("Content-Range says {said} bytes, Content-Length {length}");
                Err(Failure::bad(OciErrorCode::SizeInvalid, message))
            }
            _ => Ok(()),
        }
    }

    async fn carry_on(mut self, body: Incoming, digest: Option<Digest>) -> Result<Answer, Failure> {
        let settings = &self.ask.hall.settings;
        let Some(mut upload) = self.held.take() else {
            return Err(Failure::missing(OciErrorCode::BlobUploadUnknown, "there is no such upload"));
        };
        if let Some(hasher) = digest.as_ref().and_then(|digest| Hasher::of(digest).ok()) {
            upload.announce(hasher);
        }
        let (upload, arrived) = append(upload, body, settings.max_blob, settings.timeout).await;
        match (upload, arrived, digest) {
            (Some(upload), Ok(()), Some(digest)) => self.commit(upload, digest).await,
            (Some(upload), Ok(()), None) => {
                let size = upload.size();
                *self.held = Some(upload);
                Ok(accepted(&self.name, &self.id, size))
            }
            (Some(upload), Err(failure), _) => {
                *self.held = Some(upload);
                Err(failure)
            }
            (None, result, _) => {
                let store = Arc::clone(&self.store);
                tokio::task::spawn_blocking(move || store.sessions.end(&self.id, &store.lease));
                result.map(|()| status(StatusCode::NOT_FOUND))
            }
        }
    }

    /// Makes an upload a blob. Nothing is left of one that is not what the client said.
    async fn commit(self, upload: BlobWriter, digest: Digest) -> Result<Answer, Failure> {
        blocking(move || {
            let Self { store, id, name, held, .. } = self;
            if !store.catalog()?.uses(&digest) {
                store.lease.hold(digest.as_ref())?;
            }
            let made = upload.commit_as(&digest, MediaType::Other(OCTETS.into()));
            store.sessions.end(&id, &store.lease);
            drop(held);
            match made {
                Ok(_) => {
                    store.lease.recall(digest.as_ref());
                    store.trust(&digest);
                    Ok(created(&name, &digest))
                }
                Err(layout::Error::BadBlob { source, .. }) => {
                    store.lease.release([digest.as_ref()]);
                    Err(Failure::bad(OciErrorCode::DigestInvalid, source.to_string()))
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }
}

/// An upload as it stands. An empty one has the range of one byte, as docker's registry says it.
fn accepted(name: &str, id: &str, size: u64) -> Answer {
    let mut answer = located(StatusCode::ACCEPTED, &format!("/v2/{name}/blobs/uploads/{id}"));
    set(&mut answer, RANGE, &format!("0-{}", size.saturating_sub(1)));
    set(&mut answer, HeaderName::from_static("docker-upload-uuid"), id);
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    answer
}

/// A blob that is there now.
fn created(name: &str, digest: &Digest) -> Answer {
    let mut answer = located(StatusCode::CREATED, &format!("/v2/{name}/blobs/{digest}"));
    name_content(&mut answer, digest);
    answer
}
