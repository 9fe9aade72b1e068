//! Cache mounts: directories that persist from build to build, `builds/mounts/HEX`. Each has a name, the digest of what
//! tells it from others: its id, what it is filled from, and the owner and mode that it is made with.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use image_tool::address::digest;
use image_tool::beneath::Root;
use image_tool::error::{During, Io};
use rustix::fs::FlockOperation;

use super::error::Error;
use super::interrupt::Interrupt;
use crate::cache::{Cache, Key};
use crate::dockerfile::mount::{Owner, Sharing};
use crate::source::files::Files;
use crate::source::ignore::Ignore;
use crate::stage::snapshot;

/// What a new cache mount is filled with.
#[derive(Debug)]
pub struct Seed {
    /// The directories of the layers, the lowest first.
    pub lower: Vec<PathBuf>,
    /// A path in the layers.
    pub path: String,
}

/// The name of a cache. `from` is the key of what it is filled from, and the path there.
pub fn name(id: &str, from: Option<(&str, &str)>, owner: Owner) -> String {
    if from.is_none() && owner == Owner::default() {
        return digest::sha256(id.as_bytes()).digest().to_owned();
    }
    let mut key = Key::builder("cache mount");
    key.add(id);
    if let Some((from, path)) = from {
        key.add(from).add(path);
    }
    if owner != Owner::default() {
        let numbers = [owner.uid.unwrap_or(0), owner.gid.unwrap_or(0), owner.mode.unwrap_or(MODE)];
        key.list(numbers.map(u32::to_le_bytes));
    }
    key.finish().hex().to_owned()
}

/// The mode of a new cache.
const MODE: u32 = 0o755;

/// A cache mount, locked for as long as the value lives.
#[derive(Debug)]
pub struct CacheMount {
    path: PathBuf,
    _lock: File,
}

impl CacheMount {
    /// Locks the cache of that name as its sharing requires, and makes it if it is not there. One that is locked by
    /// another command is waited for until the build is interrupted.
    pub fn lock(cache: &Cache, name: &str, sharing: Sharing, interrupt: &Interrupt) -> Result<Self, Error> {
        let base = cache.path().join("mounts").join(name);
        for number in 0.. {
            let path = if number == 0 { base.clone() } else { base.with_extension(number.to_string()) };
            if let Some(lock) = lock(&path, sharing, interrupt)? {
                return Ok(Self { path, _lock: lock });
            }
        }
        unreachable!("there is no end to numbers")
    }

    /// The directory to mount.
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Whether the directory must still be made.
    pub fn is_new(&self) -> bool {
        !self.data().exists()
    }

    /// Makes and fills the directory.
    pub fn fill(&self, owner: Owner, seed: Option<Seed>) -> Result<(), Io> {
        make(&self.path, &self.data(), owner, seed).during("create", &self.path)
    }
}

/// How often a lock that another command holds is tried. flock(2) itself would wait through an interrupt.
const PAUSE: Duration = Duration::from_millis(100);

/// Locks a directory as its sharing requires; `None` if it is private and in use.
fn lock(path: &Path, sharing: Sharing, interrupt: &Interrupt) -> Result<Option<File>, Error> {
    // What a command writes may have any owner and mode. Nobody else on this host is to reach it.
    DirBuilder::new().mode(0o700).recursive(true).create(path).during("create", path)?;
    let file = File::open(path).during("open", path)?;
    let operation = match sharing {
        Sharing::Shared => FlockOperation::NonBlockingLockShared,
        Sharing::Locked | Sharing::Private => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if sharing == Sharing::Private => return Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) if interrupt.is_set() => return Err(Error::Interrupted),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            Err(errno) => Err(errno).during("lock", path)?,
        }
    }
}

fn make(path: &Path, data: &Path, owner: Owner, seed: Option<Seed>) -> io::Result<()> {
    let temporary = tempfile::Builder::new().prefix(".new-").tempdir_in(path)?;
    let fresh = temporary.path().join("data");
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, Permissions::from_mode(owner.mode.unwrap_or(MODE)))?;
    std::os::unix::fs::chown(&fresh, Some(owner.uid.unwrap_or(0)), Some(owner.gid.unwrap_or(0)))?;
    if let Some(Seed { lower, path: source }) = seed {
        let root = snapshot::open(lower, temporary.path()).map_err(io::Error::other)?;
        let files = Files::new(root, Ignore::default(), "the mount's from");
        let target = Root::open(&fresh).map_err(io::Error::other)?;
        for source in files.sources(&source).map_err(io::Error::other)? {
            for found in files.walk(&source, &Ignore::default()).map_err(io::Error::other)? {
                files.copy_to(&found, &target).map_err(io::Error::other)?;
            }
        }
    }
    match fs::rename(&fresh, data) {
        // Another command that shares the cache was faster.
        Err(_) if data.exists() => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_caches_apart() {
        let plain = name("a", None, Owner::default());
        assert_eq!(plain, digest::sha256(b"a").digest());
        let with = |uid, gid, mode| name("a", None, Owner { uid, gid, mode });
        assert_eq!(with(Some(1), None, None), with(Some(1), Some(0), Some(0o755)));
        let all = [
            plain,
            name("b", None, Owner::default()),
            name("a", Some(("k", "/")), Owner::default()),
            name("a", Some(("l", "/")), Owner::default()),
            name("a", Some(("k", "/x")), Owner::default()),
            with(Some(1), None, None),
            with(None, Some(1), None),
            with(None, None, Some(0o700)),
        ];
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn a_private_cache_in_use_gets_a_sibling_and_a_locked_one_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let interrupt = Interrupt::default();
        let held = lock(&path, Sharing::Private, &interrupt).unwrap().unwrap();
        assert!(lock(&path, Sharing::Private, &interrupt).unwrap().is_none());
        interrupt.set();
        assert!(matches!(lock(&path, Sharing::Locked, &interrupt), Err(Error::Interrupted)));
        drop(held);
        let _one = lock(&path, Sharing::Shared, &interrupt).unwrap().unwrap();
        let _two = lock(&path, Sharing::Shared, &interrupt).unwrap().unwrap();
    }
}
