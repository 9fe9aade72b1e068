//! What commands that create images share: compression, time, and the name.

use anyhow::{Context, Result};
use clap::ValueEnum;
use image_tool::address::{Address, RefName};
use image_tool::layer::Compression;
use image_tool::layer::pack::Format;
use image_tool::layout::{Image, Writer};
use image_tool::program::pipe;
use jiff::Timestamp;
use oci_spec::image::Descriptor;

/// Gives a new image its name, or else the name of the old one, and prints its address.
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
    pipe::print_line(&new.with_digest(&digest).to_string())
}

/// The value of SOURCE_DATE_EPOCH (reproducible-builds.org).
pub(super) fn source_date_epoch() -> Result<Option<i64>> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .parse()
            .map(Some)
            .with_context(|| format!("SOURCE_DATE_EPOCH: {text:?} is not a valid number of seconds")),
        Err(_) => Ok(None),
    }
}

/// The time of an image in seconds since 1970, or 0. A changed image keeps it, since the clock would make equal input give
/// unequal images.
pub(super) fn created(image: &Image) -> Result<i64> {
    let config: serde_json::Value = serde_json::from_slice(image.config_bytes())?;
    let time = config["created"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    Ok(time.map_or(0, Timestamp::as_second))
}

/// The compression of a new layer.
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

/// The form of converted layers.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    None,
    Gzip,
    Zstd,
    /// Gzip whose files lazy pullers read one by one (containerd with stargz-snapshotter).
    Estargz,
    /// Zstd whose files lazy pullers read one by one (podman, CRI-O).
    #[value(name = "zstd:chunked")]
    ZstdChunked,
}

impl From<Form> for Format {
    fn from(form: Form) -> Self {
        match form {
            Form::None => Compression::None.into(),
            Form::Gzip => Compression::Gzip.into(),
            Form::Zstd => Compression::Zstd.into(),
            Form::Estargz => Self::Estargz,
            Form::ZstdChunked => Self::ZstdChunked,
        }
    }
}
