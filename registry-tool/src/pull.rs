//! An image from a registry into a layout.
//!
//! The order is the layout's promise: blobs first, several at once, then manifests, then `index.json`. Whenever the program
//! ends, killed or not, the layout is valid and holds the image wholly or not at all under its name.

use std::collections::HashSet;
use std::sync::Arc;

use image_tool::address::{Address, RefName};
use image_tool::layout::platform::Platform;
use image_tool::layout::{self, Layout, Writer};
use oci_spec::image::Descriptor;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::warn;

use crate::client::{ClientError, Registry, Settings};
use crate::download::{DownloadError, download};
use crate::event::{Event, Watcher};
use crate::manifest::{Content, Manifest, ManifestError, Plan};
use crate::mirror::{Endpoint, MirrorError, Mirrors};
use crate::policy::{Policy, PolicyError};
use crate::reference::ImageName;

/// Indexes may hold indexes, but nobody's are this deep.
const DEPTH: usize = 4;
/// Each level of an index may be full; all of them together are not in any image.
const DOCUMENTS: usize = 2048;

/// Which of an index's images are wanted.
#[derive(Clone, Debug)]
pub enum Choice {
    /// That for one platform. `is_asked` says that a person asked for it, so that an image for another is an error even where
    /// it is the only one.
    One {
        /// The platform.
        platform: Platform,
        /// Whether it was asked for.
        is_asked: bool,
    },
    /// All of them, and the index itself.
    All,
}

/// What to pull, and where to.
pub struct Order<'a> {
    /// The image.
    pub name: &'a ImageName,
    /// Where it goes; a bare layout takes the name as it was typed as the ref.
    pub target: &'a Address,
    /// For which platforms.
    pub choice: Choice,
    /// What this machine allows.
    pub policy: Policy,
    /// Whether a person vouches for an image that the policy wants signed.
    pub is_trusted: bool,
    /// How many blobs at once.
    pub jobs: usize,
    /// Who watches.
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
    #[error("{name}: {}", tell("image", .failures))]
    Nowhere {
        /// The image as it was typed.
        name: String,
        /// The host of each place, and why it gave nothing.
        failures: Vec<(String, EndpointError)>,
    },
    /// The configuration of registries is wrong, or forbids it.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The policy forbids it.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The layout failed.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// A name that the grammar of refs has no room for, such as one with an IPv6 address.
    #[error("{name}: cannot be a ref of a layout: name one (registry-tool pull {name} LAYOUT:REF)")]
    NoRef {
        /// The name as typed.
        name: String,
    },
    /// The target's digest is not that of the image.
    #[error("{name}: the registry has {actual}, not the {wanted} that {target} asks for")]
    OtherDigest {
        /// The image.
        name: String,
        /// The target.
        target: Address,
        /// Its digest.
        wanted: String,
        /// The image's digest.
        actual: String,
    },
}

/// Why one place gave nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The registry or the network.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The manifest.
    #[error("{host}: {source}{}", cause(.source))]
    Manifest {
        /// The host.
        host: String,
        /// What is wrong.
        source: ManifestError,
    },
    /// A blob.
    #[error("{host}: {source}{}", cause(.source))]
    Blob {
        /// The host.
        host: String,
        /// What is wrong.
        source: layout::Error,
    },
    /// A blob that ends early.
    #[error(transparent)]
    Download(DownloadError),
    /// The image is for other platforms.
    #[error("{host}: no image for {wanted} (it has {}; --platform chooses another)", .offered.join(", "))]
    NoPlatform {
        /// The host.
        host: String,
        /// The platform that was wanted.
        wanted: String,
        /// Those that there are.
        offered: Vec<String>,
    },
}

/// The causes of an error that is told among others on one line, where nobody walks its chain.
fn cause(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}

