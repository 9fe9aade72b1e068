//! An image from a registry into a layout.
//!
//! The order is the layout's promise: blobs first, several at once, then manifests, then `index.json`. Whenever the program
//! ends, killed or not, the layout is valid and holds the image wholly or not at all under its name.

use std::sync::Arc;

use image_tool::address::digest::{self, Digest};
use image_tool::address::{Address, RefName};
use image_tool::layer::limit::{Limits, TooManyLayers};
use image_tool::layer::stack::Store;
use image_tool::layout::index::PULLED;
use image_tool::layout::{self, Layout, Writer};
use image_tool::program::caller::caller;
use oci_spec::image::Descriptor;
use thiserror::Error;

use super::batch::{Stopped, move_all};
use super::download::{DownloadError, download};
use super::event::{Event, Watcher, nobody};
use super::store::{Begun, StoreError, Storing};
use crate::client::Registry;
use crate::place::mirror::MirrorError;
use crate::place::policy::{Demand, Policy, PolicyError};
use crate::question::failure::{EndpointError, Nowhere};
use crate::question::manifest::Content;
use crate::question::plan::Plan;
use crate::question::query::{Choice, choose, manifest, plan};
use crate::question::round::{Failure, Round};
use crate::question::signature::meet;
use crate::reference::ImageName;

/// What to pull, and where to.
pub struct Order<'a> {
    /// The image.
    pub name: &'a ImageName,
    /// Where it goes: the default layout if absent. A layout alone keeps the image under the name as it was typed.
    pub target: Option<&'a Address>,
    /// Which of an index's images are wanted.
    pub choice: Choice,
    /// What this machine allows.
    pub policy: Policy,
    /// Whether a person accepts an image without the signature that the policy requires.
    pub is_trusted: bool,
    /// How many blobs are downloaded at once.
    pub jobs: usize,
    /// Where layers are stored for containers while they arrive, if they are.
    pub store: Option<Store>,
    /// How many layers there may be, and how large; what is stored has limits of its own.
    pub limits: Limits,
    /// Who is told of progress.
    pub watcher: Watcher,
}

/// What was pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Where it is now, pinned by its digest.
    pub address: Address,
    /// The name that the registries were asked for: an alias resolved.
    pub name: ImageName,
    /// The digest that the registry has under the name: of the index, where there is one.
    pub digest: String,
    /// Whether the layout has changed.
    pub is_newer: bool,
}

