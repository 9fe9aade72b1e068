//! Temporary folders on the step cache's file system, and the removal of those that killed builds left behind.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
            // While this is held, nobody takes the new folder for one that was left behind.
            let _all = lock(fs::File::open(builds)?, FlockOperation::LockShared)?;
            let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(builds)?;
            let lock = lock(fs::File::open(folder.path())?, FlockOperation::LockShared)?;
            Ok(Self { folder, _lock: lock })
        };
        make().during("create a folder in", builds)
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn lock(file: fs::File, operation: FlockOperation) -> io::Result<fs::File> {
    loop {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Removes what killed builds left behind. `end` is called first: it ends a container that still runs in the folder.
pub fn sweep(builds: &Path, end: impl Fn(&Path)) {
    // If a folder cannot be removed now, the next build tries again.
    for (path, _lock) in abandoned(builds).unwrap_or_default() {
        end(&path);
        let _ = fs::remove_dir_all(path);
    }
}

/// The folders that nobody has locked, locked now.
fn abandoned(builds: &Path) -> io::Result<Vec<(PathBuf, fs::File)>> {
    let _all = lock(fs::File::open(builds)?, FlockOperation::LockExclusive)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(builds)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let Ok(folder) = fs::File::open(entry.path()) else { continue };
            found.extend(lock(folder, FlockOperation::NonBlockingLockExclusive).ok().map(|lock| (entry.path(), lock)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_that_nobody_holds_are_swept() {
        let builds = tempfile::tempdir().unwrap();
        let held = Folder::new(builds.path()).unwrap();
        let left = builds.path().join(format!("{TEMPORARY}left"));
        fs::create_dir_all(left.join("rootfs")).unwrap();
        let ended = std::cell::RefCell::new(Vec::new());
        sweep(builds.path(), |path| ended.borrow_mut().push(path.to_owned()));
        assert_eq!(*ended.borrow(), std::slice::from_ref(&left));
        assert!(!left.exists() && held.path().exists());
    }
}
