use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use image_tool::address::home::Home;
use image_tool::interrupt;
use image_tool::layer::cache::Cache;
use image_tool::layer::{progress, stack};
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;
use image_tool::program::limits::Limits;
use image_tool::program::meter::Meter;
use image_tool::program::pipe;

use super::operand::{Operand, named};

/// Mount an image on a directory, read-only, and print the directory's path.
///
/// The image's layers are stored as plain archives in $OCI_HOME/layers, and mounted as one EROFS file system that refers to them: no file
/// is unpacked. Only root can mount, with Linux 6.12 or newer and $OCI_HOME on ext4, xfs or btrfs; where it cannot be done, unpack does.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool mount :python:3.8 /mnt
  image-tool unmount /mnt")]
pub(crate) struct Mount {
    /// Image, or - to read its address from standard input.
    address: Operand,
    /// Directory, which must exist.
    #[arg(value_hint = ValueHint::DirPath)]
    directory: PathBuf,
    /// Use the image for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
    #[command(flatten)]
    limits: Limits,
}

impl Mount {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let platform = self.platform.unwrap_or_else(Platform::host);
        interrupt::listen().context("signals")?;
        let mount = || -> Result<()> {
            let layout = Layout::of(&address)?;
            let image = layout.image(&address, &platform)?;
            let cache = Cache::of(&Home::from_environment()).within(self.limits.of(&image)?);
            stack::mount_image(&cache, &layout, &image, &self.directory).map_err(|error| match error {
                stack::Error::Mount(error) => {
                    anyhow::Error::from(error).context("mount (image-tool unpack needs no mount)")
                }
                error => error.into(),
            })
        };
        let meter = Meter::of_layers(|| (progress::now().bytes, progress::now().entries));
        let mounted = mount();
        drop(meter);
        mounted.map_err(|error| named(error, &address))?;
        pipe::print_line(&self.directory.display().to_string())
    }
}
