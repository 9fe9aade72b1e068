//! An image from a layout into a registry.
//!
//! Blobs first, several at once, then manifests from the innermost out, and the name last: whoever pulls meanwhile sees the
//! old image or the new one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use image_tool::address::Address;
use image_tool::address::digest::Digest;
use image_tool::layout::{self, Layout, MANIFEST_LIMIT};
use oci_spec::image::Descriptor;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::info;

use crate::client::{ClientError, Registry, Settings};
use crate::event::{Event, Watcher};
use crate::manifest::{Content, Manifest, ManifestError, Plan};
use crate::mirror::{MirrorError, Mirrors};
use crate::reference::ImageName;
use crate::upload::{Sending, UploadError, upload};

const DEPTH: usize = 4;

/// What to push, and where to.
pub struct Order<'a> {
    /// The image.
    pub address: &'a Address,
    /// Its name at the registry.
    pub name: &'a ImageName,
    /// How many blobs at once.
    pub jobs: usize,
    /// Blobs larger than this are sent in pieces of it.
    pub chunk: u64,
    /// Repositories at the same registry that may have blobs of the image, beside those that the layout knows of.
    pub mount_from: Vec<String>,
    /// Who watches.
    pub watcher: Watcher,
}

/// What was pushed.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The digest that the name has at the registry now.
    pub digest: Digest,
    /// The size of the manifest or index.
    pub size: u64,
}

/// Why an image was not pushed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PushError {
    /// The registry, or the network.
    #[error("{name}")]
    Client {
        /// Where it was to go.
        name: String,
        /// What went wrong.
        source: ClientError,
    },
    /// The layout.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The image's own documents are wrong.
    #[error("{address}")]
    Manifest {
        /// The image.
        address: Address,
        /// What is wrong.
        source: ManifestError,
    },
    /// The configuration of registries is wrong, or forbids it.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The name has another digest than the image.
    #[error("{name}: the image is {actual}: a name with a digest can only mean that image")]
    OtherDigest {
        /// The name.
        name: String,
        /// The image's digest.
        actual: Digest,
    },
    /// The registry says that it has something else now.
    #[error("{name}: pushed {pushed}, but the registry says it has {claimed}")]
    Changed {
        /// The name.
        name: String,
        /// What was sent.
        pushed: Digest,
        /// What it says.
        claimed: String,
    },
    /// The task was torn down from outside.
    #[error("stopped")]
    Stopped,
}

/// Pushes an image with all that it refers to.
///
/// # Errors
/// [`PushError`].
pub async fn push(order: &Order<'_>, mirrors: &Mirrors, settings: &Settings) -> Result<Pushed, PushError> {
    let layout = Layout::of(order.address)?;
    let top = layout.resolve(order.address)?;
    let name = order.name;
    if let Some(digest) = name.digest()
        && digest != top.digest().to_string()
    {
        return Err(PushError::OtherDigest { name: name.typed().into(), actual: top.digest().clone() });
    }
    let mut plan = Plan::default();
    gather(&layout, &top, &mut plan, DEPTH, order.address)?;

    let endpoint = mirrors.push_endpoint(name.reference())?;
    let failed = |source| PushError::Client { name: name.typed().to_owned(), source };
    let registry = Arc::new(Registry::connect(&endpoint, settings).await.map_err(failed)?);
    (order.watcher)(Event::Found { name, host: registry.host() });
    let sources = Sources::of(&layout, order);
    send_blobs(order, &registry, &layout, &plan, &sources).await?;

    let last = plan.documents.len().saturating_sub(1);
    for (number, document) in plan.documents.iter().enumerate() {
        let digest = document.descriptor.digest();
        let by_digest = digest.to_string();
        let reference = match name.tag() {
            Some(tag) if number == last => tag,
            _ => by_digest.as_str(),
        };
        let media_type = document.descriptor.media_type().to_string();
        let claimed = registry.put_manifest(reference, &media_type, document.bytes.clone()).await.map_err(failed)?;
        if let Some(claimed) = claimed.filter(|claimed| claimed.starts_with("sha256:") && *claimed != by_digest) {
            return Err(PushError::Changed { name: name.typed().into(), pushed: digest.clone(), claimed });
        }
    }
    Ok(Pushed { digest: top.digest().clone(), size: top.size() })
}

