//! `registry-tool digest`.

use clap::{Args, ValueHint};
use image_tool::program::pipe::print_line;
use registry_tool::client::Registry;
use registry_tool::question::query::manifest;
use registry_tool::reference::ImageName;

use super::access::Access;
use super::{Network, block_on};

/// Print the digest of an image at a registry.
///
/// For an image with several platforms, this is the digest of its index.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool digest python:3.8
  registry-tool digest localhost:5000/team/app")]
pub(crate) struct Digest {
    /// Name of the image.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

impl Digest {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let way = self.access.way(&self.network, &self.reference)?;
        let question = async |registry: &Registry, name: &ImageName| {
            match registry.manifest_digest(name.asked()).await? {
                Some(digest) if image_tool::address::digest::parse(&digest).is_ok() => Ok(digest),
                // A registry need not name the digest; then it is computed.
                _ => Ok(manifest(registry, name).await?.descriptor.digest().to_string()),
            }
        };
        let digest = block_on(async { Ok(way.round().ask("image", &self.reference, question).await?) })?;
        print_line(&digest)
    }
}
