//! An image from one registry to another. Blobs are streamed, so nothing is written to disk.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, stream};
use image_tool::address::digest::{Digest, Hasher};
use oci_spec::image::Descriptor;
use tracing::info;

use super::batch::{Stopped, move_all};
use super::beside::list;
use super::documents::{Changed, Names, put};
use super::event::{Event, Outcome, Watcher};
use crate::client::{BlobStream, ClientError, Registry};
use crate::place::mirror::MirrorError;
use crate::place::policy::{Demand, Policy, PolicyError};
use crate::question::failure::{EndpointError, Nowhere};
use crate::question::format::Format;
use crate::question::manifest::ManifestError;
use crate::question::plan::{Plan, is_ours};
use crate::question::query::{Choice, choose, manifest, plan, promised};
use crate::question::referrer::referrers;
use crate::question::round::{Failure, Round};
use crate::question::signature::meet;
use crate::reference::ImageName;

/// More artifacts than anybody attaches to an image.
const REFERRERS: usize = 1000;

/// What to copy, and where to.
pub struct Order<'a> {
    /// The name of the image.
    pub source: &'a ImageName,
    /// The name of the copy.
    pub target: &'a ImageName,
    /// More tags that it gets in the same repository.
    pub more_tags: &'a [String],
    /// Whether what refers to the image is copied too, and what refers to that.
    pub has_referrers: bool,
    /// Which of an index's images are wanted.
    pub choice: Choice,
    /// The dialect of the copy's documents, if it is to be another.
    pub format: Option<Format>,
    /// What this machine allows.
    pub policy: Policy,
    /// How many blobs are transferred at once.
    pub jobs: usize,
    /// Who is told of progress.
    pub watcher: Watcher,
}

/// Why an image was not copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// None of the places that may have it gave it.
    #[error(transparent)]
    Nowhere(#[from] Nowhere),
    /// The registry that is copied to failed.
    #[error("{name}")]
    Target {
        /// The new name as it was typed.
        name: String,
        /// The failure at the registry.
        source: ClientError,
    },
    /// A blob could not be copied.
    #[error("{name}: blob {digest}")]
    Blob {
        /// The image as it was typed.
        name: String,
        /// The digest of the blob.
        digest: Digest,
        /// The failure at the registry.
        source: ClientError,
    },
    /// What refers to the image cannot be read.
    #[error("{name}")]
    Referrers {
        /// The name of the image as it was typed.
        name: String,
        /// Why.
        source: EndpointError,
    },
    /// More refers to the image than anybody would attach.
    #[error("{name}: more than {REFERRERS} artifacts refer to it")]
    TooManyReferrers {
        /// The name of the image as it was typed.
        name: String,
    },
    /// The image cannot be rewritten as it was asked for.
    #[error("{name}")]
    Format {
        /// The image as it was typed.
        name: String,
        /// What has no room in the other dialect.
        source: ManifestError,
    },
    /// The registry reports another digest than that of what was sent.
    #[error("{name}: sent {sent}, but the registry says it has {claimed}")]
    Changed {
        /// The new name as it was typed.
        name: String,
        /// The digest of what was sent.
        sent: Digest,
        /// The digest that the registry reports.
        claimed: String,
    },
    /// The new name has another digest than the image.
    #[error("{name}: the image has another digest, {actual}")]
    OtherDigest {
        /// The new name.
        name: String,
        /// The image's digest.
        actual: Digest,
    },
    /// The configuration of registries is wrong, or forbids it.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The policy forbids it.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The tasks that copy the blobs were torn down from outside.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// What a copy would do.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The descriptor of the copy.
    pub image: Descriptor,
    /// How many blobs the image has.
    pub blobs: usize,
    /// Those that the target lacks.
    pub missing: Vec<Descriptor>,
}

/// The registries of a copy, and what goes from one to the other.
struct Route {
    source: Arc<Registry>,
    target: Arc<Registry>,
    plan: Plan,
}

