//! `registry-tool inspect`.

use anyhow::bail;
use clap::{Args, ValueHint};
use image_tool::layout::attestation::Attestation;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;
use image_tool::show::human;
use registry_tool::client::Registry;
use registry_tool::question::attestation::attestations;
use registry_tool::question::failure::EndpointError;
use registry_tool::question::manifest::Content;
use registry_tool::question::query::{Choice, choose, config, manifest, tags};
use registry_tool::reference::ImageName;
use serde_json::{Value, json};

use super::access::Access;
use super::{Network, block_on};

/// Show an image at a registry without pulling it.
///
/// The output is the JSON document that `skopeo inspect` prints or, with --raw or --config, one of the image's own documents, byte
/// for byte.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool inspect python:3.8
  registry-tool inspect --config --platform linux/arm64 alpine
  registry-tool inspect --raw alpine | sha256sum
  registry-tool inspect --sbom localhost:5000/app | jq -r '.packages[].name'")]
pub(crate) struct Inspect {
    /// Name of the image.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    /// Print the manifest itself or, for an image with several platforms, the index.
    #[arg(long, conflicts_with = "config")]
    raw: bool,
    /// Print the config itself.
    #[arg(long)]
    config: bool,
    /// Print the SBOM that was made with the image or attached to it: each one as a JSON document.
    #[arg(long, conflicts_with_all = ["raw", "config"])]
    sbom: bool,
    /// Print what the image says of how it was made: each provenance as a JSON document.
    #[arg(long, conflicts_with_all = ["raw", "config", "sbom"])]
    provenance: bool,
    /// Show the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
    /// Leave out the repository's tags.
    #[arg(short = 'n', long)]
    no_tags: bool,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    network: Network,
}

impl Inspect {
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        let way = std::mem::take(&mut self.access).way(&self.network, &self.reference)?;
        let question = async |registry: &Registry, name: &ImageName| self.look(registry, name).await;
        let bytes = block_on(async { Ok(way.round().ask("image", &self.reference, question).await?) })?;
        if let Some(wanted) = self.wanted().filter(|_| bytes.is_empty()) {
            bail!("{}: the registry has no {} of the image", self.reference.typed(), wanted.noun());
        }
        pipe::print(bytes)
    }

    fn wanted(&self) -> Option<Attestation> {
        match (self.sbom, self.provenance) {
            (true, _) => Some(Attestation::Sbom),
            (false, true) => Some(Attestation::Provenance),
            (false, false) => None,
        }
    }

    async fn look(&self, registry: &Registry, name: &ImageName) -> Result<Vec<u8>, EndpointError> {
        let top = manifest(registry, name).await?;
        if self.raw && self.platform.is_none() {
            return Ok(top.bytes.to_vec());
        }
        let digest = top.descriptor.digest().to_string();
        let whole = top.clone();
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        let found = choose(registry, top, &Choice::One { platform, is_asked: false }).await?;
        if self.raw {
            return Ok(found.bytes.to_vec());
        }
        if let Some(wanted) = self.wanted() {
            let said = attestations(registry, &whole, &found.descriptor, wanted).await?;
            return Ok(said.iter().map(|said| human::json(&format!("{said:#}")) + "\n").collect::<String>().into());
        }
        let config = config(registry, &found).await?;
        if self.config {
            return Ok(config);
        }
        let tags = if self.no_tags { Vec::new() } else { tags(registry).await? };
        let config: Value = serde_json::from_slice(&config).unwrap_or_default();
        let layers = match &found.content {
            Content::Image(blobs) => blobs.iter().skip(1).collect(),
            Content::Index(_) => Vec::new(),
        };
        let data = |layer: &&oci_spec::image::Descriptor| {
            json!({
                "MIMEType": layer.media_type().to_string(),
                "Digest": layer.digest().to_string(),
                "Size": layer.size(),
                "Annotations": layer.annotations(),
            })
        };
        let document = json!({
            "Name": format!("{}/{}", name.registry(), name.repository()),
            "Digest": digest,
            "RepoTags": tags,
            "Created": config["created"],
            "DockerVersion": config["docker_version"].as_str().unwrap_or_default(),
            "Labels": config["config"]["Labels"],
            "Architecture": config["architecture"],
            "Os": config["os"],
            "Layers": layers.iter().map(|layer| layer.digest().to_string()).collect::<Vec<_>>(),
            "LayersData": layers.iter().map(data).collect::<Vec<_>>(),
            "Env": config["config"]["Env"],
        });
        let text = serde_json::to_string_pretty(&document).expect("a JSON value can be written");
        Ok((human::json(&text) + "\n").into_bytes())
    }
}
