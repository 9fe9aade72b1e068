use std::io;

use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;
use image_tool::show::document;
use image_tool::show::template::{Template, Value};

use super::operand::{Operand, named};

/// Print the details of images as JSON.
///
/// The output is a JSON array in the form of `docker image inspect`.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool inspect :python:3.8
  image-tool inspect --format \"{{json .Config.Env}}\" :python:3.8
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
}

impl Inspect {
    pub(crate) fn run(self) -> Result<()> {
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
}
