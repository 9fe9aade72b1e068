//! Questions about an image or a repository, asked of every place that may know.

use thiserror::Error;

use crate::client::{ClientError, Registry, Settings};
use crate::manifest::{Content, Manifest};
use crate::mirror::{MirrorError, Mirrors};
use crate::pull::{EndpointError, tell};
use crate::reference::ImageName;
use image_tool::address::digest;
use image_tool::layout::platform::Platform;
use oci_spec::image::Descriptor;

/// Why nobody answered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No place has it, or could be asked.
    #[error("{name}: {}", tell(noun, .failures))]
    Nowhere {
        /// What was asked about, as typed.
        name: String,
        /// `image` or `repository`.
        noun: &'static str,
        /// The host of each place, and what it said.
        failures: Vec<(String, EndpointError)>,
    },
    /// The configuration of registries is wrong, or forbids it.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
}

/// Asks the places that may have `name`, in order, until one answers.
///
/// # Errors
/// [`QueryError`].
pub async fn ask<T>(
    name: &ImageName,
    noun: &'static str,
    mirrors: &Mirrors,
    settings: &Settings,
    question: impl AsyncFn(&Registry, &ImageName) -> Result<T, EndpointError>,
) -> Result<T, QueryError> {
    let mut failures = Vec::new();
    for name in mirrors.resolve(name) {
        for endpoint in mirrors.pull_endpoints(name.reference())? {
            let answer = match Registry::connect(&endpoint, settings).await {
                Ok(registry) => question(&registry, &name).await,
                Err(error) => Err(error.into()),
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    let host = crate::client::credential_host(endpoint.host()).to_owned();
                    failures.push((host, error));
                }
            }
        }
    }
    Err(QueryError::Nowhere { name: name.typed().to_owned(), noun, failures })
}

/// The manifest that a name means, verified.
///
/// # Errors
/// The registry's, or what is wrong with the manifest.
pub async fn manifest(registry: &Registry, name: &ImageName) -> Result<Manifest, EndpointError> {
    let wanted = match name.digest().map(digest::parse) {
        Some(Err(error)) => return Err(ClientError::Setup { reason: error.to_string() }.into()),
        Some(Ok(digest)) => Some(digest),
        None => None,
    };
    let document = registry.manifest(name.digest().or(name.tag()).unwrap_or("latest")).await?;
    Manifest::named(&document, wanted.as_ref())
        .map_err(|source| EndpointError::Manifest { host: registry.host().to_owned(), source })
}

/// An image's config, verified.
///
/// # Errors
/// The registry's, or that it is not what the manifest says.
pub async fn config(registry: &Registry, manifest: &Manifest) -> Result<Vec<u8>, EndpointError> {
    let Content::Image(blobs) = &manifest.content else { return Ok(Vec::new()) };
    let config: &Descriptor = blobs.first().expect("an image's first blob is its config");
    let bytes = registry.small_blob(config.digest().as_ref()).await?;
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

/// The image for a platform, where a manifest is an index.
///
/// # Errors
/// As [`manifest`], and where there is none for it.
pub async fn image(registry: &Registry, top: Manifest, platform: &Platform) -> Result<Manifest, EndpointError> {
    crate::pull::narrow(registry, top, platform).await
}
