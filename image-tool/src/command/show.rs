use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::layout::Layout;
use image_tool::layout::MANIFEST_LIMIT;
use image_tool::layout::platform::Platform;
use image_tool::program::pipe;

use super::operand::{Operand, named};

/// Print the manifest or index of an image, byte for byte.
///
/// The digest of what is printed is the digest of the image.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool show :python:3.8
  image-tool show --config :python:3.8
  image-tool show --platform linux/arm64 :python:3.8")]
pub(crate) struct Show {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Print the config instead.
    #[arg(long)]
    config: bool,
    /// Show the image for this platform instead of the index.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
}

impl Show {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let bytes = || -> Result<Vec<u8>> {
            let layout = Layout::of(&address)?;
            if !self.config && self.platform.is_none() {
                return Ok(layout.read(&layout.resolve(&address)?, MANIFEST_LIMIT)?);
            }
            let image = layout.image(&address, &self.platform.unwrap_or_else(Platform::host))?;
            Ok(if self.config { image.config_bytes() } else { image.manifest_bytes() }.to_vec())
        };
        pipe::print(bytes().map_err(|error| named(error, &address))?)
    }
}
