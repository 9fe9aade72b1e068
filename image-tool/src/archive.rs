//! Images as one tarball, for carrying by hand: docker-archive and oci-archive.
//!
//! [`save`](save::save) writes them as a stream, [`load`](load::load) reads them in one pass, from a pipe too.

pub mod load;
pub mod save;

use std::path::PathBuf;

use crate::layer::entry;
use crate::layout;

/// What is wrong with an archive, or why it could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The layout that is read or written.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// It is no tar archive.
    #[error(transparent)]
    Tar(#[from] entry::Error),
    /// Writing it failed.
    #[error("write the archive")]
    Write(#[source] std::io::Error),
    /// The stream cannot be read.
    #[error(transparent)]
    Stream(#[from] crate::layer::Error),
    /// It holds no image in a form that anybody writes.
    #[error("no image in the archive (neither docker's manifest.json nor an index.json of an OCI layout)")]
    NoImage,
    /// A document in it is not what it should be.
    #[error("{path:?}: {reason}")]
    Malformed {
        /// The file in the archive.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file that is named in it is not there.
    #[error("{path:?}: not in the archive")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There are more files than any real archive has.
    #[error("more than {limit} files")]
    TooMany {
        /// The most that is accepted.
        limit: usize,
    },
    /// A layer is not the one that the config names.
    #[error("layer {path:?}: diff id: expected {expected}, got {actual}")]
    DiffId {
        /// The layer's file.
        path: PathBuf,
        /// By the config.
        expected: String,
        /// By the bytes.
        actual: String,
    },
}

/// The forms of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `docker load`, `podman load`, `skopeo copy docker-archive:` and, since it is an OCI layout too, all others.
    Docker,
    /// An OCI layout in a tarball, with indexes whole.
    Oci,
}
