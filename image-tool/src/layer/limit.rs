//! How large what is read may be, where a person says so. Otherwise the limits are those that no real image comes near.

use thiserror::Error;

use super::apply::ENTRIES;
use super::stream::default_limit;

/// The limits of an image or an archive of images.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// The size of a layer's archive, or of a file in an archive of images, in bytes.
    pub size: Option<u64>,
    /// The number of entries in a layer, or of files in an archive of images.
    pub entries: Option<u64>,
    /// The number of layers of an image.
    pub layers: Option<usize>,
}

/// An image has too many layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{found} layers are more than {limit}")]
pub struct TooManyLayers {
    /// How many it has.
    pub found: usize,
    /// How many it may have.
    pub limit: usize,
}

impl Limits {
    /// The largest archive that a blob of a size may hold.
    #[must_use]
    pub fn archive(&self, blob: u64) -> u64 {
        self.size.unwrap_or_else(|| default_limit(blob))
    }

    /// The most entries that a layer may have.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries.unwrap_or(ENTRIES)
    }

    /// Whether an image may have so many layers.
    ///
    /// # Errors
    /// [`TooManyLayers`].
    pub fn check(&self, found: usize) -> Result<(), TooManyLayers> {
        match self.layers {
            Some(limit) if found > limit => Err(TooManyLayers { found, limit }),
            _ => Ok(()),
        }
    }
}
