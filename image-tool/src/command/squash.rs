use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use image_tool::address::RefName;
use image_tool::beneath::Root;
use image_tool::edit::append::{History, Layer};
use image_tool::edit::squash;
use image_tool::layer::apply::Options;
use image_tool::layer::cache::{Source, apply_all};
use image_tool::layer::diff;
use image_tool::layer::pack::Packer;
use image_tool::layout::Layout;
use image_tool::layout::platform::Platform;

use super::show::named;
use super::{Operand, Pack, publish, say, source_date_epoch};

/// Make one layer of all of an image's, and print the new image's address.
///
/// What upper layers deleted or replaced is gone from the new one. The name that the image was given by then means it.
#[derive(Args)]
pub(crate) struct Squash {
    /// The image; - reads the address from standard input.
    address: Operand,
    /// Leave the image's name alone and give the new image this one.
    #[arg(long = "ref", value_name = "NAME")]
    reference: Option<RefName>,
    /// How the layer is compressed.
    #[arg(long, value_enum, default_value = "gzip")]
    compress: Pack,
    /// Of an index, take the image for a platform, as linux/arm64; this machine's if omitted.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
}

impl Squash {
    pub(crate) fn run(self) -> Result<()> {
        let address = self.address.address()?;
        let epoch = source_date_epoch()?;
        let platform = self.platform.unwrap_or_else(Platform::host);
        let make = || -> Result<_> {
            let layout = Layout::of(&address)?;
            let image = layout.image(&address, &platform)?;
            let writer = layout.writer()?;
            let mut packer = Packer::new(&writer, self.compress.into())?;
            flatten(&layout, &image, &mut packer, epoch)?;
            let (descriptor, diff_id) = packer.finish()?;
            let config: serde_json::Value = serde_json::from_slice(image.config_bytes())?;
            let time = config["created"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let created = epoch.unwrap_or_else(|| time.map_or(0, jiff::Timestamp::as_second));
            let history = History { created_by: "image-tool squash".into(), created, ..History::default() };
            let descriptor = squash(&image, &writer, &Layer { descriptor, diff_id, latest: created }, &history)?;
            Ok((writer, descriptor))
        };
        let (writer, descriptor) = make().map_err(|error| named(error, &address))?;
        publish(&writer, &address, self.reference, descriptor)
    }
}

/// Writes an image's tree as one archive, by way of a folder that is gone afterwards.
pub(super) fn flatten<W: Write>(
    layout: &Layout,
    image: &image_tool::layout::Image,
    output: W,
    latest: Option<i64>,
) -> Result<()> {
    let sources = Source::of_image(layout, image)?;
    // Not /tmp, which may be memory: file-hierarchy(7) has this one for what is large.
    let parent = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let folder = tempfile::Builder::new().prefix("image-tool-").tempdir_in(&parent);
    let path = folder.with_context(|| parent.display().to_string())?.keep();
    let flatten = || -> Result<()> {
        let tree = path.join("tree");
        std::fs::create_dir(&tree).with_context(|| tree.display().to_string())?;
        let skipped = apply_all(&sources, Root::open(&tree)?, Options::tree())?;
        for (what, count) in skipped {
            say(&format!("image-tool: {count} × {what} left out"));
        }
        let options = diff::Options { latest, ..diff::Options::default() };
        diff::tree(&Root::open(&tree)?, output, &options)?;
        Ok(())
    };
    let flattened = flatten();
    let removed = Root::open(&parent).and_then(|root| root.remove(path.file_name().unwrap_or_default()));
    // Of two errors the first is the cause.
    flattened.and(removed.map_err(Into::into))
}
