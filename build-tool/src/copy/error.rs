//! Why a copy cannot be made.

use std::io;
use std::path::PathBuf;

use image_tool::layer::{diff, entry};

use crate::source::{download, files, git};
use crate::stage::tree;

/// Why a copy cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A source is missing or cannot be read.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// A URL cannot be fetched.
    #[error(transparent)]
    Download(#[from] download::Error),
    /// A repository cannot be fetched.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// The destination cannot be resolved.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// A directory would replace something that is not one.
    #[error("{}: a directory cannot replace {what} (copy to where it leads)", .path.display())]
    OverOther {
        /// The path in the image.
        path: PathBuf,
        /// What is there: `a file`, `a symbolic link`.
        what: &'static str,
    },
    /// A file would replace a directory.
    #[error("{}: a file cannot replace a directory", .0.display())]
    OverDirectory(PathBuf),
    /// An archive has a hard link to a file that it does not hold.
    #[error("{}: a hard link to {}, which the archive does not hold", .path.display(), .target.display())]
    Link {
        /// The path of the link in the image.
        path: PathBuf,
        /// The path that it leads to.
        target: PathBuf,
    },
    /// The name marks a deletion (`.wh.…`).
    #[error("{}: cannot be in a layer: its name would read as a deletion", .0.display())]
    Whiteout(PathBuf),
    /// The file was written to while it was copied.
    #[error("{}: changed while it was read", .0.display())]
    Changed(PathBuf),
    /// The archive cannot be unpacked.
    #[error("{name}")]
    Archive {
        /// The archive's path or URL.
        name: String,
        /// What is wrong with it.
        source: entry::Error,
    },
    /// A source cannot be read.
    #[error("read {name}")]
    Read {
        /// The source's name, or the entry's.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The layer cannot be written.
    #[error("write the layer")]
    Write(#[source] io::Error),
}

impl From<diff::Error> for Error {
    fn from(error: diff::Error) -> Self {
        Self::Write(io::Error::other(error))
    }
}
