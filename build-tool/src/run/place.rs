//! Mount points: where they are, and how a layer of empty ones is made.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use image_tool::error::{During, Io};

use crate::source::files;

/// A mount point.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The absolute path in the root file system.
    pub(super) path: String,
    /// Whether it is a file; otherwise it is a directory.
    pub(super) is_file: bool,
}

impl Place {
    pub(super) fn directory(path: &str) -> Self {
        Self { path: path.to_owned(), is_file: false }
    }

    /// The path relative to the root.
    pub(super) fn relative(&self) -> PathBuf {
        files::inside(&self.path)
    }
}

/// The files of every container: their names in a folder of the build, and where they are mounted.
pub(super) const FILES: [(&str, &str); 2] = [("resolv.conf", "/etc/resolv.conf"), ("hosts", "/etc/hosts")];

/// The mount points that every container has.
pub(super) fn places() -> Vec<Place> {
    let mut places = ["/proc", "/dev", "/sys"].map(Place::directory).to_vec();
    places.extend(FILES.map(|(_, path)| Place { path: path.to_owned(), is_file: true }));
    places
}

/// Creates an empty file or directory at `place`, and the directories above it.
pub(super) fn stub(stubs: &Path, place: &Path, is_file: bool) -> Result<(), Io> {
    let mut path = stubs.to_owned();
    for name in place.components() {
        path.push(name);
        let last = path == stubs.join(place);
        let made = if is_file && last { File::create_new(&path).map(drop) } else { fs::create_dir(&path) };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other.during("create", &path)?,
        }
        let mode = if is_file && last { 0o644 } else { 0o755 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).during("chmod", &path)?;
    }
    Ok(())
}