/// What each place said, on one line; where none has it, only that, and where it was looked for.
pub(crate) fn tell(noun: &str, failures: &[(String, EndpointError)]) -> String {
    let absent = |error: &EndpointError| matches!(error, EndpointError::Client(error) if error.is_absence());
    if !failures.is_empty() && failures.iter().all(|(_, error)| absent(error)) {
        let hosts: Vec<&str> = failures.iter().map(|(host, _)| host.as_str()).collect();
        return format!("no such {noun} (tried {})", hosts.join(", "));
    }
    let one = |(host, error): &(String, EndpointError)| {
        if absent(error) { format!("no such {noun} at {host}") } else { error.to_string() }
    };
    failures.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// An error that ends the pull, or only the attempt at one place.
enum Failure {
    Here(EndpointError),
    All(PullError),
}

impl<E: Into<EndpointError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Here(error.into())
    }
}

/// Pulls an image from the first place that has it whole.
///
/// A name may have several meanings, and each several places, which are tried in order. The layout is made once the image has
/// been found, so that a misspelt name leaves nothing behind.
///
/// # Errors
/// [`PullError::Nowhere`] tells what each place said.
pub async fn pull(order: &Order<'_>, mirrors: &Mirrors, settings: &Settings) -> Result<Pulled, PullError> {
    let reference = reference_of(order)?;
    let path = order.target.layout_path();
    let existing = if path.exists() { Some(Layout::create(&path)?) } else { None };
    let mut failures = Vec::new();
    for name in mirrors.resolve(order.name) {
        order.policy.check(name.reference(), order.is_trusted)?;
        for endpoint in mirrors.pull_endpoints(name.reference())? {
            match attempt(order, &name, reference.as_ref(), &endpoint, existing.as_ref(), settings).await {
                Ok(pulled) => return Ok(pulled),
                Err(Failure::All(error)) => return Err(error),
                Err(Failure::Here(error)) => {
                    warn!(host = endpoint.host(), %error, "not from here");
                    let host = crate::client::credential_host(endpoint.host()).to_owned();
                    failures.push((host, error));
                }
            }
        }
    }
    Err(PullError::Nowhere { name: order.name.typed().to_owned(), failures })
}

async fn attempt(
    order: &Order<'_>,
    name: &ImageName,
    reference: Option<&RefName>,
    endpoint: &Endpoint,
    existing: Option<&Layout>,
    settings: &Settings,
) -> Result<Pulled, Failure> {
    let registry = Arc::new(Registry::connect(endpoint, settings).await?);
    let unsound = |source| EndpointError::Manifest { host: registry.host().to_owned(), source };
    let wanted = match name.digest() {
        Some(text) => Some(
            image_tool::address::digest::parse(text)
                .map_err(|error| ClientError::Setup { reason: error.to_string() })?,
        ),
        None => None,
    };
    let asked = name.digest().or(name.tag()).unwrap_or("latest");
    let top = Manifest::named(&registry.manifest(asked).await?, wanted.as_ref()).map_err(unsound)?;
    let digest = top.descriptor.digest().to_string();
    (order.watcher)(Event::Found { name, host: registry.host() });

    if let Choice::One { platform, is_asked: true } = &order.choice
        && matches!(top.content, Content::Image(_))
    {
        check_platform(&registry, &top, platform).await?;
    }
    let mut plan = Plan::default();
    let chosen = match &order.choice {
        Choice::All => top.clone(),
        Choice::One { platform, .. } => narrow(&registry, top.clone(), platform).await?,
    };
    gather(&registry, chosen.clone(), &mut plan, DEPTH).await?;

    let image = &chosen.descriptor;
    if let Some(wanted) = order.target.digest()
        && wanted != image.digest()
        && wanted.to_string() != digest
    {
        return Err(Failure::All(PullError::OtherDigest {
            name: name.typed().to_owned(),
            target: order.target.clone(),
            wanted: wanted.to_string(),
            actual: image.digest().to_string(),
        }));
    }
    let address = Address::new(order.target.layout(), reference.cloned(), Some(image.digest().clone()))
        .expect("the layout's path came out of an address");
    let pulled = |is_newer| Pulled { address: address.clone(), name: name.clone(), digest: digest.clone(), is_newer };
    if existing.is_some_and(|layout| is_up_to_date(layout, order.target, reference, &plan, image)) {
        return Ok(pulled(false));
    }

    let local = |error: layout::Error| Failure::All(error.into());
    let layout = existing.map_or_else(|| Layout::create(&order.target.layout_path()), |layout| Ok(layout.clone()));
    let layout = layout.map_err(local)?;
    let writer = layout.writer().map_err(local)?;
    fetch(order, &registry, &writer, &plan).await?;
    publish(&writer, &plan, reference, image).map_err(local)?;
    Ok(pulled(true))
}

