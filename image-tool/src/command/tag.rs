use anyhow::Result;
use clap::Args;
use image_tool::address::Address;
use image_tool::layout::Layout;
use image_tool::layout::journal;
use image_tool::program::caller::caller;
use image_tool::program::pipe;

use super::operand::{Operand, named, new_name};

/// Give an image another name.
///
/// If another image has the new name already, it loses it. If the new name is in another layout, the blobs of the image are
/// hard-linked or copied there.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool tag :python:3.8 :mine:1
  image-tool tag :python:3.8 other:python:3.8")]
pub(crate) struct Tag {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// New name, LAYOUT:REF.
    new: Address,
}

impl Tag {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let reference = new_name(&self.new)?;
        let tag = || -> Result<String> {
            let source = Layout::of(&address)?;
            let descriptor = source.resolve(&address)?;
            let target = Layout::create(&self.new.layout_path())?;
            let writer = target.writer()?.keeping_former(caller().is_some());
            for blob in source.reach(std::slice::from_ref(&descriptor))?.values() {
                writer.take(&source, blob)?;
            }
            let digest = descriptor.digest().clone();
            writer.publish(reference, descriptor.clone())?;
            journal::record_image(&target, "tag", &descriptor, Some(reference.as_str()));
            Ok(self.new.with_digest(&digest).to_string())
        };
        pipe::print_line(&tag().map_err(|error| named(error, &address))?)
    }
}
