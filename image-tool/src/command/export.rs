use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;

use super::flatten::flatten;
use super::operand::{Operand, named};
use super::publish::source_date_epoch;
use image_tool::program::archive::output;
use image_tool::program::limits::Limits;

/// Export the root file system of an image as a tar archive.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool export -o rootfs.tar :python:3.8
  image-tool export :python:3.8 | tar -t")]
pub(crate) struct Export {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Write to this file, which appears once it is complete [default: standard output, unless it is a terminal].
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
    #[command(flatten)]
    limits: Limits,
}

impl Export {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let epoch = source_date_epoch()?;
        let platform = self.platform.unwrap_or_else(Platform::host);
        output(self.output.as_deref(), |output| {
            let export = || -> Result<()> {
                let layout = Layout::of(&address)?;
                let image = layout.image(&address, &platform)?;
                flatten(&layout, &image, output, epoch, self.limits)
            };
            export().map_err(|error| named(error, &address))
        })
    }
}
