//! An image from one registry to another, blob by blob in a stream: nothing of it touches the disk.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use image_tool::address::digest::{Digest, Hasher};
use oci_distribution::client::{BlobResponse, SizedStream};
use oci_distribution::errors::OciDistributionError;
use oci_spec::image::Descriptor;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::info;

use crate::client::{ClientError, Registry, Settings};
use crate::event::{Event, Outcome, Watcher};
use crate::manifest::Plan;
use crate::mirror::{MirrorError, Mirrors};
use crate::policy::{Policy, PolicyError};
use crate::pull::{Choice, EndpointError, gather, narrow, tell};
use crate::query::manifest;
use crate::reference::ImageName;
use crate::upload::mount;

const DEPTH: usize = 4;

/// What to copy, and where to.
pub struct Order<'a> {
    /// The image.
    pub source: &'a ImageName,
    /// Its new name.
    pub target: &'a ImageName,
    /// For which platforms.
    pub choice: Choice,
    /// What this machine allows.
    pub policy: Policy,
    /// How many blobs at once.
    pub jobs: usize,
    /// Who watches.
    pub watcher: Watcher,
}

/// Why an image was not copied.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CopyError {
    /// None of the places that may have it gave it.
    #[error("{name}: {}", tell("image", .failures))]
    Source {
        /// The image as it was typed.
        name: String,
        /// The host of each place, and what it said.
        failures: Vec<(String, EndpointError)>,
    },
    /// The registry that it goes to.
    #[error("{name}")]
    Target {
        /// The new name as it was typed.
        name: String,
        /// What went wrong.
        source: ClientError,
    },
    /// A blob did not come across.
    #[error("{name}: blob {digest}")]
    Blob {
        /// The image as it was typed.
        name: String,
        /// The blob.
        digest: Digest,
        /// What went wrong.
        source: ClientError,
    },
    /// The new name has another digest than the image.
    #[error("{name}: the image is {actual}: a name with a digest can only mean that image")]
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
    /// The task was torn down from outside.
    #[error("stopped")]
    Stopped,
}

/// Copies an image with all that it refers to; its descriptor.
///
/// # Errors
/// [`CopyError`].
pub async fn copy(order: &Order<'_>, mirrors: &Mirrors, settings: &Settings) -> Result<Descriptor, CopyError> {
    let mut failures = Vec::new();
    let mut found = None;
    'search: for name in mirrors.resolve(order.source) {
        order.policy.check(name.reference(), false)?;
        for endpoint in mirrors.pull_endpoints(name.reference())? {
            let answer = match Registry::connect(&endpoint, settings).await {
                Ok(registry) => look(&registry, &name, &order.choice).await.map(|plan| (registry, plan)),
                Err(error) => Err(error.into()),
            };
            match answer {
                Ok(answer) => {
                    found = Some(answer);
                    break 'search;
                }
                Err(error) => {
                    failures.push((crate::client::credential_host(endpoint.host()).to_owned(), error));
                }
            }
        }
    }
    let Some((source, plan)) = found else {
        return Err(CopyError::Source { name: order.source.typed().to_owned(), failures });
    };
    let top = plan.documents.last().expect("a plan ends with the image itself").descriptor.clone();
    let name = order.target.typed();
    if order.target.digest().is_some_and(|digest| digest != top.digest().to_string()) {
        return Err(CopyError::OtherDigest { name: name.to_owned(), actual: top.digest().clone() });
    }
    let failed = |source| CopyError::Target { name: name.to_owned(), source };
    let endpoint = mirrors.push_endpoint(order.target.reference())?;
    let target = Registry::connect(&endpoint, settings).await.map_err(failed)?;
    let (source, target) = (Arc::new(source), Arc::new(target));
    copy_blobs(order, &source, &target, &plan).await?;
    for document in &plan.documents {
        let digest = document.descriptor.digest().to_string();
        let is_top = document.descriptor.digest() == top.digest();
        let reference = order.target.tag().filter(|_| is_top).unwrap_or(&digest);
        let media_type = document.descriptor.media_type().to_string();
        target.put_manifest(reference, &media_type, document.bytes.clone()).await.map_err(failed)?;
    }
    Ok(top)
}

/// Reads all manifests of the image.
async fn look(registry: &Registry, name: &ImageName, choice: &Choice) -> Result<Plan, EndpointError> {
    let top = manifest(registry, name).await?;
    let chosen = match choice {
        Choice::All => top,
        Choice::One { platform, .. } => narrow(registry, top, platform).await?,
    };
    let mut plan = Plan::default();
    gather(registry, chosen, &mut plan, DEPTH).await?;
    // Foreign layers are everybody's to get from their URLs; the registry need not have them.
    plan.blobs.retain(|blob| blob.urls().as_ref().is_none_or(Vec::is_empty));
    Ok(plan)
}

async fn copy_blobs(
    order: &Order<'_>,
    source: &Arc<Registry>,
    target: &Arc<Registry>,
    plan: &Plan,
) -> Result<(), CopyError> {
    for blob in &plan.blobs {
        (order.watcher)(Event::Waiting(blob));
    }
    let seats = Arc::new(Semaphore::new(order.jobs.max(1)));
    let mut tasks = JoinSet::new();
    for blob in &plan.blobs {
        let (source, target, watcher, seats) = (source.clone(), target.clone(), order.watcher.clone(), seats.clone());
        let blob = blob.clone();
        tasks.spawn(async move {
            let Ok(_seat) = seats.acquire_owned().await else { return Err((blob, None)) };
            let outcome = copy_blob(&source, &target, &blob, &watcher).await;
            outcome.map_err(|error| (blob, Some(error)))
        });
    }
    while let Some(finished) = tasks.join_next().await {
        let Err((blob, error)) = finished.map_err(|_| CopyError::Stopped)? else { continue };
        tasks.shutdown().await;
        let name = order.source.typed().to_owned();
        return Err(match error {
            Some(source) => CopyError::Blob { name, digest: blob.digest().clone(), source },
            None => CopyError::Stopped,
        });
    }
    Ok(())
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
    if source.host() == target.host() && mount(target, &digest, repository).await? {
        watcher(Event::Done(blob, Outcome::Mounted(repository)));
        return Ok(());
    }
    let mut attempt = 0;
    loop {
        let sent = match source.blob(&digest, 0).await {
            Ok(BlobResponse::Full(body) | BlobResponse::Partial(body)) => {
                target.put_blob(&digest, blob.size(), checked(body, blob, watcher.clone())).await
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

/// The bytes, with an error in the place of the end unless size and digest are those that were promised: an upload that ends in
/// an error is never complete, so nothing wrong arrives, whatever the target registry checks.
fn checked(
    body: SizedStream,
    blob: &Descriptor,
    watcher: Watcher,
) -> impl Stream<Item = Result<Bytes, OciDistributionError>> + Send + use<> {
    let hasher = Hasher::of(blob.digest()).expect("the manifest's digests were checked when it was read");
    let state = (body.stream, Some(hasher), 0u64, blob.clone(), watcher);
    let wrong =
        |text: String| OciDistributionError::IoError(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
    stream::try_unfold(state, move |(mut body, mut hasher, size, blob, watcher)| async move {
        let Some(running) = hasher.as_mut() else { return Ok(None) };
        match body.next().await {
            Some(chunk) => {
                let chunk = chunk.map_err(OciDistributionError::IoError)?;
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
            }
            None => Err(wrong(format!("expected {} bytes, got {size}", blob.size()))),
        }
    })
}
