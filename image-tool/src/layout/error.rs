//! Why an operation on a layout failed.

use std::path::PathBuf;

use crate::address::Address;
use crate::address::digest::{self, Digest};
use crate::error::Io;

/// Why an operation on a layout failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] Io),
    /// No layout exists at the path.
    #[error("{}: no image layout here ('registry-tool pull' and 'image-tool load' create one)", .path.display())]
    NoLayout {
        /// The path.
        path: PathBuf,
    },
    /// The folder contains something other than a layout.
    #[error("{}: not an image layout: {reason}", .path.display())]
    NotALayout {
        /// The path.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A JSON document does not match its media type.
    #[error("{what}: {reason}")]
    Malformed {
        /// The document: a file name, or a kind and a digest.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob does not exist.
    #[error("blob {digest}: missing")]
    MissingBlob {
        /// The digest of the blob.
        digest: Digest,
    },
    /// A blob does not match its descriptor, or its digest algorithm is not supported.
    #[error("blob {digest}")]
    BadBlob {
        /// The digest of the blob.
        digest: Digest,
        /// The mismatch.
        source: digest::Error,
    },
    /// A blob is larger than the limit for its kind.
    #[error("blob {digest}: {size} bytes exceed the limit of {limit} for this kind of document")]
    TooLarge {
        /// The digest of the blob.
        digest: Digest,
        /// The size in its descriptor, in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// No image has this name, digest or ID.
    #[error("{address}: no such image ({})", pull_hint(.address))]
    NoSuchImage {
        /// The address.
        address: Address,
    },
    /// Several images match the address.
    #[error("{address}: {} images match (choose one: {})", .candidates.len(), .candidates.join(" "))]
    Ambiguous {
        /// The address.
        address: Address,
        /// The addresses of the matching images.
        candidates: Vec<String>,
    },
    /// The index has no manifest for the platform.
    #[error("{address}: no image for {wanted} ({})", available(.offered))]
    NoPlatform {
        /// The address of the image.
        address: Address,
        /// The requested platform.
        wanted: String,
        /// The available platforms.
        offered: Vec<String>,
    },
    /// Another process is writing or collecting garbage, and the caller did not want to wait.
    #[error("{}: in use by another process", .path.display())]
    Busy {
        /// The path of the layout.
        path: PathBuf,
    },
}

/// What there is for other platforms.
fn available(offered: &[String]) -> String {
    if offered.is_empty() {
        "its index names no platform".to_owned()
    } else {
        format!("available: {}", offered.join(", "))
    }
}

fn pull_hint(address: &Address) -> String {
    match (address.reference(), address.layout()) {
        (Some(reference), "") => format!("registry-tool pull {reference}"),
        (Some(reference), layout) => format!("registry-tool pull {reference} {layout}"),
        (None, "") => "image-tool list shows what there is".to_owned(),
        (None, layout) => format!("image-tool list {layout} shows what there is"),
    }
}
