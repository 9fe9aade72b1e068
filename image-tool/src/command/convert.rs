use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::address::RefName;
use image_tool::edit::convert::{Conversion, convert, convert_all};
use image_tool::layer::pack::Packing;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use image_tool::program::limits::Limits;

use super::operand::{Operand, named};
use super::publish::{Pack, publish};

/// Convert the layers of an image to another compression and print the new image's address.
///
/// The files and the image's ID stay the same; the manifest, and so the digest, is another.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool convert :app
  image-tool convert --compress gzip --level 9 --ref app:gzip :app
  image-tool convert --all-platforms :app")]
pub(crate) struct Convert {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Give the new image this name, and leave the old name as it is.
    #[arg(long = "ref", value_name = "NAME", value_hint = ValueHint::Other)]
    reference: Option<RefName>,
    /// Compression of the layers.
    #[arg(long, value_enum, default_value = "zstd")]
    compress: Pack,
    /// Compress at this level, gzip from 0 to 9, zstd from 0 to 22, also layers that are compressed so already [default: 6 or 3].
    #[arg(long, value_name = "N", value_hint = ValueHint::Other)]
    level: Option<u8>,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
    /// Convert the images for all platforms, and their index.
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    #[command(flatten)]
    limits: Limits,
}

impl Convert {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let packing = Packing::new(self.compress.into(), self.level)?;
        let conversion = Conversion { packing, limits: self.limits.get() };
        let platform = self.platform.unwrap_or_else(Platform::host);
        let make = || -> Result<_> {
            let layout = Layout::of(&address)?;
            let writer = layout.writer()?;
            let descriptor = if self.all_platforms {
                convert_all(&layout, &layout.resolve(&address)?, &writer, conversion)?
            } else {
                convert(&layout, &layout.image(&address, &platform)?, &writer, conversion)?
            };
            Ok((writer, descriptor))
        };
        let (writer, descriptor) = make().map_err(|error| named(error, &address))?;
        publish(&writer, &address, self.reference, descriptor)
    }
}
