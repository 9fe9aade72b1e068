//! `registry-tool tag`.

use anyhow::Context as _;
use clap::{Args, ValueHint};
use image_tool::program::pipe::print_line;
use registry_tool::question::query::document;
use registry_tool::reference::ImageName;

use super::access::Access;
use super::copy::tag;
use super::{Network, block_on};

/// Give an image at a registry more tags in its repository and print the new names.
///
/// No layer is transferred. A tag that another image has moves to this one.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool tag localhost:5000/app:1.2.3 1.2 1 latest")]
pub(crate) struct Tag {
    /// Name of the image.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    /// New tags.
    #[arg(value_name = "TAG", required = true, value_parser = tag, value_hint = ValueHint::Other)]
    tags: Vec<String>,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

impl Tag {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let name = &self.reference;
        let way = self.access.way(&self.network, name)?;
        let digest = block_on(async {
            let typed = || name.typed().to_owned();
            let registry = way.connect(name).await?;
            let (digest, found) = document(&registry, name).await.with_context(typed)?;
            let media_type = found.own_media_type().with_context(typed)?;
            for tag in &self.tags {
                registry.put_manifest(tag, &media_type, found.bytes.clone()).await.with_context(typed)?;
            }
            Ok(digest)
        })?;
        let repository = format!("{}/{}", name.registry(), name.repository());
        self.tags.iter().try_for_each(|tag| print_line(&format!("{repository}:{tag}@{digest}")))
    }
}
