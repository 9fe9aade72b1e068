//! Cache mounts: directories that persist from build to build, `builds/mounts/HEX`, named by the digest of their id.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use image_tool::address::digest;
use image_tool::beneath::Root;
use image_tool::error::{During, Io};
use rustix::fs::FlockOperation;

use crate::cache::Cache;
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

/// Returns the directory of a cache mount, created and filled if it is new, and the lock to hold while it is used.
pub fn directory(
    cache: &Cache,
    id: &str,
    sharing: Sharing,
    owner: Owner,
    seed: Option<Seed>,
) -> Result<(PathBuf, File), Io> {
    let base = cache.path().join("mounts").join(digest::sha256(id.as_bytes()).digest());
    for number in 0.. {
        let path = if number == 0 { base.clone() } else { base.with_extension(number.to_string()) };
        let Some(lock) = lock(&path, sharing).during("lock", &path)? else { continue };
        let data = path.join("data");
        if !data.exists() {
            make(&path, &data, owner, seed).during("create", &data)?;
        }
        return Ok((data, lock));
    }
    unreachable!("there is no end to numbers")
}

/// Locks a directory as its sharing requires; `None` if it is private and in use.
fn lock(path: &Path, sharing: Sharing) -> io::Result<Option<File>> {
    fs::create_dir_all(path)?;
    let file = File::open(path)?;
    let operation = match sharing {
        Sharing::Shared => FlockOperation::LockShared,
        Sharing::Locked => FlockOperation::LockExclusive,
        Sharing::Private => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn make(path: &Path, data: &Path, owner: Owner, seed: Option<Seed>) -> io::Result<()> {
    let temporary = tempfile::Builder::new().prefix(".new-").tempdir_in(path)?;
    let fresh = temporary.path().join("data");
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, Permissions::from_mode(owner.mode.unwrap_or(0o755)))?;
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
        // Another build that shares the cache was faster.
        Err(_) if data.exists() => Ok(()),
        other => other,
    }
}
