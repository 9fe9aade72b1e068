//! Images in a tar archive: docker-archive and oci-archive.
//!
//! [`save`](save::save) writes an archive as a stream; [`load`](load::load) reads one in a single pass, even from a
//! pipe. The room may know `address`, `layer` and `layout`.

pub mod load;
pub mod save;

use std::path::PathBuf;

use crate::address::digest::Digest;
use crate::layer::entry;
use crate::layer::limit::TooManyLayers;
use crate::layout;

/// Why an archive could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The layout could not be read or written.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The stream is not a tar archive.
    #[error(transparent)]
    Tar(#[from] entry::Error),
    /// The archive could not be written.
    #[error("write the archive")]
    Write(#[source] std::io::Error),
    /// The stream is not compressed in a supported way, or could not be read.
    #[error(transparent)]
    Stream(#[from] crate::layer::Error),
    /// The archive contains no image in a known format.
    #[error("no image in the archive (neither docker's manifest.json nor an index.json of an OCI layout)")]
    NoImage,
    /// The archive's list of images is empty.
    #[error("no image in the archive ({path:?} lists none)")]
    Unnamed {
        /// The path of the list in the archive.
        path: PathBuf,
    },
    /// A document in the archive is malformed.
    #[error("{path:?}: {reason}")]
    Malformed {
        /// The path of the file in the archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive refers to a file that it does not contain.
    #[error("{path:?}: not in the archive")]
    Missing {
        /// The path of the missing file.
        path: PathBuf,
    },
    /// The archive has more files than any real one.
    #[error("more than {limit} files")]
    TooMany {
        /// The maximum number of files.
        limit: usize,
    },
    /// An image has more layers than it may have.
    #[error("manifest {digest}")]
    Layers {
        /// The digest of the manifest.
        digest: Digest,
        /// How many it has.
        source: TooManyLayers,
    },
    /// A layer does not have the diff ID that the config gives it.
    #[error("layer {path:?}: diff id: expected {expected}, got {actual}")]
    DiffId {
        /// The path of the layer in the archive.
        path: PathBuf,
        /// The diff ID in the config.
        expected: String,
        /// The digest of the archive in the layer.
        actual: String,
    },
}

/// The formats of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For `docker load`, `podman load` and `skopeo copy docker-archive:`. It is also an OCI layout, for all other
    /// readers.
    Docker,
    /// An OCI layout in a tar archive, with whole indexes.
    Oci,
}
