use std::io;

use anyhow::{Result, bail};
use clap::{Args, ValueHint};
use image_tool::layout::Layout;
use image_tool::layout::attestation::Attestation;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;
use image_tool::show::template::{Template, Value};
use image_tool::show::{document, human};

use super::operand::{Operand, named};

/// Print the details of images as JSON.
///
/// The output is a JSON array in the form of `docker image inspect`.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool inspect :python:3.8
  image-tool inspect --format \"{{json .Config.Env}}\" :python:3.8
  image-tool inspect --sbom :app | jq -r '.packages[].name'
  image-tool list images | head -n1 | image-tool inspect -")]
pub(crate) struct Inspect {
    /// Images, or - to read an address from standard input.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Operand>,
    /// Format each image with a Go template, such as "{{.Id}}" or "{{json .Config.Env}}", or as `json`.
    #[arg(short, long, value_name = "TEMPLATE", value_hint = ValueHint::Other)]
    format: Option<String>,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
    #[command(flatten)]
    said: Said,
}

/// What is shown instead.
#[derive(Args, Clone, Copy)]
#[group(conflicts_with = "format")]
struct Said {
    /// Print the SBOM that was made with the image or attached to it: each one as a JSON document.
    #[arg(long)]
    sbom: bool,
    /// Print what the image says of how it was made: each provenance as a JSON document.
    #[arg(long, conflicts_with = "sbom")]
    provenance: bool,
}

impl Said {
    fn get(self) -> Option<Attestation> {
        match self {
            Self { sbom: true, .. } => Some(Attestation::Sbom),
            Self { provenance: true, .. } => Some(Attestation::Provenance),
            _ => None,
        }
    }
}

impl Inspect {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(wanted) = self.said.get() {
            return self.said_of(wanted);
        }
        let format = self.format.as_deref().unwrap_or_default();
        let template: Option<Template> = match format {
            "" | "json" => None,
            text => Some(text.parse()?),
        };
        let mut documents: Vec<Value> = Vec::new();
        for operand in self.addresses {
            let address = operand.address()?;
            let found = document::image(&address, self.platform.as_ref());
            documents.push(found.map_err(|error| named(error.into(), &address))?);
        }
        let Some(template) = template else { return pipe::print(document::array(&documents, format == "json")) };
        let mut lines = String::new();
        for document in &documents {
            lines += &template.inspect(document, &io::stdout())?;
            lines.push('\n');
        }
        pipe::print_exactly(lines)
    }

    /// Prints what is said of the images.
    fn said_of(self, wanted: Attestation) -> Result<()> {
        let mut text = String::new();
        for operand in self.addresses {
            let address = operand.address()?;
            let found = || {
                let layout = Layout::of(&address)?;
                let index = layout.resolve(&address)?;
                let image = match &self.platform {
                    Some(platform) => layout.image(&address, platform)?,
                    None => layout.some_image(&index)?,
                };
                layout.attestations(&index, image.descriptor(), wanted)
            };
            let found = found().map_err(|error| named(error.into(), &address))?;
            if found.is_empty() {
                bail!("{address}: no {} in the layout (registry-tool pull --all-platforms keeps it)", wanted.noun());
            }
            for document in found {
                text += &human::json(&format!("{document:#}"));
                text.push('\n');
            }
        }
        pipe::print(text)
    }
}
