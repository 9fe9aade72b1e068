use anyhow::Context as _;
use bundle_tool::container;
use image_tool::address::home::Home;
use image_tool::program::pipe;

use super::About as _;

/// Mount a bundle's root file system, after a reboot for example, and print its path.
///
/// `create` leaves it mounted. Nothing happens if it is mounted, or is a plain tree.
#[derive(clap::Args)]
pub(crate) struct Mount {
    /// The bundle: a container's name, a path, the first digits of an id, or - to read one from standard input.
    bundle: String,
}

impl Mount {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.bundle)?;
        container::mount(&Home::from_environment(), &bundle).about(&self.bundle)?;
        Ok(pipe::print_line(bundle.rootfs().to_str().context("the path is not UTF-8")?)?)
    }
}