/// Fills the plan with a document and all that it refers to, depth first.
fn gather(
    layout: &Layout,
    descriptor: &Descriptor,
    plan: &mut Plan,
    depth: usize,
    address: &Address,
) -> Result<(), PushError> {
    if plan.documents.iter().any(|document| document.descriptor.digest() == descriptor.digest()) {
        return Ok(());
    }
    let bytes = layout.read(descriptor, MANIFEST_LIMIT)?;
    let unsound = |source| PushError::Manifest { address: address.clone(), source };
    let manifest = Manifest::promised(descriptor, bytes.into()).map_err(unsound)?;
    match &manifest.content {
        Content::Image(blobs) => {
            let mut seen: HashSet<Digest> = plan.blobs.iter().map(|blob| blob.digest().clone()).collect();
            let new = blobs.iter().filter(|blob| seen.insert(blob.digest().clone()));
            // A foreign layer that the layout does not have is one that everybody gets from its URL.
            let new = new.filter(|blob| blob.urls().as_ref().is_none_or(Vec::is_empty) || layout.has(blob));
            plan.blobs.extend(new.cloned());
        }
        Content::Index(_) if depth == 0 => {
            let digest = descriptor.digest().clone();
            let reason = format!("indexes are nested more than {DEPTH} deep");
            return Err(unsound(ManifestError::Malformed { digest, reason }));
        }
        Content::Index(children) => {
            for child in children {
                gather(layout, child, plan, depth - 1, address)?;
            }
        }
    }
    plan.documents.push(manifest);
    Ok(())
}

/// Which repositories of the registry may have a blob already.
struct Sources {
    by_digest: HashMap<Digest, BTreeSet<String>>,
    everywhere: Vec<String>,
}

impl Sources {
    /// A layout knows where its images came from by their names: one whose name is at the registry that is pushed to, and
    /// that shares a blob, was most likely pulled from there or pushed there.
    fn of(layout: &Layout, order: &Order<'_>) -> Self {
        let mut by_digest: HashMap<Digest, BTreeSet<String>> = HashMap::new();
        // Mounts only save time: an index.json that cannot be read has been told of when the image was looked up.
        let entries = layout.index().and_then(|index| index.entries()).unwrap_or_default();
        for (reference, descriptor) in entries {
            let Some(other) = reference.and_then(|reference| reference.parse::<ImageName>().ok()) else { continue };
            if other.registry() != order.name.registry() || other.repository() == order.name.repository() {
                continue;
            }
            let mut plan = Plan::default();
            if let Err(error) = gather(layout, &descriptor, &mut plan, DEPTH, order.address) {
                info!(%error, other = %other, "no source of mounts");
                continue;
            }
            for blob in plan.blobs {
                by_digest.entry(blob.digest().clone()).or_default().insert(other.repository().to_owned());
            }
        }
        Self { by_digest, everywhere: order.mount_from.clone() }
    }

    fn for_blob(&self, digest: &Digest) -> Vec<String> {
        let known = self.by_digest.get(digest).into_iter().flatten().cloned();
        self.everywhere.iter().cloned().chain(known).collect()
    }
}

/// Sends what is missing, several blobs at once. The first failure ends the others.
async fn send_blobs(
    order: &Order<'_>,
    registry: &Arc<Registry>,
    layout: &Layout,
    plan: &Plan,
    sources: &Sources,
) -> Result<(), PushError> {
    let sending = Sending { chunk: order.chunk.max(1), watcher: order.watcher.clone() };
    for blob in &plan.blobs {
        (order.watcher)(Event::Waiting(blob));
    }
    let seats = Arc::new(Semaphore::new(order.jobs.max(1)));
    let mut tasks = JoinSet::new();
    for blob in &plan.blobs {
        let blob = blob.clone();
        let (registry, layout, sending, seats) = (registry.clone(), layout.clone(), sending.clone(), seats.clone());
        let sources = sources.for_blob(blob.digest());
        tasks.spawn(async move {
            let _seat = seats.acquire_owned().await.map_err(|_| UploadError::Stopped)?;
            upload(&registry, &layout, &blob, &sources, &sending).await
        });
    }
    while let Some(finished) = tasks.join_next().await {
        let error = match finished.unwrap_or(Err(UploadError::Stopped)) {
            Ok(()) => continue,
            Err(error) => error,
        };
        tasks.shutdown().await;
        return Err(match error {
            UploadError::Client(source) => PushError::Client { name: order.name.typed().to_owned(), source },
            UploadError::Layout(source) => source.into(),
            UploadError::Stopped => PushError::Stopped,
        });
    }
    Ok(())
}
