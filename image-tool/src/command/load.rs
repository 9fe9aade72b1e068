use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueHint};
use image_tool::address::name;
use image_tool::archive::load::{Loaded, load};
use image_tool::layout::Layout;
use image_tool::layout::journal;
use image_tool::program::{pipe, say};

use super::operand::LayoutOperand;
use image_tool::program::archive::input;
use image_tool::program::caller::caller;
use image_tool::program::limits::Limits;

/// Load images from an archive and print their addresses.
///
/// Reads the docker-archives and oci-archives that docker, podman, skopeo and containerd write, of any age, plain or compressed with
/// gzip, zstd, bzip2 or xz. Layers are stored as they are.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  image-tool load -i python.tar
  docker save python:3.8 | image-tool load images")]
pub(crate) struct Load {
    /// Layout, created if it does not exist [default: $OCI_LAYOUT, else $OCI_HOME/images].
    #[arg(default_value = "", hide_default_value = true)]
    layout: LayoutOperand,
    /// Read from this file instead of standard input.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    input: Option<PathBuf>,
    /// Print nothing on standard error.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    limits: Limits,
}

impl Load {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(address) = &self.layout.address {
            bail!("{address}: the names come from the archive (name the layout only)");
        }
        let (archive, from) = input(self.input.as_deref().unwrap_or(Path::new("-")), "use -i FILE")?;
        let loaded = self.load(archive, &from)?;
        for Loaded { name, descriptor } in loaded {
            if !self.quiet {
                match &name {
                    Some(name) => say(&format!("Loaded image: {}", name::short(name.as_str()))),
                    None => say(&format!("Loaded image ID: {}", descriptor.digest())),
                }
            }
            let address = self
                .layout
                .address_of(name.as_ref().map(AsRef::as_ref), Some(descriptor.digest()))
                .with_context(|| from.clone())?;
            pipe::print_line(&address.to_string())?;
        }
        Ok(())
    }

    fn load(&self, input: impl io::Read, from: &str) -> Result<Vec<Loaded>> {
        let layout = Layout::create(&self.layout.path())?;
        let writer = layout.writer()?.keeping_former(caller().is_some());
        let (loaded, _) = load(input, &writer, self.limits.get()).with_context(|| from.to_owned())?;
        for Loaded { descriptor, .. } in &loaded {
            journal::record_image(&layout, "load", descriptor, None);
        }
        Ok(loaded)
    }
}
