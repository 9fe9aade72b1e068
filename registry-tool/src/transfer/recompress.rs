//! An image copied with its layers in another compression. They have other digests then, so nothing can be streamed: the image is
//! pulled into a layout beside others' temporary files, converted there as `image-tool convert` does, and pushed.

use std::path::Path;

use image_tool::address::{self, Address, RefName};
use image_tool::beneath::Unfinished;
use image_tool::edit::{append, convert};
use image_tool::error::Io;
use image_tool::layer::limit::Limits;
use image_tool::layout::{self, Layout};
use thiserror::Error;

use super::batch::Stopped;
use super::copy::Order;
use super::pull::{self, PullError};
use super::push::{self, PushError, Pushed};
use crate::question::round::Round;

/// Why an image was not copied.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecompressError {
    /// It did not arrive.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// A layer cannot be converted.
    #[error("{name}")]
    Convert {
        /// The image as it was typed.
        name: String,
        /// Why.
        source: append::Error,
    },
    /// It was not sent.
    #[error("{name}")]
    Push {
        /// The new name as it was typed.
        name: String,
        /// Why.
        source: Box<PushError>,
    },
    /// There is no room for the layout.
    #[error(transparent)]
    Io(#[from] Io),
    /// The folder for temporary files has a name that no address can have.
    #[error("$TMPDIR")]
    Folder(#[from] address::Error),
    /// The work was torn down from outside.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// How the names of layouts for this begin.
const PREFIX: &str = ".registry-tool-copy-";
/// Blobs larger than this many bytes are sent in chunks.
const CHUNK: u64 = 128 << 20;

/// Copies an image whose layers become what `packing` says. The layout in `folder` is gone afterwards; those of killed
/// processes are removed. Referrers are not copied: they are about another image.
///
/// # Errors
/// [`RecompressError`].
pub async fn recompress(
    order: &Order<'_>,
    packing: image_tool::layer::pack::Packing,
    folder: &Path,
    (from, to): (Round<'_>, Round<'_>),
) -> Result<Pushed, RecompressError> {
    Unfinished::sweep(folder, PREFIX);
    let place = Unfinished::create(folder, PREFIX, 0o700)?;
    let path = place.path().join("images");
    let name: RefName = "image".parse()?;
    let address = Address::new(&path.to_string_lossy(), Some(name.clone()), None)?;
    pull::pull(&pulling(order, &address), from).await?;
    let conversion = convert::Conversion { packing, limits: Limits::default() };
    let converted = tokio::task::spawn_blocking({
        let address = address.clone();
        move || convert_in(&address, &name, conversion)
    });
    converted
        .await
        .map_err(|_| Stopped)?
        .map_err(|source| RecompressError::Convert { name: order.source.typed().to_owned(), source })?;
    let pushing = push::Order {
        address: &address,
        name: order.target,
        more_tags: order.more_tags,
        format: order.format,
        jobs: order.jobs,
        chunk: CHUNK,
        mount_from: Vec::new(),
        watcher: order.watcher.clone(),
    };
    let pushed = push::push(&pushing, to).await;
    pushed.map_err(|source| RecompressError::Push { name: order.target.typed().to_owned(), source: Box::new(source) })
}

fn pulling<'a>(order: &'a Order<'_>, address: &'a Address) -> pull::Order<'a> {
    pull::Order {
        name: order.source,
        target: Some(address),
        choice: order.choice.clone(),
        policy: order.policy.clone(),
        is_trusted: false,
        jobs: order.jobs,
        store: None,
        limits: Limits::default(),
        watcher: order.watcher.clone(),
    }
}

/// Converts the image of an address, which leads to the converted one then.
fn convert_in(address: &Address, name: &RefName, conversion: convert::Conversion) -> Result<(), append::Error> {
    let layout = Layout::of(address)?;
    let writer = layout.writer()?;
    let top = convert::convert_all(&layout, &layout.resolve(address)?, &writer, conversion)?;
    let published: Result<(), layout::Error> = writer.publish(name, top);
    Ok(published?)
}
