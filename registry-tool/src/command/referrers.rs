//! `registry-tool referrers`.

use clap::{Args, ValueHint};
use image_tool::program::pipe;
use image_tool::show::human;
use registry_tool::client::Registry;
use registry_tool::question::query::manifest;
use registry_tool::question::referrer::referrers;
use registry_tool::question::round::Round;
use registry_tool::reference::ImageName;

use super::{Network, block_on, mirrors};

/// List what refers to an image at a registry: signatures, SBOMs and other artifacts.
///
/// Each line has the name of an artifact with its digest, a tab, and what it is.
#[derive(Args)]
#[command(
    visible_alias = "discover",
    after_long_help = "Examples:
  registry-tool referrers localhost:5000/app:1
  registry-tool referrers --artifact-type application/spdx+json localhost:5000/app:1 | cut -f1 | xargs registry-tool inspect --raw"
)]
pub(crate) struct Referrers {
    /// Name of the image.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    /// List only artifacts of this type.
    #[arg(long, value_name = "TYPE", value_hint = ValueHint::Other)]
    artifact_type: Option<String>,
    /// Print descriptors, a JSON document a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    network: Network,
}

impl Referrers {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (mirrors, settings) = (mirrors()?, self.network.settings());
        let question = async |registry: &Registry, name: &ImageName| {
            let digest = manifest(registry, name).await?.descriptor.digest().to_string();
            referrers(registry, &digest, self.artifact_type.as_deref()).await
        };
        let round = Round { mirrors: &mirrors, settings: &settings };
        let found = block_on(async { Ok(round.ask("image", &self.reference, question).await?) })?;
        let line = |found: &registry_tool::question::referrer::Referrer| {
            if self.json {
                return human::json(&found.descriptor.to_string()) + "\n";
            }
            let name = format!("{}/{}", self.reference.registry(), self.reference.repository());
            format!("{name}@{}\t{}\n", found.digest, human::plain(&found.artifact_type))
        };
        pipe::print(found.iter().map(line).collect::<String>())
    }
}
