//! Why an operation beneath a root failed.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::error::Io;

/// Why an operation beneath a root failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed; the path is relative to the root.
    #[error(transparent)]
    Io(#[from] Io),
    /// The path contains `..`, which tools do not write and attacks do.
    #[error("path {path:?} contains \"..\"")]
    DotDot {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path is the root itself, but a file in it was expected.
    #[error("path {path:?} does not name a file")]
    Nameless {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file is not a regular one. Reading from a FIFO could block, and reading from a device could have any effect.
    #[error("{path:?} is not a regular file")]
    NotRegular {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file is larger than the limit of its reader.
    #[error("{path:?} is larger than {limit} bytes")]
    TooLarge {
        /// The path as it was given.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The path has a circle of symbolic links, or more of them than the kernel follows.
    #[error("{path:?} has too many symbolic links")]
    Loop {
        /// The path as it was given.
        path: PathBuf,
    },
}

impl Error {
    /// The error number, if a system call failed.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io(refused) => Errno::from_io_error(&refused.source),
            _ => None,
        }
    }

    /// Whether the file does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NOTDIR))
    }
}

/// The result of an operation beneath a root.
pub type Result<T> = std::result::Result<T, Error>;
