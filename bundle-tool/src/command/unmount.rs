use anyhow::Context as _;
use bundle_tool::container;
use image_tool::address::home::Home;
use image_tool::program::pipe;

use super::{About as _, candidates};

/// Unmount a bundle's root file system and print the bundle's path.
///
/// What the container wrote stays in the bundle; `mount` shows it again.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool unmount web
  bundle-tool unmount --force web")]
pub(crate) struct Unmount {
    /// Unmount it even if something still uses it.
    #[arg(short, long)]
    force: bool,
    /// Container name, ID prefix or bundle path, or - to read one from standard input.
    #[arg(add = candidates::containers())]
    bundle: String,
}

impl Unmount {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.bundle)?;
        container::unmount(&Home::from_environment(), &bundle, self.force).about(&self.bundle)?;
        pipe::print_line(bundle.path().to_str().context("the path is not UTF-8")?)
    }
}
