//! An image from a layout into a registry.
//!
//! Blobs first, several at once, then manifests from the innermost out, and the name last: whoever pulls meanwhile sees the
//! old image or the new one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use image_tool::address::Address;
use image_tool::address::digest::Digest;
use image_tool::layout::{self, Layout, MANIFEST_LIMIT};
use oci_spec::image::Descriptor;
use thiserror::Error;
use tracing::info;

use super::batch::{Stopped, move_all};
use super::documents::{Changed, Names, put};
use super::event::{Event, Watcher};
use super::upload::{Sending, UploadError, upload};
use crate::client::{ClientError, Registry};
use crate::place::mirror::MirrorError;
use crate::question::format::Format;
use crate::question::manifest::{Manifest, ManifestError};
use crate::question::plan::{Plan, PlanError, is_ours};
use crate::question::round::Round;
use crate::reference::ImageName;

/// What to push, and where to.
pub struct Order<'a> {
    /// Where the image is.
    pub address: &'a Address,
    /// The name that it gets at the registry.
    pub name: &'a ImageName,
    /// More tags that it gets in the same repository.
    pub more_tags: &'a [String],
    /// The dialect of its documents at the registry, if it is to be another.
    pub format: Option<Format>,
    /// How many blobs are transferred at once.
    pub jobs: usize,
    /// Blobs larger than this many bytes are sent in chunks of this size.
    pub chunk: u64,
    /// More repositories at the same registry that may have blobs of the image, beside those that the layout knows of.
    pub mount_from: Vec<String>,
    /// Who is told of progress.
    pub watcher: Watcher,
}

/// What was pushed.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The digest that the registry has under the name now.
    pub digest: Digest,
    /// The size of the manifest or index, in bytes.
    pub size: u64,
}

/// Why an image was not pushed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PushError {
    /// The registry, or the network.
    #[error("{name}")]
    Client {
        /// The name as typed.
        name: String,
        /// The failure at the registry.
        source: ClientError,
    },
    /// The layout cannot be read.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The image's own documents are wrong.
    #[error("{address}")]
    Manifest {
        /// Where the image is.
        address: Address,
        /// What is wrong with a document.
        source: ManifestError,
    },
    /// The configuration of registries is wrong, or forbids it.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The name has another digest than the image.
    #[error("{name}: the image has another digest, {actual}")]
    OtherDigest {
        /// The name as typed.
        name: String,
        /// The image's digest.
        actual: Digest,
    },
    /// The registry reports another digest than that of what was sent.
    #[error("{name}: pushed {pushed}, but the registry says it has {claimed}")]
    Changed {
        /// The name as typed.
        name: String,
        /// The digest of what was sent.
        pushed: Digest,
        /// The digest that the registry reports.
        claimed: String,
    },
    /// The tasks that send the blobs were torn down from outside.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Pushes an image with all that it refers to.
///
/// # Errors
/// [`PushError`].
pub async fn push(order: &Order<'_>, round: Round<'_>) -> Result<Pushed, PushError> {
    let layout = Layout::of(order.address)?;
    let top = layout.resolve(order.address)?;
    let name = order.name;
    let mut plan = plan(&layout, &top, order.address).await?;
    if let Some(format) = order.format {
        let failed = |source| PushError::Manifest { address: order.address.clone(), source };
        plan = format.convert(plan).map_err(failed)?;
    }
    let top = plan.top().descriptor.clone();
    if name.digest().is_some_and(|digest| digest != top.digest().to_string()) {
        return Err(PushError::OtherDigest { name: name.typed().into(), actual: top.digest().clone() });
    }

    let endpoint = round.mirrors.push_endpoint(name.reference())?;
    let failed = |source| PushError::Client { name: name.typed().to_owned(), source };
    let registry = Arc::new(Registry::connect(&endpoint, round.settings).await.map_err(failed)?);
    (order.watcher)(Event::Found { name, host: registry.host() });
    let sources = Sources::of(&layout, order).await;
    send_blobs(order, &registry, &layout, &plan, &sources).await?;

    let changed = put(&registry, &plan, Names::new(name, order.more_tags)).await.map_err(failed)?;
    if let Some(Changed { sent, claimed }) = changed {
        return Err(PushError::Changed { name: name.typed().into(), pushed: sent, claimed });
    }
    Ok(Pushed { digest: top.digest().clone(), size: top.size() })
}

/// Everything that an image in a layout consists of.
async fn plan(layout: &Layout, top: &Descriptor, address: &Address) -> Result<Plan, PushError> {
    let unsound = |source| PushError::Manifest { address: address.clone(), source };
    let read = |descriptor: &Descriptor| {
        let bytes = layout.read(descriptor, MANIFEST_LIMIT)?;
        Manifest::promised(descriptor, bytes.into()).map_err(unsound)
    };
    let plan = Plan::of(read(top)?, async |descriptor: &Descriptor| read(descriptor)).await;
    let mut plan = plan.map_err(|error| match error {
        PlanError::Read(error) => error,
        PlanError::Excess(source) => unsound(source),
    })?;
    // A foreign layer that the layout lacks is one that everybody downloads from its URL.
    plan.blobs.retain(|blob| is_ours(blob) || layout.has(blob));
    Ok(plan)
}

/// Which repositories of the registry may already have a blob.
struct Sources {
    by_digest: HashMap<Digest, BTreeSet<String>>,
    everywhere: Vec<String>,
}

impl Sources {
    /// A layout knows where its images came from by their names: one whose name is at the registry that is pushed to, and
    /// that shares a blob, was most likely pulled from there or pushed there.
    async fn of(layout: &Layout, order: &Order<'_>) -> Self {
        let mut by_digest: HashMap<Digest, BTreeSet<String>> = HashMap::new();
        // Mounts only save time: an index.json that cannot be read was reported when the image was looked up.
        let entries = layout.index().and_then(|index| index.entries()).unwrap_or_default();
        for (reference, descriptor) in entries {
            let Some(other) = reference.and_then(|reference| reference.parse::<ImageName>().ok()) else { continue };
            if other.registry() != order.name.registry() || other.repository() == order.name.repository() {
                continue;
            }
            let plan = match plan(layout, &descriptor, order.address).await {
                Ok(plan) => plan,
                Err(error) => {
                    info!(%error, other = %other, "no source of mounts");
                    continue;
                }
            };
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

/// Sends what is missing.
async fn send_blobs(
    order: &Order<'_>,
    registry: &Arc<Registry>,
    layout: &Layout,
    plan: &Plan,
    sources: &Sources,
) -> Result<(), PushError> {
    let sending = Sending { chunk: order.chunk.max(1), watcher: order.watcher.clone() };
    let send_one = |blob: Descriptor| {
        let (registry, layout, sending) = (Arc::clone(registry), layout.clone(), sending.clone());
        let sources = sources.for_blob(blob.digest());
        async move { upload(&registry, &layout, &blob, &sources, &sending).await }
    };
    move_all(&plan.blobs, order.jobs, &order.watcher, send_one).await.map_err(|error| match error {
        UploadError::Client(source) => PushError::Client { name: order.name.typed().to_owned(), source },
        UploadError::Layout(source) => source.into(),
        UploadError::Stopped(stopped) => stopped.into(),
    })
}
