//! What can be wrong with a layout.

use std::path::PathBuf;

use crate::address::Address;
use crate::address::digest::{self, Digest};
use crate::error::Io;

/// What can be wrong with a layout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused an operation.
    #[error(transparent)]
    Io(#[from] Io),
    /// There is no layout at the path.
    #[error("{}: no image layout here ('registry-tool pull' and 'image-tool load' create one)", .path.display())]
    NoLayout {
        /// Where.
        path: PathBuf,
    },
    /// The folder holds something, but no layout.
    #[error("{}: not an image layout: {reason}", .path.display())]
    NotALayout {
        /// Where.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A JSON document is not what its media type says.
    #[error("{what}: {reason}")]
    Malformed {
        /// Which document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob is missing.
    #[error("blob {digest}: missing")]
    MissingBlob {
        /// Which one.
        digest: Digest,
    },
    /// A blob is not what its descriptor says, or a descriptor is none we can verify.
    #[error("blob {digest}")]
    BadBlob {
        /// Which one.
        digest: Digest,
        /// What is wrong.
        source: digest::Error,
    },
    /// A blob is larger than its kind can reasonably be.
    #[error("blob {digest}: {size} bytes exceed the limit of {limit} for this kind of document")]
    TooLarge {
        /// Which one.
        digest: Digest,
        /// The size that its descriptor says.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// No image has the name.
    #[error("{address}: no such image ({})", pull_hint(.address))]
    NoSuchImage {
        /// The address that was looked up.
        address: Address,
    },
    /// The name fits several images.
    #[error("{address}: {} images match (choose one: {})", .candidates.len(), .candidates.join(" "))]
    Ambiguous {
        /// The address that was looked up.
        address: Address,
        /// The addresses that it may have meant.
        candidates: Vec<String>,
    },
    /// The image has no manifest for the platform.
    #[error("{address}: no image for {wanted} (available: {})", .offered.join(", "))]
    NoPlatform {
        /// The image.
        address: Address,
        /// The platform that was asked for.
        wanted: String,
        /// Those that there are.
        offered: Vec<String>,
    },
    /// Another process is collecting garbage or writing, and we were asked not to wait.
    #[error("{}: in use by another process", .path.display())]
    Busy {
        /// The layout.
        path: PathBuf,
    },
}

fn pull_hint(address: &Address) -> String {
    match (address.reference(), address.layout()) {
        (Some(reference), "") => format!("registry-tool pull {reference}"),
        (Some(reference), layout) => format!("registry-tool pull {reference} {layout}"),
        (None, "") => "image-tool list shows what there is".to_owned(),
        (None, layout) => format!("image-tool list {layout} shows what there is"),
    }
}
