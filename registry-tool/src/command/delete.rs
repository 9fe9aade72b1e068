//! `registry-tool delete`.

use anyhow::Context as _;
use clap::{Args, ValueHint};
use registry_tool::client::{ClientError, Registry};
use registry_tool::reference::ImageName;

use super::access::Access;
use super::{Network, block_on};

/// Delete an image or a tag at a registry.
///
/// A name with a digest deletes the image and all its tags. A name with a tag deletes only that tag, if the registry supports
/// this. The space that the image took is freed when the registry next collects garbage.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool delete localhost:5000/app:old
  registry-tool delete localhost:5000/app@$(registry-tool digest localhost:5000/app:old)")]
pub(crate) struct Delete {
    /// Name of the image, with a tag or a digest.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

impl Delete {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let name = &self.reference;
        if name.has_default_tag() {
            anyhow::bail!("{}: missing the tag or digest to delete", name.typed());
        }
        let way = self.access.way(&self.network, name)?;
        block_on(async {
            let registry = way.connect(name).await?;
            match (name.digest(), name.tag()) {
                (Some(digest), _) => registry.delete_manifest(digest).await.with_context(|| name.typed().to_owned()),
                (None, tag) => delete_tag(&registry, name, tag.unwrap_or("latest")).await,
            }
        })
    }
}

async fn delete_tag(registry: &Registry, name: &ImageName, tag: &str) -> anyhow::Result<()> {
    // docker-registry answers 404 to the deletion of a tag that exists, so it is asked first whether it does.
    let digest = registry.manifest_digest(tag).await.with_context(|| name.typed().to_owned())?;
    match registry.delete_manifest(tag).await {
        Ok(()) => Ok(()),
        Err(ClientError::Status { .. } | ClientError::NotFound { .. }) if digest.is_some() => anyhow::bail!(
            "{}: the registry cannot delete a tag alone (registry-tool delete {}@{} deletes the image and all its tags)",
            name.typed(),
            name.familiar_repository(),
            digest.unwrap_or_default()
        ),
        Err(error) => Err(error).with_context(|| name.typed().to_owned()),
    }
}
