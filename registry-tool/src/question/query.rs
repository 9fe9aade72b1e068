//! Questions about an image or a repository: asked of every place that may know, or of one registry.

use image_tool::address::digest::{self, Digest};
use image_tool::layout::CONFIG_LIMIT;
use image_tool::layout::attestation::attests;
use image_tool::layout::platform::{Platform, offered};
use oci_spec::image::Descriptor;
use thiserror::Error;
use tracing::{info, warn};

use super::failure::{EndpointError, Nowhere};
use super::manifest::{Content, Manifest, verify};
use super::plan::{DEPTH, Plan, PlanError, too_deep};
use super::round::{Failure, Round};
use crate::client::{ClientError, Document, Registry};
use crate::place::mirror::MirrorError;
use crate::reference::{ImageName, is_repository, is_tag};

/// Which of an index's images are wanted.
#[derive(Clone, Debug)]
pub enum Choice {
    /// That for one platform.
    One {
        /// The platform that the image must run on.
        platform: Platform,
        /// Whether a person asked for it, so that an image for another is an error even where it is the only one.
        is_asked: bool,
    },
    /// Those for several platforms, in an index that has only these.
    Several(Vec<Platform>),
    /// All of them, and the index itself.
    All,
}

/// Why nobody answered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No place has it, or could be asked.
    #[error(transparent)]
    Nowhere(#[from] Nowhere),
    /// The configuration of registries is wrong, or forbids it.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
}

impl Round<'_> {
    /// Asks the places that may have `name`, in order, until one answers. `noun` says what it is: `image` or `repository`.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn ask<T>(
        &self,
        noun: &'static str,
        name: &ImageName,
        question: impl AsyncFn(&Registry, &ImageName) -> Result<T, EndpointError>,
    ) -> Result<T, QueryError> {
        let attempt = async |registry: Registry, name: &ImageName, (): &()| {
            question(&registry, name).await.map_err(Failure::<QueryError>::Here)
        };
        self.first(noun, name, |_| Ok(()), attempt).await
    }
}

impl Round<'_> {
    /// The conversation with the first place that answers a question about `name`.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn connect<T>(
        &self,
        noun: &'static str,
        name: &ImageName,
        question: impl AsyncFn(&Registry, &ImageName) -> Result<T, EndpointError>,
    ) -> Result<Registry, QueryError> {
        let attempt = async |registry: Registry, name: &ImageName, (): &()| {
            question(&registry, name).await.map_err(Failure::<QueryError>::Here)?;
            Ok(registry)
        };
        self.first(noun, name, |_| Ok(()), attempt).await
    }
}

/// The manifest or index that a name means, verified.
///
/// # Errors
/// The registry's, or what is wrong with the manifest.
pub async fn manifest(registry: &Registry, name: &ImageName) -> Result<Manifest, EndpointError> {
    let wanted = wanted(name)?;
    let wanted = wanted.as_ref();
    undamaged(move || async move {
        let document = registry.manifest(name.asked()).await?;
        Manifest::named(&document, wanted)
            .map_err(|source| EndpointError::Manifest { host: registry.host().to_owned(), source })
    })
    .await
}

/// What a name means, whatever document it is; its digest is verified, and nothing is read in it.
///
/// # Errors
/// As [`manifest`].
pub async fn document(registry: &Registry, name: &ImageName) -> Result<(Digest, Document), EndpointError> {
    let wanted = wanted(name)?;
    let wanted = wanted.as_ref();
    undamaged(move || async move {
        let document = registry.manifest(name.asked()).await?;
        match verify(&document, wanted) {
            Ok(digest) => Ok((digest, document)),
            Err(source) => Err(EndpointError::Manifest { host: registry.host().to_owned(), source }),
        }
    })
    .await
}

/// The digest in a name, if it has one.
fn wanted(name: &ImageName) -> Result<Option<Digest>, ClientError> {
    let parsed = name.digest().map(digest::parse).transpose();
    parsed.map_err(|error| ClientError::Setup { reason: error.to_string() })
}

/// Asks once more for what is not what its digest says: a byte may have been damaged on the way.
async fn undamaged<T, F>(read: impl Fn() -> F) -> Result<T, EndpointError>
where
    F: Future<Output = Result<T, EndpointError>>,
{
    match read().await {
        Err(error) if error.is_damage() => {
            info!(error = error.line(), "asking again");
            read().await
        }
        other => other,
    }
}

/// The image that is wanted, where a manifest may be an index.
///
/// # Errors
/// As [`manifest`], and where there is none for the platform.
pub async fn choose(registry: &Registry, top: Manifest, choice: &Choice) -> Result<Manifest, EndpointError> {
    match (choice, &top.content) {
        (Choice::All, _) => Ok(top),
        (Choice::Several(platforms), Content::Index(entries)) => several(registry, &top, entries, platforms),
        (Choice::Several(platforms), Content::Image(_)) => {
            for platform in platforms {
                check_platform(registry, &top, platform).await?;
            }
            Ok(top)
        }
        (Choice::One { platform, .. }, Content::Index(_)) => narrow(registry, top, platform).await,
        (Choice::One { platform, is_asked: true }, Content::Image(_)) => {
            check_platform(registry, &top, platform).await?;
            Ok(top)
        }
        (Choice::One { is_asked: false, .. }, Content::Image(_)) => Ok(top),
    }
}

