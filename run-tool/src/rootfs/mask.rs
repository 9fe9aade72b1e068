//! Masked and read-only paths (`linux.maskedPaths`, `linux.readonlyPaths`). All mounts are made on descriptors, never by path
//! (CVE-2025-31133).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Result, bail};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::root::DIRECTORY;
use super::stage::Stage;
use crate::kernel::beneath;
use crate::kernel::device::is_null;
use crate::kernel::error::Fails;
use crate::kernel::syscall::MountAttributes;
use crate::program::label;

fn open(root: &OwnedFd, path: &str) -> Result<Option<OwnedFd>, rustix::io::Errno> {
    // For the kernel an empty path names nothing. Beneath a root it would be the root.
    if path.is_empty() {
        return Ok(None);
    }
    match beneath::open(root.as_fd(), Path::new(path), OFlags::PATH, ResolveFlags::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

fn root() -> Result<OwnedFd> {
    rustix::fs::open("/", DIRECTORY, Mode::empty()).fails(|| "open /").map_err(Into::into)
}

/// Makes paths read-only. Missing ones are skipped.
pub(crate) fn make_read_only(stage: &Stage, paths: &[String]) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let root = root()?;
    for path in paths {
        let fail = || format!("can't make {path:?} read-only: mount {path}");
        let Some(target) = open(&root, path).fails(fail)? else { continue };
        let tree = stage.copy(target.as_fd(), true).fails(fail)?;
        let attributes = MountAttributes { set: 1, ..MountAttributes::default() };
        stage.change(&tree, false, &attributes).fails(fail)?;
        stage.attach(&tree, &target).fails(fail)?;
    }
    Ok(())
}

/// Creates an empty, read-only tmpfs, with the source that mount(8) and df(1) show under runc.
fn empty(stage: &Stage, context: &str) -> rustix::io::Result<OwnedFd> {
    let data = label::mount_data("nr_blocks=1,nr_inodes=1", context);
    stage.create("tmpfs", Path::new("tmpfs"), libc::MS_RDONLY, &data)
}

/// Covers a directory with an empty one.
pub(super) fn mask_directory(stage: &Stage, target: &OwnedFd, context: &str) -> Result<()> {
    let tree = empty(stage, context).fails(|| "mount tmpfs")?;
    stage.attach(&tree, target).fails(|| "mount tmpfs")?;
    Ok(())
}

/// Covers files with `/dev/null` and directories with an empty one. Missing ones are skipped.
pub(crate) fn mask(stage: &Stage, paths: &[String], context: &str) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let root = root()?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty()).fails(|| "can't mask paths: open /dev/null")?;
    let stat = rustix::fs::fstat(&null).fails(|| "can't mask paths: fstat /dev/null")?;
    if !is_null(&stat) {
        bail!("can't mask paths: container's /dev/null is invalid");
    }
    // All directories share one tmpfs: each further mount is a copy of the first.
    let mut shared: Option<OwnedFd> = None;
    let mut done: Vec<&String> = Vec::new();
    for path in paths {
        if done.contains(&path) {
            continue;
        }
        done.push(path);
        let fail = || format!("can't mask path {path:?}");
        let Some(target) = open(&root, path).fails(fail)? else { continue };
        let stat = rustix::fs::fstat(&target).fails(fail)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let fail = || format!("can't mask dir {path:?}: mount tmpfs");
            match &shared {
                Some(first) => {
                    let tree = stage.copy(first.as_fd(), false).fails(fail)?;
                    stage.attach(&tree, &target).fails(fail)?;
                }
                None => {
                    let tree = empty(stage, context).fails(fail)?;
                    stage.attach(&tree, &target).fails(fail)?;
                    shared = Some(tree);
                }
            }
        } else {
            let tree = stage.copy(null.as_fd(), false).fails(fail)?;
            stage.attach(&tree, &target).fails(fail)?;
        }
    }
    Ok(())
}
