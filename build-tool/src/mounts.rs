//! Cache mounts: directories that live on from build to build, `builds/mounts/HEX`, named by their id.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use image_tool::address::digest;
use rustix::fs::FlockOperation;

use crate::cache::Cache;
use crate::mount::{Owner, Sharing};
use crate::step::Error;

/// The directory of a cache mount, made and filled with `seed` (layers and a path in them) if it is new, and the lock that goes with
/// its use.
pub fn directory(
    cache: &Cache,
    id: &str,
    sharing: Sharing,
    owner: Owner,
    seed: Option<(Vec<PathBuf>, String)>,
) -> Result<(PathBuf, File), Error> {
    let base = cache.path().join("mounts").join(digest::sha256(id.as_bytes()).digest());
    for number in 0.. {
        let path = if number == 0 { base.clone() } else { base.with_extension(number.to_string()) };
        let lock =
            lock(&path, sharing).map_err(|source| Error::Io { operation: "lock", path: path.clone(), source })?;
        let Some(lock) = lock else { continue };
        let data = path.join("data");
        if !data.exists() {
            make(&path, &data, owner, seed).map_err(|source| Error::Io {
                operation: "create",
                path: data.clone(),
                source,
            })?;
        }
        return Ok((data, lock));
    }
    unreachable!("there is no end to numbers")
}

/// Lock a directory as its sharing asks for; `None` if it is private and somebody has it.
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

fn make(path: &Path, data: &Path, owner: Owner, seed: Option<(Vec<PathBuf>, String)>) -> io::Result<()> {
    let temporary = tempfile::Builder::new().prefix(".new-").tempdir_in(path)?;
    let fresh = temporary.path().join("data");
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, Permissions::from_mode(owner.mode.unwrap_or(0o755)))?;
    std::os::unix::fs::chown(&fresh, Some(owner.uid.unwrap_or(0)), Some(owner.gid.unwrap_or(0)))?;
    if let Some((lower, source)) = seed {
        let root = crate::snapshot::open(lower, temporary.path()).map_err(io::Error::other)?;
        let files = crate::files::Files::new(root, crate::ignore::Ignore::default(), "the mount's from");
        let target = image_tool::beneath::Root::open(&fresh).map_err(io::Error::other)?;
        for source in files.sources(&source).map_err(io::Error::other)? {
            for found in files.walk(&source, &crate::ignore::Ignore::default()).map_err(io::Error::other)? {
                files.copy_to(&found, &target).map_err(io::Error::other)?;
            }
        }
    }
    match fs::rename(&fresh, data) {
        // Another build that shares it was quicker.
        Err(_) if data.exists() => Ok(()),
        other => other,
    }
}
