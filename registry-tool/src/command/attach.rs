//! `registry-tool attach`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use image_tool::program::pipe::print_line;
use registry_tool::question::round::Round;
use registry_tool::reference::ImageName;
use registry_tool::transfer::attach::{Order, attach};

use super::sign::pair;
use super::{Network, block_on, mirrors};

/// Attach files to an image at a registry, as an artifact that refers to it.
///
/// The name of the artifact with its digest is printed once the registry has stored it. registry-tool referrers lists it.
#[derive(Args)]
#[command(after_long_help = "Examples:
  registry-tool attach --artifact-type application/spdx+json localhost:5000/app:1 sbom.json:application/spdx+json
  registry-tool attach --artifact-type text/x-report -a by=ci localhost:5000/app:1 report.txt")]
pub(crate) struct Attach {
    /// Name of the image.
    #[arg(value_hint = ValueHint::Other)]
    reference: ImageName,
    /// Files, each with its media type if that is not application/octet-stream.
    #[arg(value_name = "FILE[:TYPE]", required = true, value_parser = file, value_hint = ValueHint::FilePath)]
    files: Vec<(PathBuf, String)>,
    /// What the artifact is.
    #[arg(long, value_name = "TYPE", value_hint = ValueHint::Other)]
    artifact_type: String,
    /// Annotate the artifact; may be repeated.
    #[arg(short, long = "annotation", value_name = "KEY=VALUE", value_parser = pair, value_hint = ValueHint::Other)]
    annotations: Vec<(String, String)>,
    #[command(flatten)]
    network: Network,
}

/// A file, and its media type, which has a slash.
fn file(text: &str) -> Result<(PathBuf, String), String> {
    let (path, media_type) = match text.rsplit_once(':') {
        Some((path, media_type)) if media_type.contains('/') && !path.is_empty() => (path, media_type),
        _ => (text, "application/octet-stream"),
    };
    if path.is_empty() {
        Err("expected FILE or FILE:TYPE".to_owned())
    } else {
        Ok((path.into(), media_type.to_owned()))
    }
}

impl Attach {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let order = Order {
            name: &self.reference,
            artifact_type: self.artifact_type,
            files: self.files,
            annotations: self.annotations.into_iter().collect(),
        };
        let (mirrors, settings) = (mirrors()?, self.network.settings());
        let digest = block_on(async { Ok(attach(&order, Round { mirrors: &mirrors, settings: &settings }).await?) })?;
        print_line(&format!("{}/{}@{digest}", self.reference.registry(), self.reference.repository()))
    }
}
