use anyhow::Result;
use clap::{Args, ValueHint};
use image_tool::address::Address;
use image_tool::layout::platform::Platform;
use image_tool::layout::{Image, Layout};
use image_tool::program::limits::Limits;
use image_tool::program::pipe;
use image_tool::show::compare::{Change, Comparison};
use image_tool::show::{human, table};

use super::operand::named;

/// Show which files and packages differ between two images.
///
/// Files are compared by kind, permissions, owner and content. Packages are those of dpkg and apk.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool compare :busybox :python:3.8
  image-tool compare --json :a :b | jq -r '.packages[].name'")]
pub(crate) struct Compare {
    /// Old image.
    old: Address,
    /// New image.
    new: Address,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
    /// Use the images for this platform [default: this machine's].
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    platform: Option<Platform>,
    #[command(flatten)]
    limits: Limits,
}

impl Compare {
    pub(crate) fn run(self) -> Result<()> {
        let platform = self.platform.unwrap_or_else(Platform::host);
        let open = |address: &Address| -> Result<(Layout, Image)> {
            let open = || -> Result<_> {
                let layout = Layout::of(address)?;
                let image = layout.image(address, &platform)?;
                self.limits.of(&image)?;
                Ok((layout, image))
            };
            open().map_err(|error| named(error, address))
        };
        let ((from, old), (to, new)) = (open(&self.old)?, open(&self.new)?);
        let comparison = Comparison::of((&from, &old), (&to, &new), self.limits.get())?;
        if self.json {
            return pipe::print(human::json(&serde_json::to_string(&comparison)?) + "\n");
        }
        pipe::print(text(&comparison))
    }
}

fn text(comparison: &Comparison) -> String {
    let row = |cells: [String; 4]| cells.to_vec();
    let heads = |heads: [&str; 4]| vec![row(heads.map(str::to_owned))];
    let mut files = heads(["FILE", "OLD", "NEW", "PATH"]);
    let size = |size: Option<u64>| size.map_or_else(String::new, human::size);
    files.extend(comparison.files.iter().map(|file| {
        row([word(file.change), size(file.old), size(file.new), file.path.to_string_lossy().into_owned()])
    }));
    let mut packages = heads(["PACKAGE", "OLD", "NEW", "NAME"]);
    packages.extend(comparison.packages.iter().map(|package| {
        let version = |version: &Option<String>| version.clone().unwrap_or_default();
        row([word(package.change), version(&package.old), version(&package.new), package.name.clone()])
    }));
    let (old, new) = (human::size(comparison.old), human::size(comparison.new));
    let mut text = format!("{old} in the old image, {new} in the new one\n");
    for rows in [files, packages].iter().filter(|rows| rows.len() > 1) {
        text += &format!("\n{}", table::of(rows));
    }
    text
}

fn word(change: Change) -> String {
    match change {
        Change::Added => "added",
        Change::Changed => "changed",
        Change::Deleted => "deleted",
    }
    .to_owned()
}
