//! Temporary folders on the step cache's file system, and the removal of those that killed builds left behind.

use std::fs;
use std::io;
use std::path::Path;

use image_tool::error::{During, Io};
use rustix::fs::FlockOperation;

/// The prefix of these folders' names.
const TEMPORARY: &str = ".step-";

/// A temporary folder of a build, removed when the value is dropped.
#[derive(Debug)]
pub struct Folder {
    folder: tempfile::TempDir,
    _lock: fs::File,
}

impl Folder {
    /// Creates a folder and locks it for as long as it is in use. A folder without a lock was left by a build that was
    /// killed.
    pub fn new(builds: &Path) -> Result<Self, Io> {
        let make = || -> io::Result<Self> {
            let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(builds)?;
            let lock = fs::File::open(folder.path())?;
            rustix::fs::flock(&lock, FlockOperation::LockShared)?;
            Ok(Self { folder, _lock: lock })
        };
        make().during("create a folder in", builds)
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes what killed builds left behind. `end` is called first: it ends a container that still runs in the folder.
pub fn sweep(builds: &Path, end: impl Fn(&Path)) {
    let Ok(entries) = fs::read_dir(builds) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
        let Ok(folder) = fs::File::open(entry.path()) else { continue };
        // A new folder has no lock for a moment.
        let young = folder
            .metadata()
            .and_then(|data| data.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() < 60));
        if !young && rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            end(&entry.path());
            // If it cannot be removed now, the next build tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
