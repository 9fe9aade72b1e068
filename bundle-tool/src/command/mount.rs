use anyhow::Context as _;
use bundle_tool::container;
use image_tool::address::home::Home;
use image_tool::program::pipe;

use super::{About as _, candidates};

/// Mount a bundle's root file system and print its path.
///
/// `create` leaves it mounted, so this is only needed after a reboot or `unmount`. A root file system that is mounted already, or that is
/// a copy of the image, stays as it is.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool mount web
  ls \"$(bundle-tool mount web)\"/etc")]
pub(crate) struct Mount {
    /// Container name, ID prefix or bundle path, or - to read one from standard input.
    #[arg(add = candidates::containers())]
    bundle: String,
}

impl Mount {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.bundle)?;
        container::mount(&Home::from_environment(), &bundle).about(&self.bundle)?;
        pipe::print_line(bundle.rootfs().to_str().context("the path is not UTF-8")?)
    }
}
