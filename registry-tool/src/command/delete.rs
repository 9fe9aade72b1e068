//! `registry-tool delete`.

use anyhow::Context as _;
use clap::Args;
use registry_tool::client::{ClientError, Registry};
use registry_tool::reference::ImageName;

use super::{Network, block_on, mirrors};

/// Delete an image, or a tag, at a registry.
///
/// A name with a digest deletes the image and with it every tag that it has; a name with a tag deletes that tag alone, where
/// the registry can. What the image alone used is removed when the registry collects its garbage.
#[derive(Args)]
pub(crate) struct Delete {
    /// The image or tag.
    reference: ImageName,
    #[command(flatten)]
    network: Network,
}

impl Delete {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let name = &self.reference;
        if name.has_default_tag() {
            anyhow::bail!("{}: name the tag or digest to delete", name.typed());
        }
        let endpoint = mirrors()?.push_endpoint(name.reference())?;
        let settings = self.network.settings();
        block_on(async {
            let registry = Registry::connect(&endpoint, &settings).await.with_context(|| name.typed().to_owned())?;
            match (name.digest(), name.tag()) {
                (Some(digest), _) => registry.delete_manifest(digest).await.with_context(|| name.typed().to_owned()),
                (None, tag) => delete_tag(&registry, name, tag.unwrap_or("latest")).await,
            }
        })
    }
}

async fn delete_tag(registry: &Registry, name: &ImageName, tag: &str) -> anyhow::Result<()> {
    // docker-registry answers 404 to the deletion of a tag that it has, so it is asked first whether there is one.
    let digest = registry.manifest_digest(tag).await.with_context(|| name.typed().to_owned())?;
    match registry.delete_manifest(tag).await {
        Ok(()) => Ok(()),
        Err(ClientError::Status { .. } | ClientError::NotFound { .. }) if digest.is_some() => anyhow::bail!(
            "{}: the registry cannot delete a tag alone (registry-tool delete {}@{} deletes the image with all its tags)",
            name.typed(),
            name.familiar_repository(),
            digest.unwrap_or_default()
        ),
        Err(error) => Err(error).with_context(|| name.typed().to_owned()),
    }
}
