//! Configuration files: where the user's are, and that one which is not there configures nothing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use image_tool::error::{During as _, Io};

/// The path that an environment variable names; an empty one names none.
pub(super) fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The user's folder of configurations (`$XDG_CONFIG_HOME`, else ~/.config).
pub(super) fn user_folder() -> Option<PathBuf> {
    variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")))
}

/// The contents of a file, if it is there.
///
/// # Errors
/// One that is there must be readable: what it forbids must not be allowed because of that.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Io> {
    if_there(std::fs::read(path)).during("read", path)
}

/// What was opened; `None` if there is no such file or folder.
pub(super) fn if_there<T>(found: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match found {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        other => other.map(Some),
    }
}
