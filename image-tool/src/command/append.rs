use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use image_tool::address::RefName;
use image_tool::edit::append::{History, append, layer};
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;

use super::archive::input;
use super::operand::{Operand, named};
use super::publish::{Pack, publish, source_date_epoch};

/// Put a layer on top of an image, and print the new image's address.
///
/// The name that the image was given by then means the new one. The time in the new config is $SOURCE_DATE_EPOCH, else that of the
/// layer's youngest file, so that equal input gives an equal image.
#[derive(Args)]
pub(crate) struct Append {
    /// The image.
    address: Operand,
    /// The layer, a tar, plain or compressed with gzip or zstd; - reads it from standard input.
    tar: PathBuf,
    /// Leave the image's name alone and give the new image this one.
    #[arg(long = "ref", value_name = "NAME")]
    reference: Option<RefName>,
    /// How a plain tar is compressed.
    #[arg(long, value_enum, default_value = "gzip")]
    compress: Pack,
    /// What the history says about how the layer was made.
    #[arg(long, value_name = "TEXT", default_value = "image-tool append")]
    created_by: String,
    /// A remark in the history.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who made the layer, in the history.
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// Of an index, take the image for a platform, as linux/arm64; this machine's if omitted.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
}

impl Append {
    pub(crate) fn run(self) -> Result<()> {
        let stdin = self.tar == Path::new("-");
        if stdin && self.address == Operand::Stdin {
            bail!("- can stand once");
        }
        let address = self.address.address()?;
        let epoch = source_date_epoch()?;
        let (tar, from) = input(&self.tar)?;
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