/// An image's config, verified.
///
/// # Errors
/// The registry's, or that it is not what the manifest says.
pub async fn config(registry: &Registry, manifest: &Manifest) -> Result<Vec<u8>, EndpointError> {
    let Content::Image(blobs) = &manifest.content else { return Ok(Vec::new()) };
    let config: &Descriptor = blobs.first().expect("an image's first blob is its config");
    small(registry, config).await
}

/// A small blob, verified.
///
/// # Errors
/// As [`config`].
pub(crate) async fn small(registry: &Registry, blob: &Descriptor) -> Result<Vec<u8>, EndpointError> {
    small_within(registry, blob, CONFIG_LIMIT).await
}

/// A blob of at most `limit` bytes, verified.
///
/// # Errors
/// As [`config`].
pub(super) async fn small_within(registry: &Registry, blob: &Descriptor, limit: u64) -> Result<Vec<u8>, EndpointError> {
    undamaged(move || async move {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let bytes = registry.small_blob(blob.digest().as_ref(), limit).await?;
        verified(registry, blob, bytes)
    })
    .await
}

/// The bytes of a blob, if they are what its digest says.
fn verified(registry: &Registry, config: &Descriptor, bytes: Vec<u8>) -> Result<Vec<u8>, EndpointError> {
    let unsound = |source| EndpointError::Blob {
        host: registry.host().to_owned(),
        source: image_tool::layout::Error::BadBlob { digest: config.digest().clone(), source },
    };
    let mut hasher = digest::Hasher::of(config.digest()).map_err(unsound)?;
    hasher.update(&bytes);
    let actual = hasher.finish();
    if actual != *config.digest() {
        return Err(unsound(digest::Error::Mismatch { expected: config.digest().clone(), actual }));
    }
    Ok(bytes)
}

/// The tags of a repository. A registry's word is not trusted to be a tag: others are left out, with a warning.
///
/// # Errors
/// As for any request.
pub async fn tags(registry: &Registry) -> Result<Vec<String>, ClientError> {
    Ok(only(registry, registry.tags().await?, is_tag))
}

/// The repositories of a registry, as [`tags`] are: without what cannot be a repository's name.
///
/// # Errors
/// As for any request.
pub async fn catalog(registry: &Registry) -> Result<Vec<String>, ClientError> {
    Ok(only(registry, registry.catalog().await?, is_repository))
}

fn only(registry: &Registry, mut names: Vec<String>, is_valid: fn(&str) -> bool) -> Vec<String> {
    names.retain(|name| {
        let is_valid = is_valid(name);
        if !is_valid {
            // Debug escapes what could drive a terminal.
            warn!(host = registry.host(), ?name, "the registry lists a name that is not valid; left out");
        }
        is_valid
    });
    names
}

/// Everything that an image at a registry consists of.
///
/// # Errors
/// As [`manifest`], for each document.
pub(crate) async fn plan(registry: &Registry, image: Manifest) -> Result<Plan, EndpointError> {
    let read = async |descriptor: &Descriptor| promised(registry, descriptor).await;
    Plan::of(image, read).await.map_err(|error| match error {
        PlanError::Read(error) => error,
        PlanError::Excess(source) => EndpointError::Manifest { host: registry.host().to_owned(), source },
    })
}

/// The index without what is neither for these platforms nor attested of what is.
fn several(
    registry: &Registry,
    top: &Manifest,
    entries: &[Descriptor],
    platforms: &[Platform],
) -> Result<Manifest, EndpointError> {
    let mut wanted = Vec::new();
    for platform in platforms {
        wanted.push(chosen(registry, entries, platform)?.digest());
    }
    let is_kept = |entry: &Descriptor| wanted.iter().any(|image| *image == entry.digest() || attests(entry, image));
    top.with_entries(is_kept).map_err(|source| EndpointError::Manifest { host: registry.host().to_owned(), source })
}

/// The entry of an index for a platform.
fn chosen<'a>(
    registry: &Registry,
    entries: &'a [Descriptor],
    platform: &Platform,
) -> Result<&'a Descriptor, EndpointError> {
    platform.choose(entries).ok_or_else(|| EndpointError::NoPlatform {
        host: registry.host().to_owned(),
        wanted: platform.to_string(),
        offered: offered(entries),
    })
}

/// Follows indexes to the manifest for a platform.
async fn narrow(registry: &Registry, top: Manifest, platform: &Platform) -> Result<Manifest, EndpointError> {
    let mut current = top;
    for _ in 0..DEPTH {
        let Content::Index(manifests) = &current.content else { return Ok(current) };
        let chosen = match &manifests[..] {
            [only] if only.platform().is_none() => only,
            _ => chosen(registry, manifests, platform)?,
        };
        current = promised(registry, &chosen.clone()).await?;
    }
    match current.content {
        Content::Image(_) => Ok(current),
        Content::Index(_) => {
            Err(EndpointError::Manifest { host: registry.host().to_owned(), source: too_deep(&current) })
        }
    }
}

/// A document that an index refers to.
pub(crate) async fn promised(registry: &Registry, descriptor: &Descriptor) -> Result<Manifest, EndpointError> {
    undamaged(move || async move {
        let document = registry.manifest(descriptor.digest().as_ref()).await?;
        let manifest = Manifest::promised(descriptor, document.bytes);
        manifest.map_err(|source| EndpointError::Manifest { host: registry.host().to_owned(), source })
    })
    .await
}

/// An image that is not in an index is all that the registry has; but if a platform was asked for, its config must agree. In an
/// index the entry decides, as for docker: there are images whose configs name the platform of their builder.
async fn check_platform(registry: &Registry, image: &Manifest, platform: &Platform) -> Result<(), EndpointError> {
    let config = config(registry, image).await?;
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