/// Why an image did not arrive.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PullError {
    /// None of the places that may have it gave it.
    #[error(transparent)]
    Nowhere(#[from] Nowhere),
    /// The configuration of registries is wrong, or forbids it.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The policy forbids it.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The digest in the name is of a kind that cannot be verified.
    #[error(transparent)]
    Digest(#[from] digest::Error),
    /// The layout cannot be written.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The grammar of refs has no room for the name, for example for one with an IPv6 address.
    #[error("{name}: not a valid ref of a layout: name one (registry-tool pull {name} LAYOUT:REF)")]
    NoRef {
        /// The name as typed.
        name: String,
    },
    /// The target's digest is not that of the image.
    #[error("{name}: the registry has {actual}, not the {wanted} that {target} asks for")]
    OtherDigest {
        /// The name as typed.
        name: String,
        /// The address that the image was to have.
        target: Address,
        /// The digest in that address.
        wanted: String,
        /// The image's digest.
        actual: String,
    },
    /// The image has too many layers.
    #[error("{name}: image refused")]
    Layers {
        /// The name as typed.
        name: String,
        /// How many it has, and may have.
        source: TooManyLayers,
    },
    /// A layer is too large.
    #[error("{name}: image refused: layer {digest} is larger than {limit} bytes")]
    Size {
        /// The name as typed.
        name: String,
        /// The digest of the layer.
        digest: Digest,
        /// The limit.
        limit: u64,
    },
    /// A layer cannot be stored for containers.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The downloads were torn down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Pulls an image from the first place that has it whole.
///
/// The layout is created once the image has been found, so that a misspelt name leaves nothing behind.
///
/// # Errors
/// [`PullError::Nowhere`] holds what each place said.
pub async fn pull(order: &Order<'_>, round: Round<'_>) -> Result<Pulled, PullError> {
    let target = Target::of(order)?;
    let allow = |name: &ImageName| Ok(order.policy.check(name.reference(), order.is_trusted)?);
    let attempt = async |registry: Registry, name: &ImageName, demands: &Vec<Demand>| {
        let top = manifest(&registry, name).await?;
        (order.watcher)(Event::Found { name, host: registry.host() });
        let digest = top.descriptor.digest().to_string();
        let image = choose(&registry, top, &order.choice).await?;
        let digests = [&digest, image.descriptor.digest().as_ref()];
        meet(&registry, name, demands, &digests, round.settings).await?;
        let plan = plan(&registry, image).await?;
        check(&plan, order).map_err(Failure::Everywhere)?;
        let address = target.pinned(name, &digest, &plan.top().descriptor)?;
        let is_newer = !target.has(&plan);
        if is_newer {
            let writer = target.writer()?;
            fetch(order, Arc::new(registry), &writer, &plan).await?;
            publish(&writer, &plan, order.name, target.reference.as_ref()).map_err(everywhere)?;
        } else if let (Some(store), Some(layout)) = (&order.store, &target.existing) {
            keep(order.jobs, store, layout, &plan).await.map_err(everywhere)?;
        }
        Ok::<_, Failure<PullError>>(Pulled { address, name: name.clone(), digest, is_newer })
    };
    round.first("image", order.name, allow, attempt).await
}

/// Refuses an image beyond the limits before anything of it is downloaded. A compressed layer is smaller than its archive.
fn check(plan: &Plan, order: &Order<'_>) -> Result<(), PullError> {
    let name = || order.name.typed().to_owned();
    for document in &plan.documents {
        let Content::Image(blobs) = &document.content else { continue };
        let layers = blobs.get(1..).unwrap_or_default();
        order.limits.check(layers.len()).map_err(|source| PullError::Layers { name: name(), source })?;
        if let Some((limit, layer)) = order.limits.size.and_then(|limit| {
            let is_over = |layer: &&Descriptor| layer.size() > limit;
            Some((limit, layers.iter().find(is_over)?))
        }) {
            return Err(PullError::Size { name: name(), digest: layer.digest().clone(), limit });
        }
    }
    Ok(())
}

fn everywhere(error: impl Into<PullError>) -> Failure<PullError> {
    Failure::Everywhere(error.into())
}

/// Where an image goes.
struct Target {
    address: Address,
    /// The ref that it gets; a name with a digest alone gives none.
    reference: Option<RefName>,
    /// The layout, if it is there.
    existing: Option<Layout>,
}

impl Target {
    fn of(order: &Order<'_>) -> Result<Self, PullError> {
        let typed = || order.name.typed().to_owned();
        let reference = match order.target.and_then(Address::reference) {
            Some(reference) => Some(reference.clone()),
            None => {
                let label = order.name.label().map(str::parse).transpose();
                label.map_err(|_| PullError::NoRef { name: typed() })?
            }
        };
        let address = match order.target {
            Some(address) => address.clone(),
            None => {
                // An address cannot be empty, so that of the default layout names the ref that would be chosen anyway.
                let digest = order.name.digest().map(digest::parse).transpose()?;
                Address::new("", reference.clone(), digest).map_err(|_| PullError::NoRef { name: typed() })?
            }
        };
        let path = address.layout_path();
        let existing = if path.exists() { Some(Layout::create(&path)?) } else { None };
        Ok(Self { address, reference, existing })
    }

    /// The address that the image will have. `digest` is that of its index, where it has one.
    fn pinned(&self, name: &ImageName, digest: &str, image: &Descriptor) -> Result<Address, Failure<PullError>> {
        if let Some(wanted) = self.address.digest()
            && wanted != image.digest()
            && wanted.to_string() != digest
        {
            return Err(everywhere(PullError::OtherDigest {
                name: name.typed().to_owned(),
                target: self.address.clone(),
                wanted: wanted.to_string(),
                actual: image.digest().to_string(),
            }));
        }
        Ok(Address::new(self.address.layout(), self.reference.clone(), Some(image.digest().clone()))
            .expect("the layout's path came out of an address"))
    }

    /// Whether the layout has it all and under its name.
    fn has(&self, plan: &Plan) -> bool {
        let Some(layout) = &self.existing else { return false };
        let image = &plan.top().descriptor;
        let named = match &self.reference {
            Some(reference) => self.address.with_reference(reference.clone()),
            None => match Address::new(self.address.layout(), None, Some(image.digest().clone())) {
                Ok(address) => address,
                Err(_) => return false,
            },
        };
        let is_named = layout.resolve(&named).is_ok_and(|found| found.digest() == image.digest());
        let documents = plan.documents.iter().map(|document| &document.descriptor);
        is_named && plan.blobs.iter().chain(documents).all(|descriptor| layout.has(descriptor))
    }

    /// Opens the layout for writing; a layout that is not there is created.
    fn writer(&self) -> Result<Writer, Failure<PullError>> {
        let layout = match &self.existing {
            Some(layout) => layout.clone(),
            None => Layout::create(&self.address.layout_path()).map_err(everywhere)?,
        };
        Ok(layout.writer().map_err(everywhere)?.keeping_former(caller().is_some()))
    }
}

/// Downloads what is missing.
async fn fetch(
    order: &Order<'_>,
    registry: Arc<Registry>,
    writer: &Writer,
    plan: &Plan,
) -> Result<(), Failure<PullError>> {
    let host = registry.host();
    let failed = |error| match error {
        // A missing blob does not mean that there is no such image: the registry has lost a part of it.
        DownloadError::Client(error) if error.is_absence() => EndpointError::Incomplete(error).into(),
        DownloadError::Client(error) => error.into(),
        DownloadError::Truncated { digest, expected, actual } => {
            EndpointError::Truncated { host: host.to_owned(), digest, expected, actual }.into()
        }
        DownloadError::Layout(source @ layout::Error::BadBlob { .. }) => {
            EndpointError::Blob { host: host.to_owned(), source }.into()
        }
        DownloadError::Layout(error) => everywhere(error),
        DownloadError::Store(error) => everywhere(error),
        DownloadError::Stopped(error) => everywhere(error),
    };
    let storing = match (&order.store, &plan.top().content) {
        (Some(store), Content::Image(blobs)) => {
            // The config first, which tells what the layers are.
            if let Some(config) = blobs.first() {
                download(&registry, writer, config, &nobody(), None).await.map_err(&failed)?;
            }
            Storing::of(store, writer.layout(), blobs).map_err(everywhere)?
        }
        _ => None,
    };
    let fetch_one = |blob: Descriptor| {
        let (registry, writer, watcher) = (registry.clone(), writer.clone(), order.watcher.clone());
        let storing = storing.clone();
        async move { download(&registry, &writer, &blob, &watcher, storing.as_ref()).await }
    };
    move_all(&plan.blobs, order.jobs, &order.watcher, fetch_one).await.map_err(&failed)
}

/// Stores the layers of an image that the layout has.
async fn keep(jobs: usize, store: &Store, layout: &Layout, plan: &Plan) -> Result<(), StoreError> {
    let Content::Image(blobs) = &plan.top().content else { return Ok(()) };
    let Some(storing) = Storing::of(store, layout, blobs)? else { return Ok(()) };
    let keep_one = |blob: Descriptor| {
        let (storing, layout) = (storing.clone(), layout.clone());
        async move { storing.settle(&layout, &blob, Begun::not()).await }
    };
    move_all(&plan.blobs, jobs, &nobody(), keep_one).await
}

/// Writes the manifests, then points the name to the image.
fn publish(writer: &Writer, plan: &Plan, name: &ImageName, reference: Option<&RefName>) -> Result<(), layout::Error> {
    use std::io::Write as _;
    for document in &plan.documents {
        if writer.layout().read(&document.descriptor, document.descriptor.size()).is_ok() {
            continue;
        }
        let mut blob = writer.expect(&document.descriptor)?;
        blob.write_all(&document.bytes).map_err(|error| blob.error("write", error))?;
        blob.commit(document.descriptor.media_type().clone())?;
    }
    let image = &plan.top().descriptor;
    match reference {
        Some(reference) => writer.publish(reference, image.clone()),
        None => writer.layout().update_index(|index| {
            let mut image = image.clone();
            let mut annotations = image.annotations().clone().unwrap_or_default();
            annotations.insert(PULLED.to_owned(), name.to_string());
            image.set_annotations(Some(annotations));
            index.add(&image);
            Ok(())
        }),
    }
}
