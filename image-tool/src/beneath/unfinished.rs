//! Folders in the making: filled beside their place, renamed to it when they are complete, and removed by whoever comes next if
//! their maker was killed.
//!
//! The maker holds a lock (flock(2)) on the folder, which ends with its process. A folder has the name that [`Unfinished::sweep`]
//! looks for only after it is locked, so what is found without a lock belongs to nobody.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags};

use super::remove::remove;
use crate::error::{During, Io};

/// How many random characters a name ends in.
const RANDOM: usize = 6;
/// Before a folder is locked, its name begins with this. Its maker needs a moment, not a minute.
const UNLOCKED: &str = ".new";
const MOMENT: Duration = Duration::from_secs(60);

/// A folder that is not complete. Dropped, it is removed.
#[derive(Debug)]
pub struct Unfinished {
    parent: PathBuf,
    path: PathBuf,
    lock: Option<File>,
}

impl Unfinished {
    /// Makes a folder in `parent` whose name begins with `prefix`, a dot and a word; `mode` is subject to the umask.
    ///
    /// # Errors
    /// [`Io`].
    pub fn create(parent: &Path, prefix: &str, mode: u32) -> Result<Self, Io> {
        let made = tempfile::Builder::new()
            .prefix(&format!("{UNLOCKED}{prefix}"))
            .rand_bytes(RANDOM)
            .permissions(fs::Permissions::from_mode(mode))
            .tempdir_in(parent)
            .during("create a folder in", parent)?;
        let lock = File::open(made.path()).during("open", made.path())?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).during("lock", made.path())?;
        let name = made.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = parent.join(name.trim_start_matches(UNLOCKED));
        rename(made.path(), &path).during("rename", made.path())?;
        // It has another name now, under which it is ours.
        let _ = made.keep();
        Ok(Self { parent: parent.to_path_buf(), path, lock: Some(lock) })
    }

    /// Where it is until it is complete.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the complete folder its name.
    ///
    /// # Errors
    /// [`Io`], of kind `AlreadyExists` if the name is taken; the folder is removed then.
    pub fn finish(mut self, target: &Path) -> Result<(), Io> {
        rename(&self.path, target).during("rename", target)?;
        self.lock = None;
        Ok(())
    }

    /// Removes the folders in `parent` that killed processes of this user left. What cannot be removed is left to the next.
    pub fn sweep(parent: &Path, prefix: &str) {
        let Ok(entries) = fs::read_dir(parent) else { return };
        let unlocked = format!("{UNLOCKED}{prefix}");
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(text) = name.to_str() else { continue };
            let is_ours = |prefix: &str| {
                let random = text.strip_prefix(prefix);
                random.is_some_and(|random| {
                    random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
                })
            };
            let is_locked_kind = is_ours(prefix);
            if !is_locked_kind && !is_ours(&unlocked) {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(folder) = rustix::fs::open(entry.path(), flags, Mode::empty()).map(File::from) else { continue };
            let Ok(metadata) = folder.metadata() else { continue };
            if metadata.uid() != rustix::process::geteuid().as_raw() {
                continue;
            }
            if !is_locked_kind {
                // Empty, and its maker is long gone.
                if metadata.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > MOMENT) {
                    let _ = rustix::fs::unlinkat(CWD, entry.path(), AtFlags::REMOVEDIR);
                }
                continue;
            }
            if rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
                && let Ok(parent) = File::open(parent)
            {
                let _ = remove(parent, &name);
            }
        }
    }
}

/// Renames a folder to a name that is free.
fn rename(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system does not know the flag; an empty folder is all that could be lost.
        Err(rustix::io::Errno::INVAL) => rustix::fs::renameat(CWD, from, CWD, to),
        other => other,
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What cannot be removed is swept by the next. The lock ends after that, with the descriptor.
        if self.lock.is_some()
            && let (Ok(parent), Some(name)) = (File::open(&self.parent), self.path.file_name())
        {
            let _ = remove(parent, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_dropped_vanishes_and_what_is_finished_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let unfinished = Unfinished::create(folder.path(), ".x-", 0o755).unwrap();
        fs::write(unfinished.path().join("file"), "").unwrap();
        Unfinished::sweep(folder.path(), ".x-");
        assert!(unfinished.path().join("file").exists(), "its maker lives");
        let other = Unfinished::create(folder.path(), ".x-", 0o755).unwrap();
        unfinished.finish(&folder.path().join("done")).unwrap();
        let error = other.finish(&folder.path().join("done")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(names(folder.path()), ["done"]);
    }

    #[test]
    fn only_what_nobody_holds_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let left = Unfinished::create(folder.path(), ".x-", 0o755).unwrap();
        fs::create_dir(left.path().join("below")).unwrap();
        // As if the process had been killed: the lock is gone, the folder stays.
        let mut left = std::mem::ManuallyDrop::new(left);
        drop(left.lock.take());
        for name in [".x-mine", ".x-toolong", "x-abcdef", ".newx-abcdef"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("/etc", folder.path().join(".x-linked")).unwrap();
        Unfinished::sweep(folder.path(), ".x-");
        assert_eq!(names(folder.path()), [".newx-abcdef", ".x-linked", ".x-mine", ".x-toolong", "x-abcdef"]);
    }
}
