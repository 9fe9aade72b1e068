use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use image_tool::address::name;
use image_tool::archive::load::{Loaded, load};
use image_tool::layout::Layout;

use super::operand::LayoutOperand;
use super::print::{print_line, say};

/// Read an archive of images into a layout, and print their addresses.
///
/// Takes what docker save, podman save and skopeo write, docker-archives as old as they come and oci-archives, plain or
/// compressed with gzip or zstd, in one pass. Layers stay as they are in the archive, compressed or not.
#[derive(Args)]
pub(crate) struct Load {
    /// The layout, made if it is not there; the default one if omitted.
    #[arg(default_value = "", hide_default_value = true)]
    layout: LayoutOperand,
    /// Read from a file instead of standard input.
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Say nothing on standard error.
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(address) = &self.layout.address {
            bail!("{address}: the archive has the names (name the layout only)");
        }
        let (loaded, from): (Vec<Loaded>, String) = match &self.input {
            Some(path) if path != Path::new("-") => {
                let from = path.display().to_string();
                let file = File::open(path).with_context(|| from.clone())?;
                (self.load(file, &from)?, from)
            }
            _ => {
                let stdin = io::stdin();
                if stdin.is_terminal() {
                    bail!("standard input is a terminal (use -i FILE, or a pipe)");
                }
                (self.load(stdin.lock(), "standard input")?, "standard input".into())
            }
        };
        for Loaded { name, descriptor } in loaded {
            if !self.quiet {
                match &name {
                    Some(name) => {
                        let (repository, tag) = name::familiar(name.as_str());
                        say(&format!("Loaded image: {repository}:{tag}"));
                    }
                    None => say(&format!("Loaded image ID: {}", descriptor.digest())),
                }
            }
            let address = self
                .layout
                .address_of(name.as_ref().map(AsRef::as_ref), Some(descriptor.digest()))
                .with_context(|| from.clone())?;
            print_line(&address.to_string())?;
        }
        Ok(())
    }

    fn load(&self, input: impl io::Read, from: &str) -> Result<Vec<Loaded>> {
        let layout = Layout::create(&self.layout.path())?;
        let writer = layout.writer()?;
        let (loaded, _) = load(input, &writer).with_context(|| from.to_owned())?;
        Ok(loaded)
    }
}
