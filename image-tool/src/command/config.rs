use anyhow::Result;
use clap::Args;
use image_tool::address::RefName;
use image_tool::edit::append::History;
use image_tool::edit::{Change, configure};
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;

use super::fields::Fields;
use super::operand::{Operand, named};
use super::publish::{publish, source_date_epoch};

/// Change an image's config, and print the new image's address.
///
/// The name that the image was given by then means the new one. Layers stay as they are; fields that are not named stay too.
#[derive(Args)]
pub(crate) struct Config {
    /// The image; - reads the address from standard input.
    address: Operand,
    #[command(flatten)]
    fields: Fields,
    /// Leave the image's name alone and give the new image this one.
    #[arg(long = "ref", value_name = "NAME")]
    reference: Option<RefName>,
    /// Tell of the change in the history, in these words; without it the history stays.
    #[arg(long, value_name = "TEXT")]
    created_by: Option<String>,
    /// Of an index, take the image for a platform, as linux/arm64; this machine's if omitted.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
}

impl Config {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let epoch = source_date_epoch()?;
        let change = Change::from(self.fields);
        let platform = self.platform.unwrap_or_else(Platform::host);
        let make = || -> Result<_> {
            let layout = Layout::of(&address)?;
            let image = layout.image(&address, &platform)?;
            let writer = layout.writer()?;
            let config: serde_json::Value = serde_json::from_slice(image.config_bytes())?;
            // The clock stays out of it: without a word about the time, a change is as old as what was changed.
            let time = config["created"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let created = epoch.unwrap_or_else(|| time.map_or(0, jiff::Timestamp::as_second));
            let history = self.created_by.map(|created_by| History { created_by, created, ..History::default() });
            let descriptor = configure(&image, &writer, &change, history.as_ref())?;
            Ok((writer, descriptor))
        };
        let (writer, descriptor) = make().map_err(|error| named(error, &address))?;
        publish(&writer, &address, self.reference, descriptor)
    }
}
