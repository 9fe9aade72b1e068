use anyhow::{Context as _, Result};
use clap::{Args, ValueHint};
use image_tool::address::{Address, RefName};
use image_tool::edit::rebase::rebase;
use image_tool::layout::platform::Platform;
use image_tool::layout::{Image, Layout};

use super::operand::{Operand, named};
use super::publish::publish;

/// Put an image onto another base and print the new image's address.
///
/// The layers of the old base, which must be the lowest of the image, are replaced by those of the new one. The image's own layers, its
/// command and its environment stay as they are. Nothing is run: whether its programs find what they need in the new base has to be tried.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool rebase --old-base :python:3.8 --new-base :busybox :app
  image-tool rebase --ref app:2 --old-base :a --new-base :b :app")]
pub(crate) struct Rebase {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Image that it was made from.
    #[arg(long, value_name = "ADDRESS")]
    old_base: Address,
    /// Image that it is to be made from.
    #[arg(long, value_name = "ADDRESS")]
    new_base: Address,
    /// Give the new image this name, and leave the old name as it is.
    #[arg(long = "ref", value_name = "NAME", value_hint = ValueHint::Other)]
    reference: Option<RefName>,
    /// Use the images for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
}

impl Rebase {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let platform = self.platform.unwrap_or_else(Platform::host);
        let open = |address: &Address| -> Result<(Layout, Image)> {
            let layout = Layout::of(address).map_err(|error| named(error.into(), address))?;
            let image = layout.image(address, &platform).map_err(|error| named(error.into(), address))?;
            Ok((layout, image))
        };
        let (layout, image) = open(&address)?;
        let (_, old) = open(&self.old_base)?;
        let (from, new) = open(&self.new_base)?;
        let writer = layout.writer()?;
        let descriptor = rebase(&image, &old, (&from, &new), &writer).with_context(|| address.to_string())?;
        publish(&writer, &address, self.reference, descriptor)
    }
}
