//! The options that limit what is read: the same ones wherever an image or an archive from outside is.

use anyhow::Context as _;
use clap::Args;

use super::size::size;
use crate::layer::limit;
use crate::layout::Image;

/// Limits for images and archives from strangers.
#[derive(Args, Clone, Copy, Debug, Default)]
#[group(skip)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
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
    /// The limits.
    #[must_use]
    pub fn get(self) -> limit::Limits {
        limit::Limits { size: self.max_size, entries: self.max_entries, layers: self.max_layers }
    }

    /// The options as words, for another tool that reads the same image.
    #[must_use]
    pub fn words(self) -> Vec<String> {
        let all = [
            ("--max-size", self.max_size),
            ("--max-entries", self.max_entries),
            ("--max-layers", self.max_layers.map(|count| count as u64)),
        ];
        all.into_iter().filter_map(|(option, limit)| Some(format!("{option}={}", limit?))).collect()
    }

    /// The limits, once it is known that the image does not have too many layers.
    ///
    /// # Errors
    /// [`limit::TooManyLayers`].
    pub fn of(self, image: &Image) -> anyhow::Result<limit::Limits> {
        let limits = self.get();
        limits.check(image.manifest().layers().len()).context("image refused")?;
        Ok(limits)
    }
}
