//! Bind mounts: detached copies of a tree of mounts. Their flags are set before they are attached, when nobody can see them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::mount::Mount;
use super::option::{self, ATTR_IDMAP};
use super::place::{open_target, place};
use super::plan::Plan;
use super::root::Root;
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, MountAttributes};

/// Opens a detached copy of the source of a bind mount.
pub(crate) fn open_source(mount: &Mount) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if mount.options.flags & libc::MS_REC != 0 {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(rustix::fs::CWD, &mount.source, flags)
}

/// Opens the source of a bind mount. The parent does it for id-mapped mounts, and if the container's user has no access to it.
pub(super) fn open_tree(plan: &Plan, mount: &Mount, from_parent: &dyn Fn() -> Result<OwnedFd>) -> Result<OwnedFd> {
    if mount.is_id_mapped() {
        return from_parent();
    }
    match open_source(mount) {
        Err(Errno::ACCESS | Errno::PERM) if plan.userns && !plan.rootless => from_parent(),
        result => result.fails(|| format!("open_tree {}", mount.source.display())).map_err(Into::into),
    }
}

/// Makes a bind mount of a detached tree.
pub(crate) fn bind(root: &Root, mount: &Mount, tree: &OwnedFd) -> Result<()> {
    let stat = rustix::fs::fstat(tree).fails(|| format!("stat {}", mount.source.display()))?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let target = open_target(root, mount, directory, Some(tree))?;
    set_bind_flags(mount, tree)?;
    place(mount, tree, &target, || {
        format!("mount src={}, dst={}, flags=MS_BIND", mount.source.display(), mount.destination.display())
    })
}

pub(super) fn set_bind_flags(mount: &Mount, tree: &OwnedFd) -> Result<()> {
    let Some(attributes) = option::bind_attributes(&mount.options, false) else { return Ok(()) };
    let first = syscall::mount_setattr(tree.as_fd(), false, &attributes);
    let Err(error) = first else { return Ok(()) };
    if error.raw_os_error() != Some(libc::EPERM) {
        return Err(error).fails(|| "failed to set user-requested vfs flags on bind-mount").map_err(Into::into);
    }
    // Flags of a mount from another user namespace are locked. Keep them, unless an option explicitly clears one.
    let keep = option::bind_attributes(&mount.options, true).unwrap_or_default();
    syscall::mount_setattr(tree.as_fd(), false, &keep)
        .fails(|| "failed to set user-requested vfs flags on bind-mount: cannot clear locked flags")?;
    Ok(())
}

/// Makes a detached mount id-mapped, with the mappings of a user namespace.
pub(crate) fn map_ids(mount: &Mount, tree: &OwnedFd, userns: &OwnedFd) -> Result<()> {
    let attributes =
        MountAttributes { set: ATTR_IDMAP, userns: userns.as_raw_fd() as u64, ..MountAttributes::default() };
    let recursive = mount.options.idmap == Some(true);
    syscall::mount_setattr(tree.as_fd(), recursive, &attributes)
        .fails(|| format!("failed to set MOUNT_ATTR_IDMAP on {}", mount.source.display()))
        .with_context(|| "maybe the filesystem used doesn't support idmap mounts on this kernel?")
}
