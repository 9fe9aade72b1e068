use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueHint};
use image_tool::address::Address;
use image_tool::edit::append::History;
use image_tool::edit::{Change, import};
use image_tool::layout::Layout;
use image_tool::layout::journal;
use image_tool::layout::platform::Platform;

use super::fields::Fields;
use super::operand::new_name;
use super::publish::{Pack, publish, source_date_epoch};
use image_tool::program::archive::input;
use image_tool::program::caller::caller;

/// Create an image from the tar archive of a root file system and print its address.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool import rootfs.tar :base:1
  tar -C rootfs -c . | image-tool import --change 'CMD sh' - :base:1")]
pub(crate) struct Import {
    /// Tar archive, plain or compressed with gzip, zstd, bzip2 or xz, or - to read it from standard input.
    #[arg(value_hint = ValueHint::FilePath)]
    tar: PathBuf,
    /// Name of the new image, LAYOUT:REF.
    new: Address,
    #[command(flatten)]
    fields: Fields,
    /// Apply a Dockerfile instruction to the image's config (CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER,
    /// VOLUME or WORKDIR); may be repeated.
    #[arg(short, long, value_name = "INSTRUCTION", value_hint = ValueHint::Other)]
    change: Vec<Change>,
    /// Message for the image's history.
    #[arg(short, long, value_name = "TEXT", value_hint = ValueHint::Other)]
    message: Option<String>,
    /// Set the platform, as docker import spells it.
    #[arg(long, hide = true, conflicts_with = "set_platform")]
    platform: Option<Platform>,
    /// Compression of the layer, if the tar archive is plain.
    #[arg(long, value_enum, default_value = "gzip")]
    compress: Pack,
    /// Command that the history shows for the layer [default: image-tool import; of docker import none].
    #[arg(long, value_name = "TEXT", value_hint = ValueHint::Other)]
    created_by: Option<String>,
}

impl Import {
    pub(crate) fn run(self) -> Result<()> {
        new_name(&self.new)?;
        let is_url = ["http://", "https://"].iter().any(|scheme| self.tar.to_string_lossy().starts_with(scheme));
        if is_url && !self.tar.exists() {
            let import = if caller().is_some() { "docker import" } else { "image-tool import" };
            bail!("{}: a URL is not fetched here (curl -fL URL | {import} - NAME)", self.tar.display());
        }
        let epoch = source_date_epoch()?;
        let (tar, from) = input(&self.tar, "name a file")?;
        let writer = Layout::create(&self.new.layout_path())?.writer()?.keeping_former(caller().is_some());
        let fields = Change::from(self.fields).and(Change { platform: self.platform, ..Change::default() });
        let change = self.change.into_iter().fold(fields, Change::and);
        // docker names where the archive comes from, which its client reads for it.
        let comment = self.message.or_else(|| caller().map(|_| "Imported from -".to_owned()));
        let own = || if caller().is_some() { String::new() } else { "image-tool import".to_owned() };
        let created_by = self.created_by.unwrap_or_else(own);
        let history = |layer: &image_tool::edit::append::Layer| History {
            created_by,
            comment,
            created: epoch.unwrap_or(layer.latest),
            ..History::default()
        };
        let descriptor = import(tar, &writer, self.compress.into(), &change, history).context(from)?;
        publish(&writer, &self.new, None, descriptor.clone())?;
        journal::record_image(writer.layout(), "import", &descriptor, None);
        Ok(())
    }
}
