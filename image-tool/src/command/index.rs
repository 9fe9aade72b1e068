use anyhow::Result;
use clap::Args;
use image_tool::address::Address;
use image_tool::edit::index;
use image_tool::layout::Layout;

use super::operand::{named, new_name};
use super::publish::publish;

/// Combine images for several platforms under one name and print the address.
///
/// Each image is added for the platform that its config names; of an index, all images are added. If several are for the same
/// platform, the last one wins.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool index :app images:app-amd64 images:app-arm64")]
pub(crate) struct Index {
    /// New name, LAYOUT:REF.
    new: Address,
    /// Images to combine; blobs from other layouts are hard-linked or copied.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Address>,
}

impl Index {
    pub(crate) fn run(self) -> Result<()> {
        new_name(&self.new)?;
        let layout = Layout::create(&self.new.layout_path())?;
        let writer = layout.writer()?;
        let mut descriptors = Vec::new();
        for address in &self.addresses {
            let take = || -> Result<_> {
                let source = Layout::of(address)?;
                let descriptor = source.resolve(address)?;
                for blob in source.reach(std::slice::from_ref(&descriptor))?.values() {
                    writer.take(&source, blob)?;
                }
                Ok(descriptor)
            };
            descriptors.push(take().map_err(|error| named(error, address))?);
        }
        let descriptor = index(&layout, &writer, &descriptors)?;
        publish(&writer, &self.new, None, descriptor)
    }
}
