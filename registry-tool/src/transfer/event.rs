//! What a transfer tells whoever watches it. The library prints nothing; the program draws bars or writes lines.

use std::sync::Arc;

use oci_spec::image::Descriptor;

use crate::reference::ImageName;

/// Something happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A registry has answered: that it has the image to pull, or that one may be pushed.
    Found {
        /// The image.
        name: &'a ImageName,
        /// The host.
        host: &'a str,
    },
    /// A blob is to be transferred.
    Waiting(&'a Descriptor),
    /// So many bytes of a blob are across.
    At(&'a Descriptor, u64),
    /// A blob's connection broke; it will go on.
    Retrying(&'a Descriptor, &'a str),
    /// A blob is where it should be.
    Done(&'a Descriptor, Outcome<'a>),
}

/// How a blob came to be where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// The layout had it before.
    Existed,
    /// The registry had it before.
    Held,
    /// It was downloaded.
    Pulled,
    /// It was uploaded.
    Pushed,
    /// The registry took it from this repository of its own.
    Mounted(&'a str),
}

/// Whoever watches a transfer.
pub type Watcher = Arc<dyn Fn(Event<'_>) + Send + Sync>;
