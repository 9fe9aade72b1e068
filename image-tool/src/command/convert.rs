use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::address::RefName;
use image_tool::edit::convert::convert;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;

use super::operand::{Operand, named};
use super::publish::{Pack, publish};

/// Convert the layers of an image to another compression and print the new image's address.
///
/// The files and the image's ID stay the same; the manifest, and so the digest, is another.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool convert :app
  image-tool convert --compress gzip --ref app:gzip :app")]
pub(crate) struct Convert {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Give the new image this name, and leave the old name as it is.
    #[arg(long = "ref", value_name = "NAME", value_hint = ValueHint::Other)]
    reference: Option<RefName>,
    /// Compression of the layers.
    #[arg(long, value_enum, default_value = "zstd")]
    compress: Pack,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
}

impl Convert {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let platform = self.platform.unwrap_or_else(Platform::host);
        let make = || -> Result<_> {
            let layout = Layout::of(&address)?;
            let image = layout.image(&address, &platform)?;
            let writer = layout.writer()?;
            let descriptor = convert(&layout, &image, &writer, self.compress.into())?;
            Ok((writer, descriptor))
        };
        let (writer, descriptor) = make().map_err(|error| named(error, &address))?;
        publish(&writer, &address, self.reference, descriptor)
    }
}
