//! What the commands that make images share: how a layer is compressed, which time it gets, and what is printed.

use anyhow::{Context, Result};
use clap::ValueEnum;
use image_tool::address::{Address, RefName};
use image_tool::layer::Compression;
use image_tool::layout::Writer;
use oci_spec::image::Descriptor;

use super::print::print_line;

/// Gives a new image the name it shall have, its own or that of the one it was made from, and prints its address.
pub(super) fn publish(
    writer: &Writer,
    address: &Address,
    reference: Option<RefName>,
    descriptor: Descriptor,
) -> Result<()> {
    let digest = descriptor.digest().clone();
    let new = match reference.or_else(|| address.reference().cloned()) {
        Some(reference) => {
            writer.publish(&reference, descriptor)?;
            address.with_reference(reference)
        }
        None => {
            writer.layout().update_index(|index| {
                index.add(&descriptor);
                Ok(())
            })?;
            address.clone()
        }
    };
    print_line(&new.with_digest(&digest).to_string())
}

/// The time that reproducible builds ask for.
pub(super) fn source_date_epoch() -> Result<Option<i64>> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .parse()
            .map(Some)
            .with_context(|| format!("SOURCE_DATE_EPOCH: {text:?} is not a valid number of seconds")),
        Err(_) => Ok(None),
    }
}

/// How a new layer is compressed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Pack {
    None,
    Gzip,
    Zstd,
}

impl From<Pack> for Compression {
    fn from(pack: Pack) -> Self {
        match pack {
            Pack::None => Self::None,
            Pack::Gzip => Self::Gzip,
            Pack::Zstd => Self::Zstd,
        }
    }
}
