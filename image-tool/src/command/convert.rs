use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::address::RefName;
use image_tool::edit::convert::{Conversion, convert, convert_all};
use image_tool::layer::pack::Packing;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use image_tool::program::limits::Limits;

use super::operand::{Operand, named};
use super::publish::{Form, publish};

/// Convert the layers of an image to another compression and print the new image's address.
///
/// The files and the image's ID stay the same; the manifest, and so the digest, is another. estargz adds two files to each layer, a
/// landmark and a table of contents, so the ID is another too; they are taken out again with it. Layers without a place in such a table
/// (a name that comes twice, or that is not UTF-8) are compressed as a whole, with gzip or zstd.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool convert :app
  image-tool convert --compress gzip --level 9 --ref app:gzip :app
  image-tool convert --compress estargz --ref app:lazy :app
  image-tool convert --compress zstd:chunked --all-platforms :app")]
pub(crate) struct Convert {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Give the new image this name, and leave the old name as it is.
    #[arg(long = "ref", value_name = "NAME", value_hint = ValueHint::Other)]
    reference: Option<RefName>,
    /// Compression of the layers.
    #[arg(long, value_enum, default_value = "zstd")]
    compress: Form,
    /// Compress at this level, gzip from 0 to 9, zstd from 0 to 22, also layers that are compressed so already [default: 6 or 3].
    #[arg(long, value_name = "N", value_hint = ValueHint::Other)]
    level: Option<u8>,
    /// Cut files into chunks of at most so many bytes, each to be read on its own, for estargz and zstd:chunked [default: 4194304].
    ///
    /// zstd:chunked cuts where the content says, after 64 KiB in the mean, so that an image which differs a little shares most chunks.
    #[arg(long, value_name = "BYTES", value_hint = ValueHint::Other)]
    chunk_size: Option<u32>,
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
        let mut packing = Packing::new(self.compress, self.level)?;
        if let Some(size) = self.chunk_size {
            packing = packing.with_chunks_of(size)?;
        }
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
