use anyhow::Result;
use clap::Args;
use image_tool::address::RefName;
use image_tool::edit::append::{History, Layer};
use image_tool::edit::squash;
use image_tool::layer::pack::Packer;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;

use super::flatten::flatten;
use super::operand::{Operand, named};
use super::publish::{Pack, publish, source_date_epoch};

/// Make one layer of all of an image's, and print the new image's address.
///
/// What upper layers deleted or replaced is gone from the new one. The name that the image was given by then means it.
#[derive(Args)]
pub(crate) struct Squash {
    /// The image; - reads the address from standard input.
    address: Operand,
    /// Leave the image's name alone and give the new image this one.
    #[arg(long = "ref", value_name = "NAME")]
    reference: Option<RefName>,
    /// How the layer is compressed.
    #[arg(long, value_enum, default_value = "gzip")]
    compress: Pack,
    /// Of an index, take the image for a platform, as linux/arm64; this machine's if omitted.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
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
            let mut packer = Packer::new(&writer, self.compress.into())?;
            flatten(&layout, &image, &mut packer, epoch)?;
            let (descriptor, diff_id) = packer.finish()?;
            let config: serde_json::Value = serde_json::from_slice(image.config_bytes())?;
            let time = config["created"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let created = epoch.unwrap_or_else(|| time.map_or(0, jiff::Timestamp::as_second));
            let history = History { created_by: "image-tool squash".into(), created, ..History::default() };
            let descriptor = squash(&image, &writer, &Layer { descriptor, diff_id, latest: created }, &history)?;
            Ok((writer, descriptor))
        };
        let (writer, descriptor) = make().map_err(|error| named(error, &address))?;
        publish(&writer, &address, self.reference, descriptor)
    }
}
