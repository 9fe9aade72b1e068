use anyhow::Result;
use clap::Args;
use image_tool::layout::Layout;
use image_tool::layout::MANIFEST_LIMIT;
use image_tool::layout::platform::Platform;

use super::operand::{Operand, named};
use super::print::print_bytes;

/// Print an image's manifest or index, byte for byte.
///
/// Its digest is the digest of what is printed.
#[derive(Args)]
pub(crate) struct Show {
    /// The image; - reads the address from standard input.
    address: Operand,
    /// Print the image's config instead.
    #[arg(long)]
    config: bool,
    /// Of an index, print the manifest or the config for a platform, as linux/arm64.
    #[arg(long, value_name = "PLATFORM")]
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
        print_bytes(&bytes().map_err(|error| named(error, &address))?)
    }
}