/// The ref under which an image is stored: the target's, else the name as typed. A name with a digest alone has none.
fn reference_of(order: &Order<'_>) -> Result<Option<RefName>, PullError> {
    if let Some(reference) = order.target.reference() {
        return Ok(Some(reference.clone()));
    }
    let name = order.name;
    let label = match name.digest() {
        Some(_) if name.tag().is_none() => return Ok(None),
        Some(_) => name.typed().rsplit_once('@').map_or(name.typed(), |(label, _)| label),
        None => name.typed(),
    };
    label.parse().map(Some).map_err(|_| PullError::NoRef { name: name.typed().to_owned() })
}

/// Follows indexes to the manifest for a platform.
pub(crate) async fn narrow(registry: &Registry, top: Manifest, platform: &Platform) -> Result<Manifest, EndpointError> {
    let mut current = top;
    for _ in 0..DEPTH {
        let Content::Index(manifests) = &current.content else { return Ok(current) };
        let chosen = match &manifests[..] {
            [only] if only.platform().is_none() => only,
            _ => platform.choose(manifests).ok_or_else(|| EndpointError::NoPlatform {
                host: registry.host().to_owned(),
                wanted: platform.to_string(),
                offered: offered(manifests),
            })?,
        };
        current = promised(registry, &chosen.clone()).await?;
    }
    match current.content {
        Content::Image(_) => Ok(current),
        Content::Index(_) => Err(malformed(registry, &current, format!("indexes are nested more than {DEPTH} deep"))),
    }
}

fn malformed(registry: &Registry, manifest: &Manifest, reason: String) -> EndpointError {
    let digest = manifest.descriptor.digest().clone();
    EndpointError::Manifest { host: registry.host().to_owned(), source: ManifestError::Malformed { digest, reason } }
}

/// The platforms of an index, without those of attestations.
fn offered(manifests: &[Descriptor]) -> Vec<String> {
    let name = |descriptor: &Descriptor| {
        let platform = descriptor.platform().as_ref()?;
        let variant = platform.variant().as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
        Some(format!("{}/{}{variant}", platform.os(), platform.architecture()))
    };
    manifests.iter().filter_map(name).filter(|text| !text.starts_with("unknown/")).collect()
}

async fn promised(registry: &Registry, descriptor: &Descriptor) -> Result<Manifest, EndpointError> {
    let document = registry.manifest(descriptor.digest().as_ref()).await?;
    let manifest = Manifest::promised(descriptor, document.bytes);
    manifest.map_err(|source| EndpointError::Manifest { host: registry.host().to_owned(), source })
}

/// Fills the plan with a document and all that it refers to, depth first.
pub(crate) async fn gather(
    registry: &Registry,
    manifest: Manifest,
    plan: &mut Plan,
    depth: usize,
) -> Result<(), EndpointError> {
    match &manifest.content {
        Content::Image(blobs) => {
            let known: HashSet<_> = plan.blobs.iter().map(|blob| blob.digest().clone()).collect();
            let mut seen = known;
            plan.blobs.extend(blobs.iter().filter(|blob| seen.insert(blob.digest().clone())).cloned());
        }
        Content::Index(children) => {
            if depth == 0 {
                return Err(malformed(registry, &manifest, format!("indexes are nested more than {DEPTH} deep")));
            }
            for child in children {
                let known = plan.documents.iter().any(|document| document.descriptor.digest() == child.digest());
                if plan.documents.len() > DOCUMENTS {
                    return Err(malformed(registry, &manifest, format!("it leads to more than {DOCUMENTS} manifests")));
                }
                if !known {
                    let child = promised(registry, child).await?;
                    Box::pin(gather(registry, child, plan, depth - 1)).await?;
                }
            }
        }
    }
    plan.documents.push(manifest);
    Ok(())
}

