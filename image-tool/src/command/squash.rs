use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::address::RefName;
use image_tool::edit::append::{History, Layer};
use image_tool::edit::squash;
use image_tool::layer::Compression;
use image_tool::layer::pack::Packer;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;

use super::flatten::flatten;
use super::operand::{Operand, named};
use super::publish::{Pack, created, publish, source_date_epoch};
use image_tool::program::limits::Limits;

/// Squash all layers of an image into one and print the new image's address.
///
/// Files that upper layers deleted or replaced are gone from the new image, to which the name then refers.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool squash :app
  image-tool squash --compress zstd --ref app:flat :app")]
pub(crate) struct Squash {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Give the new image this name, and leave the old name as it is.
    #[arg(long = "ref", value_name = "NAME", value_hint = ValueHint::Other)]
    reference: Option<RefName>,
    /// Compression of the layer.
    #[arg(long, value_enum, default_value = "gzip")]
    compress: Pack,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
    #[command(flatten)]
    limits: Limits,
}

impl Squash {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let epoch = source_date_epoch()?;
        let platform = self.platform.unwrap_or_else(Platform::host);
        let make = || -> Result<_> {
            let layout = Layout::of(&address)?;
            let image = layout.image(&address, &platform)?;
            let writer = layout.writer()?;
            let mut packer = Packer::new(&writer, Compression::from(self.compress))?;
            flatten(&layout, &image, &mut packer, epoch, self.limits)?;
            let (descriptor, diff_id) = packer.finish()?;
            let created = match epoch {
                Some(epoch) => epoch,
                None => created(&image)?,
            };
            let history = History { created_by: "image-tool squash".into(), created, ..History::default() };
            let descriptor = squash(&image, &writer, &Layer { descriptor, diff_id, latest: created }, &history)?;
            Ok((writer, descriptor))
        };
        let (writer, descriptor) = make().map_err(|error| named(error, &address))?;
        publish(&writer, &address, self.reference, descriptor)
    }
}
