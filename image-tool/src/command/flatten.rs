//! Flattening: the whole tree of an image as one archive.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use image_tool::beneath::Root;
use image_tool::layer::apply::Options;
use image_tool::layer::cache::{Source, apply_all};
use image_tool::layer::diff;
use image_tool::layout::{Image, Layout};

use super::TOOL;

/// Writes the tree of an image as one archive, through a temporary folder.
pub(super) fn flatten<W: Write>(layout: &Layout, image: &Image, output: W, latest: Option<i64>) -> Result<()> {
    let sources = Source::of_image(layout, image)?;
    // Not /tmp, which may be in memory; /var/tmp is for large files (file-hierarchy(7)).
    let parent = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let folder = tempfile::Builder::new().prefix("image-tool-").tempdir_in(&parent);
    let path = folder.with_context(|| parent.display().to_string())?.keep();
    let flatten = || -> Result<()> {
        let tree = path.join("tree");
        std::fs::create_dir(&tree).with_context(|| tree.display().to_string())?;
        let skipped = apply_all(&sources, Root::open(&tree)?, Options::tree())?;
        for (what, count) in skipped {
            TOOL.say(&format!("{count} × {what} left out"));
        }
        let options = diff::Options { latest, ..diff::Options::default() };
        diff::tree(&Root::open(&tree)?, output, &options)?;
        Ok(())
    };
    let flattened = flatten();
    let removed = Root::open(&parent).and_then(|root| root.remove(path.file_name().unwrap_or_default()));
    // The first of two errors is the cause.
    flattened.and(removed.map_err(Into::into))
}