/// Whether the layout has it all and under its name.
fn is_up_to_date(
    layout: &Layout,
    target: &Address,
    reference: Option<&RefName>,
    plan: &Plan,
    image: &Descriptor,
) -> bool {
    let named = match reference {
        Some(reference) => target.with_reference(reference.clone()),
        None => match Address::new(target.layout(), None, Some(image.digest().clone())) {
            Ok(address) => address,
            Err(_) => return false,
        },
    };
    let is_named = layout.resolve(&named).is_ok_and(|found| found.digest() == image.digest());
    let documents = plan.documents.iter().map(|document| &document.descriptor);
    is_named && plan.blobs.iter().chain(documents).all(|descriptor| layout.has(descriptor))
}

/// Downloads what is missing, several blobs at once. The first failure ends the others; what they have is kept.
async fn fetch(order: &Order<'_>, registry: &Arc<Registry>, writer: &Writer, plan: &Plan) -> Result<(), Failure> {
    for blob in &plan.blobs {
        (order.watcher)(Event::Waiting(blob));
    }
    let seats = Arc::new(Semaphore::new(order.jobs.max(1)));
    let mut tasks = JoinSet::new();
    for blob in &plan.blobs {
        let blob = blob.clone();
        let (registry, writer, watcher) = (registry.clone(), writer.clone(), order.watcher.clone());
        let seats = seats.clone();
        tasks.spawn(async move {
            let _seat = seats.acquire_owned().await.map_err(|_| DownloadError::Stopped)?;
            download(&registry, &writer, &blob, &watcher).await
        });
    }
    while let Some(finished) = tasks.join_next().await {
        let error = match finished.unwrap_or(Err(DownloadError::Stopped)) {
            Ok(()) => continue,
            Err(error) => error,
        };
        tasks.shutdown().await;
        let host = registry.host().to_owned();
        return Err(match error {
            // A blob that is missing is no missing image: the registry has lost a part of it.
            DownloadError::Client(error) if !error.is_absence() => error.into(),
            DownloadError::Layout(source) if matches!(source, layout::Error::BadBlob { .. }) => {
                EndpointError::Blob { host, source }.into()
            }
            DownloadError::Layout(source) => Failure::All(source.into()),
            other => Failure::Here(EndpointError::Download(other)),
        });
    }
    Ok(())
}

/// An image that is no index is all that the registry has; but if a platform was asked for, its config must say the same. Of an
/// index the entry decides, as for docker: there are images whose configs tell the platform of their builder.
async fn check_platform(registry: &Registry, image: &Manifest, platform: &Platform) -> Result<(), EndpointError> {
    let config = crate::query::config(registry, image).await?;
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(&config) else { return Ok(()) };
    let text = |key: &str| document.get(key).and_then(serde_json::Value::as_str);
    let (Some(os), Some(architecture)) = (text("os"), text("architecture")) else { return Ok(()) };
    if platform.rank(os, architecture, text("variant")).is_some() {
        return Ok(());
    }
    Err(EndpointError::NoPlatform {
        host: registry.host().to_owned(),
        wanted: platform.to_string(),
        offered: vec![format!("{os}/{architecture}")],
    })
}

/// Writes the manifests, then lets the name mean the image.
fn publish(writer: &Writer, plan: &Plan, reference: Option<&RefName>, image: &Descriptor) -> Result<(), layout::Error> {
    use std::io::Write as _;
    for document in &plan.documents {
        if writer.layout().read(&document.descriptor, document.descriptor.size()).is_ok() {
            continue;
        }
        let mut blob = writer.expect(&document.descriptor)?;
        blob.write_all(&document.bytes).map_err(|error| blob.error("write", error))?;
        blob.commit(document.descriptor.media_type().clone())?;
    }
    match reference {
        Some(reference) => writer.publish(reference, image.clone()),
        None => writer.layout().update_index(|index| {
            index.add(image);
            Ok(())
        }),
    }
}
