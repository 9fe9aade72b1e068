use anyhow::{Result, bail};
use clap::Args;
use image_tool::address::Address;
use image_tool::edit::index;
use image_tool::layout::Layout;

use super::operand::named;
use super::publish::publish;

/// Put images for several platforms together under one name, and print the address.
///
/// Each goes in for the platform that its config tells; an index goes in with all that it has. Of several for one platform the
/// last counts.
#[derive(Args)]
pub(crate) struct Index {
    /// The new name, LAYOUT:REF.
    new: Address,
    /// The images; from other layouts their blobs are taken over.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<Address>,
}

impl Index {
    pub(crate) fn run(self) -> Result<()> {
        if self.new.reference().is_none() || self.new.digest().is_some() {
            bail!("{}: no name to give (LAYOUT:REF, as :python:3.8)", self.new);
        }
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
