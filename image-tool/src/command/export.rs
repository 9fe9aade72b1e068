use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;

use super::archive::output;
use super::flatten::flatten;
use super::operand::{Operand, named};
use super::publish::source_date_epoch;

/// Write an image's root file system as one tar.
#[derive(Args)]
pub(crate) struct Export {
    /// The image; - reads the address from standard input.
    address: Operand,
    /// Write to a file, which appears under its name when it is complete; standard output, which must not be a terminal, if
    /// omitted.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Of an index, take the image for a platform, as linux/arm64; this machine's if omitted.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
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
                flatten(&layout, &image, output, epoch)
            };
            export().map_err(|error| named(error, &address))
        })
    }
}
