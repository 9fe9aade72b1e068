//! What a transfer tells whoever watches it. The library prints nothing; the program draws bars or writes lines.
//!
//! Reasons and names of repositories come from a registry: whoever shows them escapes them.

use std::sync::Arc;

use oci_spec::image::Descriptor;

use crate::reference::ImageName;

/// One piece of news.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A registry has the image that is to be pulled, or can be reached for a push.
    Found {
        /// The name of the image.
        name: &'a ImageName,
        /// The registry's host and port.
        host: &'a str,
    },
    /// A blob will be transferred.
    Waiting(&'a Descriptor),
    /// This many bytes of a blob have been transferred.
    At(&'a Descriptor, u64),
    /// A blob's transfer failed for this reason, and will be resumed.
    Retrying(&'a Descriptor, &'a str),
    /// A blob has arrived, in this way.
    Done(&'a Descriptor, Outcome<'a>),
}

/// How a blob arrived.
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
    /// The registry mounted it from this other repository.
    Mounted(&'a str),
}

/// Is told of each piece of news, from whichever thread it comes.
pub type Watcher = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Tells nobody.
pub(super) fn nobody() -> Watcher {
    Arc::new(|_| {})
}
