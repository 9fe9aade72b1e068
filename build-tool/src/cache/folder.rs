//! Temporary folders beside the step cache, on its file system, and the removal of what killed builds left in them.

use std::fs;
use std::io;
use std::path::Path;

use image_tool::error::{During, Io};
use rustix::fs::FlockOperation;

/// What the names of these folders begin with.
const TEMPORARY: &str = ".step-";

/// A temporary folder of a build.
#[derive(Debug)]
pub struct Folder {
    folder: tempfile::TempDir,
    _lock: fs::File,
}

impl Folder {
    /// A new one, locked as long as it is in use: one without a lock is left from a build that was killed.
    pub fn new(builds: &Path) -> Result<Self, Io> {
        let make = || -> io::Result<Self> {
            let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(builds)?;
            let lock = fs::File::open(folder.path())?;
            rustix::fs::flock(&lock, FlockOperation::LockShared)?;
            Ok(Self { folder, _lock: lock })
        };
        make().during("create a folder in", builds)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Remove what killed builds left; `end` ends what such a build still has running in its folder.
pub fn sweep(builds: &Path, end: impl Fn(&Path)) {
    let Ok(entries) = fs::read_dir(builds) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
        let Ok(folder) = fs::File::open(entry.path()) else { continue };
        // A folder is younger than its lock for a moment.
        let young = folder
            .metadata()
            .and_then(|data| data.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() < 60));
        if !young && rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            end(&entry.path());
            // What cannot be removed now will be tried again by the next build.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
