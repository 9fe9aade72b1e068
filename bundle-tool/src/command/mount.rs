use anyhow::Context as _;
use bundle_tool::container;
use image_tool::address::home::Home;

use super::{About as _, candidates, print_line};

/// Mount a bundle's root file system and print its path.
///
/// `create` leaves it mounted, so this is for the time after a reboot or an `unmount`. A root file system that is mounted already, or is
/// a copy of the image, stays as it is.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool mount web
  ls \"$(bundle-tool mount web)\"/etc")]
pub(crate) struct Mount {
    /// Container's name, bundle's path or first digits of an id; - reads one from standard input.
    #[arg(add = candidates::containers())]
    bundle: String,
}

impl Mount {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.bundle)?;
        container::mount(&Home::from_environment(), &bundle).about(&self.bundle)?;
        print_line(bundle.rootfs().to_str().context("the path is not UTF-8")?)
    }
}
