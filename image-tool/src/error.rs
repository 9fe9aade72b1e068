//! The error of an operation that the kernel refused: the operation, the path and the reason.
//!
//! The error enums of other modules include it as a transparent variant, so that all I/O errors of all tools read the
//! same: `open images/index.json: No such file or directory (os error 2)`.

use std::io;
use std::path::{Path, PathBuf};

/// An operation on a path that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", .path.display())]
pub struct Io {
    /// The operation, as a verb: `open`, `read`, `rename`.
    pub operation: &'static str,
    /// The path as it was given to the operation.
    pub path: PathBuf,
    /// The error of the system call.
    pub source: io::Error,
}

impl Io {
    /// An error of `operation` on `path`.
    pub fn new(operation: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self { operation, path: path.as_ref().to_owned(), source: source.into() }
    }

    /// The kind of the system call's error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Adds the operation and the path to an I/O error.
pub trait During<T> {
    /// Adds the operation and the path, as in `.during("open", &path)?`.
    ///
    /// # Errors
    /// The same failure, with the operation and the path.
    fn during(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, Io>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, Io> {
        self.map_err(|error| Io::new(operation, path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_operation_and_the_path_and_leaves_the_reason_to_the_source() {
        let refused: Result<(), _> = Err(rustix::io::Errno::NOENT);
        let error = refused.during("open", "images/index.json").unwrap_err();
        assert_eq!(error.to_string(), "open images/index.json");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(std::error::Error::source(&error).unwrap().to_string().starts_with("No such file or directory"));
    }
}
