use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use image_tool::address::Address;
use image_tool::edit::append::History;
use image_tool::edit::{Change, import};
use image_tool::layout::Layout;

use super::archive::input;
use super::fields::Fields;
use super::publish::{Pack, publish, source_date_epoch};

/// Make an image of a root file system's tar, and print its address.
#[derive(Args)]
pub(crate) struct Import {
    /// The tar, plain or compressed with gzip or zstd; - reads it from standard input.
    tar: PathBuf,
    /// The new image's name, LAYOUT:REF.
    new: Address,
    #[command(flatten)]
    fields: Fields,
    /// How a plain tar is compressed.
    #[arg(long, value_enum, default_value = "gzip")]
    compress: Pack,
    /// What the history says about how the layer was made.
    #[arg(long, value_name = "TEXT", default_value = "image-tool import")]
    created_by: String,
}

impl Import {
    pub(crate) fn run(self) -> Result<()> {
        if self.new.reference().is_none() || self.new.digest().is_some() {
            bail!("{}: no name to give (LAYOUT:REF, as :python:3.8)", self.new);
        }
        let epoch = source_date_epoch()?;
        let (tar, from) = input(&self.tar)?;
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
