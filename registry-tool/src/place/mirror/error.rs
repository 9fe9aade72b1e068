//! Why a configuration of registries cannot be used.

use std::path::PathBuf;

use image_tool::error::Io;
use thiserror::Error;

/// Why a configuration cannot be used, or forbids what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// A file is there but cannot be read.
    #[error(transparent)]
    Io(#[from] Io),
    /// The file is not what its format demands.
    #[error("{}: {reason}", path.display())]
    Syntax {
        /// The path of the file.
        path: PathBuf,
        /// Where in the file, and what is wrong, on one line.
        reason: String,
    },
    /// registries.conf says `blocked = true`.
    #[error("registry {prefix} is blocked in {}", path.display())]
    Blocked {
        /// The prefix in registries.conf that matches the name.
        prefix: String,
        /// The path of the file that says so.
        path: PathBuf,
    },
    /// A name that registries.conf rewrites is not valid any more.
    #[error("{}: location {location:?} does not make a valid image name", path.display())]
    Location {
        /// What was to replace the prefix.
        location: String,
        /// The path of the file that says so.
        path: PathBuf,
    },
}
