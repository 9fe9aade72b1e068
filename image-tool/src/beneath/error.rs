//! Why an operation beneath a root did not happen.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::error::Io;

/// Why an operation beneath a root did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a call; the path is as seen from the root.
    #[error(transparent)]
    Io(#[from] Io),
    /// The path has a `..`, which no tool writes and only an attack needs.
    #[error("path {path:?} contains \"..\"")]
    DotDot {
        /// The path.
        path: PathBuf,
    },
    /// The path names the root itself where something in it is needed.
    #[error("path {path:?} does not name a file")]
    Nameless {
        /// The path.
        path: PathBuf,
    },
    /// A regular file was wanted; a FIFO would hang its reader and a device could do anything.
    #[error("{path:?} is not a regular file")]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// The file is larger than its reader is ready for.
    #[error("{path:?} is larger than {limit} bytes")]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// The most that was accepted.
        limit: u64,
    },
    /// Links lead in a circle, or through more of them than the kernel would follow.
    #[error("{path:?} has too many symbolic links")]
    Loop {
        /// The path.
        path: PathBuf,
    },
}

impl Error {
    /// The kernel's reason, if the kernel refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io(refused) => Errno::from_io_error(&refused.source),
            _ => None,
        }
    }

    /// Whether the reason is that there is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NOTDIR))
    }
}

/// The result of an operation beneath a root.
pub type Result<T> = std::result::Result<T, Error>;
