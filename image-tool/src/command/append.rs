use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueHint};
use image_tool::address::RefName;
use image_tool::edit::append::{History, append, layer};
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;

use super::operand::{Operand, named};
use super::publish::{Pack, publish, source_date_epoch};
use image_tool::program::archive::input;

/// Add a layer to an image and print the new image's address.
///
/// The name then refers to the new image. Its date is $SOURCE_DATE_EPOCH, or else that of the newest file in the layer, so that
/// equal input gives an equal image.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool append :python:3.8 layer.tar
  tar -c app | image-tool append --ref app:1 :python:3.8 -")]
pub(crate) struct Append {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Layer, a tar archive, plain or compressed with gzip or zstd, or - to read it from standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    tar: PathBuf,
    /// Give the new image this name, and leave the old name as it is.
    #[arg(long = "ref", value_name = "NAME", value_hint = ValueHint::Other)]
    reference: Option<RefName>,
    /// Compression of the layer, if the tar archive is plain.
    #[arg(long, value_enum, default_value = "gzip")]
    compress: Pack,
    /// Command that the history shows for the layer.
    #[arg(long, value_name = "TEXT", default_value = "image-tool append", value_hint = ValueHint::Other)]
    created_by: String,
    /// Comment for the history.
    #[arg(short, long, value_name = "TEXT", value_hint = ValueHint::Other)]
    message: Option<String>,
    /// Author for the history.
    #[arg(short, long, value_name = "NAME", value_hint = ValueHint::Other)]
    author: Option<String>,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
}

impl Append {
    pub(crate) fn run(self) -> Result<()> {
        let stdin = self.tar == Path::new("-");
        if stdin && self.address == Operand::Stdin {
            bail!("- may be given only once");
        }
        let address = self.address.address()?;
        let epoch = source_date_epoch()?;
        let (tar, from) = input(&self.tar, "name a file")?;
        let open = || -> Result<_> {
            let layout = Layout::of(&address)?;
            let image = layout.image(&address, &self.platform.unwrap_or_else(Platform::host))?;
            Ok((layout, image))
        };
        let (layout, image) = open().map_err(|error| named(error, &address))?;
        let writer = layout.writer()?;
        let layer = layer(tar, &writer, self.compress.into()).context(from)?;
        let history = History {
            created_by: self.created_by,
            comment: self.message,
            author: self.author,
            created: epoch.unwrap_or(layer.latest),
        };
        let descriptor = append(&image, &writer, &layer, &history).with_context(|| address.to_string())?;
        publish(&writer, &address, self.reference, descriptor)
    }
}
