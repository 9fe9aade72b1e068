//! The options that limit what is read.

use anyhow::{Context as _, Result};
use clap::Args;
use image_tool::layer::limit;
use image_tool::layout::Image;
use image_tool::program::size::size;

/// Limits for images and archives from strangers.
#[derive(Args, Clone, Copy)]
#[command(next_help_heading = "Limits")]
pub(super) struct Limits {
    /// Refuse a layer whose archive has more bytes than this, such as 500M or 20G [default: 128 times its blob, but 8G at least].
    ///
    /// In an archive of images, this is the largest file.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Refuse a layer with more entries than this [default: 10000000].
    ///
    /// In an archive of images, this is the number of its files; the default is 20000 then.
    #[arg(long, value_name = "N")]
    max_entries: Option<u64>,
    /// Refuse an image with more layers than this.
    #[arg(long, value_name = "N")]
    max_layers: Option<usize>,
}

impl Limits {
    pub(super) fn get(self) -> limit::Limits {
        limit::Limits { size: self.max_size, entries: self.max_entries, layers: self.max_layers }
    }

    /// The limits, once it is known that the image does not have too many layers.
    pub(super) fn of(self, image: &Image) -> Result<limit::Limits> {
        let limits = self.get();
        limits.check(image.manifest().layers().len()).context("image refused")?;
        Ok(limits)
    }
}
