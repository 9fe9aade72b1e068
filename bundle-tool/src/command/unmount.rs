use anyhow::Context as _;
use bundle_tool::container;
use image_tool::program::pipe;

use super::About as _;

/// Unmount a bundle's root file system and print the bundle's path. What was written to it stays.
#[derive(clap::Args)]
pub(crate) struct Unmount {
    /// Detach it even where something still uses it.
    #[arg(short, long)]
    force: bool,
    /// The bundle: a container's name, a path, the first digits of an id, or - to read one from standard input.
    bundle: String,
}

impl Unmount {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.bundle)?;
        container::unmount(&bundle, self.force).about(&self.bundle)?;
        Ok(pipe::print_line(bundle.path().to_str().context("the path is not UTF-8")?)?)
    }
}
