//! Flattening: the whole tree of an image as one archive.

use std::io::Write;

use anyhow::Result;
use image_tool::layer::cache::Source;
use image_tool::layer::merge::{Options, merge};
use image_tool::layout::{Image, Layout};

use image_tool::program::limits::Limits;

/// Writes the tree of an image as one archive.
pub(super) fn flatten<W: Write>(
    layout: &Layout,
    image: &Image,
    output: W,
    latest: Option<i64>,
    limits: Limits,
) -> Result<()> {
    let sources = Source::of_image(layout, image)?;
    merge(&sources, output, &Options { latest, limits: limits.of(image)?, ..Options::default() })?;
    Ok(())
}