/// Copies an image with all that it refers to, and returns its descriptor. The source is looked for in one round, the target in
/// another.
///
/// # Errors
/// [`CopyError`].
pub async fn copy(order: &Order<'_>, from: Round<'_>, to: Round<'_>) -> Result<Descriptor, CopyError> {
    let Route { source, target, plan } = route(order, from, to).await?;
    copy_blobs(order, &source, &target, &plan).await?;
    let name = || order.target.typed().to_owned();
    let changed = put(&target, &plan, Names::new(order.target, order.more_tags)).await;
    if let Some(Changed { sent, claimed }) = changed.map_err(|source| CopyError::Target { name: name(), source })? {
        return Err(CopyError::Changed { name: name(), sent, claimed });
    }
    if order.has_referrers {
        copy_referrers(order, &source, &target, &plan).await?;
    }
    Ok(plan.top().descriptor.clone())
}

/// Tells what [`copy`] would do, and sends nothing.
///
/// # Errors
/// As [`copy`].
pub async fn rehearse(order: &Order<'_>, from: Round<'_>, to: Round<'_>) -> Result<Rehearsal, CopyError> {
    let Route { target, plan, .. } = route(order, from, to).await?;
    let mut missing = Vec::new();
    for blob in &plan.blobs {
        let is_there = target.has_blob(blob.digest().as_ref(), blob.size()).await;
        if !is_there.map_err(|source| CopyError::Target { name: order.target.typed().to_owned(), source })? {
            missing.push(blob.clone());
        }
    }
    Ok(Rehearsal { image: plan.top().descriptor.clone(), blobs: plan.blobs.len(), missing })
}

/// Finds the image, and opens both conversations.
async fn route(order: &Order<'_>, from: Round<'_>, to: Round<'_>) -> Result<Route, CopyError> {
    let (source, mut plan) = find(order, from).await?;
    if let Some(format) = order.format {
        let failed = |source| CopyError::Format { name: order.source.typed().to_owned(), source };
        plan = format.convert(plan).map_err(failed)?;
    }
    let (name, digest) = (order.target.typed(), plan.top().descriptor.digest());
    if order.target.digest().is_some_and(|wanted| wanted != digest.to_string()) {
        return Err(CopyError::OtherDigest { name: name.to_owned(), actual: digest.clone() });
    }
    let endpoint = to.mirrors.push_endpoint(order.target.reference())?;
    let target = Registry::connect(&endpoint, to.settings).await;
    let target = target.map_err(|source| CopyError::Target { name: name.to_owned(), source })?;
    Ok(Route { source: Arc::new(source), target: Arc::new(target), plan })
}

/// Copies what refers to an image, to one of an index's images, or to what was copied so.
async fn copy_referrers(
    order: &Order<'_>,
    source: &Arc<Registry>,
    target: &Arc<Registry>,
    image: &Plan,
) -> Result<(), CopyError> {
    let unread = |source| CopyError::Referrers { name: order.source.typed().to_owned(), source };
    let failed = |source| CopyError::Target { name: order.target.typed().to_owned(), source };
    let mut left: Vec<String> =
        image.documents.iter().map(|document| document.descriptor.digest().to_string()).collect();
    let mut known: BTreeSet<String> = left.iter().cloned().collect();
    let most = known.len() + REFERRERS;
    while let Some(subject) = left.pop() {
        for referrer in referrers(source, &subject, None).await.map_err(unread)? {
            // One that is no manifest, or that is copied already.
            let Ok(entry) = serde_json::from_value::<Descriptor>(referrer.descriptor.clone()) else { continue };
            if !known.insert(referrer.digest.clone()) {
                continue;
            }
            if known.len() > most {
                return Err(CopyError::TooManyReferrers { name: order.source.typed().to_owned() });
            }
            let artifact = promised(source, &entry).await.map_err(unread)?;
            let mut plan = plan(source, artifact).await.map_err(unread)?;
            plan.blobs.retain(is_ours);
            copy_blobs(order, source, target, &plan).await?;
            for document in &plan.documents {
                let digest = document.descriptor.digest().to_string();
                let media_type = document.descriptor.media_type().to_string();
                target.put_manifest(&digest, &media_type, document.bytes.clone()).await.map_err(failed)?;
            }
            if target.referrers(&subject).await.map_err(failed)?.is_none() {
                list(target, &subject, &referrer.descriptor).await.map_err(failed)?;
            }
            left.push(referrer.digest);
        }
    }
    Ok(())
}

