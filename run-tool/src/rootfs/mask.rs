//! Masked and read-only paths (`linux.maskedPaths`, `linux.readonlyPaths`). All mounts are made on descriptors, never by path
//! (CVE-2025-31133).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Result, bail};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::place::move_onto;
use super::root::DIRECTORY;
use crate::kernel::beneath;
use crate::kernel::device::is_null;
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, MountAttributes};
use crate::program::label;

fn open(root: &OwnedFd, path: &str) -> Result<Option<OwnedFd>, rustix::io::Errno> {
    match beneath::open(root.as_fd(), Path::new(path), OFlags::PATH, ResolveFlags::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

fn root() -> Result<OwnedFd> {
    rustix::fs::open("/", DIRECTORY, Mode::empty()).fails(|| "open /").map_err(Into::into)
}

fn copy(of: &OwnedFd, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(of, "", flags)
}

/// Makes paths read-only. Missing ones are skipped.
pub(crate) fn make_read_only(paths: &[String]) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let root = root()?;
    for path in paths {
        let fail = || format!("can't make {path:?} read-only: mount {path}");
        let Some(target) = open(&root, path).fails(fail)? else { continue };
        let tree = copy(&target, true).fails(fail)?;
        let attributes = MountAttributes { set: 1, ..MountAttributes::default() };
        syscall::mount_setattr(tree.as_fd(), false, &attributes).fails(fail)?;
        move_onto(&tree, &target).fails(fail)?;
    }
    Ok(())
}

/// Creates an empty, read-only, detached tmpfs.
fn empty(label: &str) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // The source that mount(8) and df(1) show under runc.
    rustix::mount::fsconfig_set_string(&context, "source", "tmpfs")?;
    rustix::mount::fsconfig_set_string(&context, "nr_blocks", "1")?;
    rustix::mount::fsconfig_set_string(&context, "nr_inodes", "1")?;
    if !label.is_empty() {
        rustix::mount::fsconfig_set_string(&context, "context", label)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// Covers a directory with an empty one.
pub(super) fn mask_directory(target: &OwnedFd, label: &str) -> Result<()> {
    let tree = empty(label).fails(|| "mount tmpfs")?;
    move_onto(&tree, target).fails(|| "mount tmpfs")?;
    Ok(())
}

/// Covers files with `/dev/null` and directories with an empty one. Missing ones are skipped.
pub(crate) fn mask(paths: &[String], mount_label: &str) -> Result<()> {
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
    let label = label::mount_data("", mount_label);
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
            let label = if label.is_empty() { "" } else { mount_label };
            match &shared {
                Some(first) => {
                    let tree = copy(first, false).fails(fail)?;
                    move_onto(&tree, &target).fails(fail)?;
                }
                None => {
                    let tree = empty(label).fails(fail)?;
                    move_onto(&tree, &target).fails(fail)?;
                    shared = Some(tree);
                }
            }
        } else {
            let tree = copy(&null, false).fails(fail)?;
            move_onto(&tree, &target).fails(fail)?;
        }
    }
    Ok(())
}
