use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueHint};
use image_tool::layer::mount;
use image_tool::program::pipe;

/// Unmount an image from a directory and print the directory's path.
///
/// Nothing but an image is unmounted. The stored layers stay.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool unmount /mnt")]
pub(crate) struct Unmount {
    /// Directory that an image is mounted on.
    #[arg(value_hint = ValueHint::DirPath)]
    directory: PathBuf,
    /// Unmount it even if something still uses it.
    #[arg(short, long)]
    force: bool,
}

impl Unmount {
    pub(crate) fn run(self) -> Result<()> {
        if !mount::is_erofs(&self.directory) {
            bail!("{}: no image is mounted here", self.directory.display());
        }
        mount::unmount(&self.directory, self.force)?;
        pipe::print_line(&self.directory.display().to_string())
    }
}