/// Reads all manifests of the image at the first place that has it.
async fn find(order: &Order<'_>, round: Round<'_>) -> Result<(Registry, Plan), CopyError> {
    let allow = |name: &ImageName| Ok(order.policy.check(name.reference(), false)?);
    let attempt = async |registry: Registry, name: &ImageName, demands: &Vec<Demand>| {
        let top = manifest(&registry, name).await?;
        let digest = top.descriptor.digest().to_string();
        let image = choose(&registry, top, &order.choice).await?;
        let digests = [&digest, image.descriptor.digest().as_ref()];
        meet(&registry, name, demands, &digests, round.settings).await?;
        let mut plan = plan(&registry, image).await?;
        plan.blobs.retain(is_ours);
        Ok::<_, Failure<CopyError>>((registry, plan))
    };
    round.first("image", order.source, allow, attempt).await
}

async fn copy_blobs(
    order: &Order<'_>,
    source: &Arc<Registry>,
    target: &Arc<Registry>,
    plan: &Plan,
) -> Result<(), CopyError> {
    let copy_one = |blob: Descriptor| {
        let (source, target, watcher) = (Arc::clone(source), Arc::clone(target), order.watcher.clone());
        let name = order.source.typed().to_owned();
        async move {
            let copied = copy_blob(&source, &target, &blob, &watcher).await;
            copied.map_err(|source| CopyError::Blob { name, digest: blob.digest().clone(), source })
        }
    };
    move_all(&plan.blobs, order.jobs, &order.watcher, copy_one).await
}

async fn copy_blob(
    source: &Registry,
    target: &Registry,
    blob: &Descriptor,
    watcher: &Watcher,
) -> Result<(), ClientError> {
    let digest = blob.digest().to_string();
    if target.has_blob(&digest, blob.size()).await? {
        watcher(Event::Done(blob, Outcome::Held));
        return Ok(());
    }
    let repository = source.reference().repository();
    if source.host() == target.host() && target.mount(&digest, repository).await? {
        watcher(Event::Done(blob, Outcome::Mounted(repository)));
        return Ok(());
    }
    let mut attempt = 0;
    loop {
        let sent = match source.blob(&digest, 0).await {
            Ok(body) => {
                let once = Mutex::new(Some(checked(body, blob, watcher.clone())));
                let body = || once.lock().expect("no thread panics with it").take();
                target.put_blob(&digest, blob.size(), body).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = sent else { break };
        let wait = target.retry().wait(attempt, None).filter(|_| error.is_transient());
        let Some(wait) = wait else { return Err(error) };
        info!(digest, %error, "copying again");
        watcher(Event::Retrying(blob, &error.to_string()));
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
    watcher(Event::Done(blob, Outcome::Pushed));
    Ok(())
}

/// The bytes, with an error instead of the end unless size and digest are those that were promised: an upload that ends in an
/// error is never complete, so nothing wrong arrives, whatever the target registry checks.
fn checked(
    body: BlobStream,
    blob: &Descriptor,
    watcher: Watcher,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
    let hasher = Hasher::of(blob.digest()).expect("the manifest's digests were checked when it was read");
    let state = (body, Some(hasher), 0u64, blob.clone(), watcher);
    let wrong = |text: String| Error::new(ErrorKind::InvalidData, text);
    stream::try_unfold(state, move |(mut body, mut hasher, size, blob, watcher)| async move {
        let Some(running) = hasher.as_mut() else { return Ok(None) };
        let Some(chunk) = body.next().await else {
            return Err(wrong(format!("expected {} bytes, got {size}", blob.size())));
        };
        let chunk = chunk.map_err(Error::other)?;
        let size = size + chunk.len() as u64;
        if size > blob.size() {
            return Err(wrong(format!("expected {} bytes, got {size}", blob.size())));
        }
        running.update(&chunk);
        watcher(Event::At(&blob, size));
        // Before the last bytes go out: once they have, the target could take the upload for complete.
        if size == blob.size() {
            let actual = hasher.take().expect("it was there a line ago").finish();
            if actual != *blob.digest() {
                return Err(wrong(format!("expected {}, got {actual}", blob.digest())));
            }
        }
        Ok(Some((chunk, (body, hasher, size, blob, watcher))))
    })
}
