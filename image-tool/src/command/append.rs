use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use image_tool::address::RefName;
use image_tool::append::{History, append, layer};
use image_tool::layer::Compression;
use image_tool::layout::Layout;
use image_tool::platform::Platform;

use super::show::named;
use super::{Operand, print_line};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pack {
    None,
    Gzip,
    Zstd,
}

/// Put a layer on top of an image, and print the new image's address.
///
/// The name that the image was given by then means the new one. The time in the new config is $SOURCE_DATE_EPOCH, else that of the
/// layer's youngest file, so that equal input gives an equal image.
#[derive(Args)]
pub(crate) struct Append {
    /// The image.
    address: Operand,
    /// The layer, a tar, plain or compressed with gzip or zstd; - reads it from standard input.
    tar: PathBuf,
    /// Leave the image's name alone and give the new image this one.
    #[arg(long = "ref", value_name = "NAME")]
    reference: Option<RefName>,
    /// How a plain tar is compressed.
    #[arg(long, value_enum, default_value = "gzip")]
    compress: Pack,
    /// What the history says about how the layer was made.
    #[arg(long, value_name = "TEXT", default_value = "image-tool append")]
    created_by: String,
    /// A remark in the history.
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who made the layer, in the history.
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// Of an index, take the image for a platform, as linux/arm64; this machine's if omitted.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
}

impl Append {
    pub(crate) fn run(self) -> Result<()> {
        let stdin = self.tar == Path::new("-");
        if stdin && self.address == Operand::Stdin {
            bail!("- can stand once");
        }
        let address = self.address.address()?;
        let epoch = source_date_epoch()?;
        let input: Box<dyn io::Read> = if stdin {
            if io::stdin().is_terminal() {
                bail!("standard input is a terminal (name a tar, or use a pipe)");
            }
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(&self.tar).with_context(|| self.tar.display().to_string())?)
        };
        let open = || -> Result<_> {
            let layout = Layout::of(&address)?;
            let image = layout.image(&address, &self.platform.unwrap_or_else(Platform::host))?;
            Ok((layout, image))
        };
        let (layout, image) = open().map_err(|error| named(error, &address))?;
        let writer = layout.writer()?;
        let compression = match self.compress {
            Pack::None => Compression::None,
            Pack::Gzip => Compression::Gzip,
            Pack::Zstd => Compression::Zstd,
        };
        let from = || if stdin { "standard input".to_owned() } else { self.tar.display().to_string() };
        let layer = layer(input, &writer, compression).with_context(from)?;
        let history = History {
            created_by: self.created_by,
            comment: self.message,
            author: self.author,
            created: epoch.unwrap_or(layer.latest),
        };
        let descriptor = append(&image, &writer, &layer, &history).with_context(|| address.to_string())?;
        let digest = descriptor.digest().clone();
        let new = match self.reference.as_ref().or(address.reference()) {
            Some(reference) => {
                writer.publish(reference, descriptor)?;
                address.with_reference(reference.clone())
            }
            None => {
                layout.update_index(|index| {
                    index.add(&descriptor);
                    Ok(())
                })?;
                address
            }
        };
        print_line(&new.with_digest(&digest).to_string())
    }
}

/// The time that reproducible builds ask for.
fn source_date_epoch() -> Result<Option<i64>> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            text.parse().map(Some).with_context(|| format!("SOURCE_DATE_EPOCH: {text:?} is not a number of seconds"))
        }
        Err(_) => Ok(None),
    }
}
