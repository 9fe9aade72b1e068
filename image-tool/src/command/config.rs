use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::address::RefName;
use image_tool::edit::append::History;
use image_tool::edit::index::Note;
use image_tool::edit::{Change, configure};
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;

use super::fields::{Fields, pair};
use super::operand::{Operand, named};
use super::publish::{created, publish, source_date_epoch};

/// Change the config of an image and print the new image's address.
///
/// The name then refers to the new image. Layers and all other fields stay as they are.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool config --env DEBUG=1 --user nobody :app
  image-tool config --cmd '[\"sh\", \"-c\", \"date\"]' --ref dated :busybox
  image-tool config --annotation stage=test --created 2026-01-31T12:00:00Z :app
  image-tool config --unset-label stage --created-by \"no stage\" :app")]
pub(crate) struct Config {
    /// Image, or - to read its address from standard input.
    address: Operand,
    #[command(flatten)]
    fields: Fields,
    /// Give the new image this name, and leave the old name as it is.
    #[arg(long = "ref", value_name = "NAME", value_hint = ValueHint::Other)]
    reference: Option<RefName>,
    /// Set an annotation of the manifest; may be repeated.
    #[arg(short, long = "annotation", value_name = "KEY=VALUE", value_parser = pair, value_hint = ValueHint::Other)]
    annotations: Vec<(String, String)>,
    /// Remove an annotation of the manifest; may be repeated.
    #[arg(long = "unset-annotation", value_name = "KEY", value_hint = ValueHint::Other)]
    unset_annotations: Vec<String>,
    /// Add a step with this command to the history [default: add no step].
    #[arg(long, value_name = "TEXT", value_hint = ValueHint::Other)]
    created_by: Option<String>,
    /// Comment on that step.
    #[arg(short, long, value_name = "TEXT", requires = "created_by", value_hint = ValueHint::Other)]
    message: Option<String>,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
}

impl Config {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let epoch = source_date_epoch()?;
        let change = Change::from(self.fields);
        let note = Note { annotations: self.annotations, unset: self.unset_annotations, platform: None };
        let platform = self.platform.unwrap_or_else(Platform::host);
        let make = || -> Result<_> {
            let layout = Layout::of(&address)?;
            let image = layout.image(&address, &platform)?;
            let writer = layout.writer()?;
            let created = match epoch {
                Some(epoch) => epoch,
                None => created(&image)?,
            };
            let history = self.created_by.map(|created_by| History {
                created_by,
                comment: self.message,
                created: change.created.unwrap_or(created),
                ..History::default()
            });
            let descriptor = configure(&image, &writer, (&change, &note), history.as_ref())?;
            Ok((writer, descriptor))
        };
        let (writer, descriptor) = make().map_err(|error| named(error, &address))?;
        publish(&writer, &address, self.reference, descriptor)
    }
}
