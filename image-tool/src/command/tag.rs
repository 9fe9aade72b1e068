use anyhow::{Result, bail};
use clap::Args;
use image_tool::address::Address;
use image_tool::layout::Layout;

use super::operand::{Operand, named};
use super::print::print_line;

/// Give an image another name.
///
/// The name may be in another layout: the image's blobs are taken there, by hard links where that is possible.
#[derive(Args)]
pub(crate) struct Tag {
    /// The image; - reads the address from standard input.
    address: Operand,
    /// The new name, LAYOUT:REF. If it names an image already, it will name this one.
    new: Address,
}

impl Tag {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let Some(reference) = self.new.reference() else {
            bail!("{}: no name to give (LAYOUT:REF, as :python:3.8)", self.new);
        };
        if self.new.digest().is_some() {
            bail!("{}: a name is given, a digest is not", self.new);
        }
        let tag = || -> Result<String> {
            let source = Layout::of(&address)?;
            let descriptor = source.resolve(&address)?;
            let target = Layout::create(&self.new.layout_path())?;
            let writer = target.writer()?;
            for blob in source.reach(std::slice::from_ref(&descriptor))?.values() {
                writer.take(&source, blob)?;
            }
            let digest = descriptor.digest().clone();
            writer.publish(reference, descriptor)?;
            Ok(self.new.with_digest(&digest).to_string())
        };
        print_line(&tag().map_err(|error| named(error, &address))?)
    }
}
