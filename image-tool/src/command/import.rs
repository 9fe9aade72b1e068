use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use image_tool::address::Address;
use image_tool::edit::append::History;
use image_tool::edit::{Change, import};
use image_tool::layout::Layout;

use super::archive::input;
use super::fields::Fields;
use super::operand::new_name;
use super::publish::{Pack, publish, source_date_epoch};

/// Create an image from the tar archive of a root file system and print its address.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool import rootfs.tar :base:1
  tar -C rootfs -c . | image-tool import --cmd sh - :base:1")]
pub(crate) struct Import {
    /// Tar archive, plain or compressed with gzip, zstd, bzip2 or xz, or - to read it from standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    tar: PathBuf,
    /// Name of the new image, LAYOUT:REF.
    new: Address,
    #[command(flatten)]
    fields: Fields,
    /// Compression of the layer, if the tar archive is plain.
    #[arg(long, value_enum, default_value = "gzip")]
    compress: Pack,
    /// Command that the history shows for the layer.
    #[arg(long, value_name = "TEXT", default_value = "image-tool import", value_hint = ValueHint::Other)]
    created_by: String,
}

impl Import {
    pub(crate) fn run(self) -> Result<()> {
        new_name(&self.new)?;
        let epoch = source_date_epoch()?;
        let (tar, from) = input(&self.tar, "name a file")?;
        let writer = Layout::create(&self.new.layout_path())?.writer()?;
        let change = Change::from(self.fields);
        let created_by = self.created_by;
        let history = |layer: &image_tool::edit::append::Layer| History {
            created_by,
            created: epoch.unwrap_or(layer.latest),
            ..History::default()
        };
        let descriptor = import(tar, &writer, self.compress.into(), &change, history).context(from)?;
        publish(&writer, &self.new, None, descriptor)
    }
}
