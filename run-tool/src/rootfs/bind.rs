//! Bind mounts: copies of a tree of mounts. Their flags are set before they are attached, when nobody can see them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::mount::Mount;
use super::option::{self, ATTR_IDMAP};
use super::place::{open_target, place};
use super::plan::Plan;
use super::root::Root;
use super::stage::Stage;
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, MountAttributes};

/// Makes a copy of the source of a bind mount, ready to be attached.
pub(crate) fn open_source(stage: &Stage, mount: &Mount) -> rustix::io::Result<OwnedFd> {
    stage.copy_path(&mount.source, mount.is_recursive())
}

/// Opens the source of a bind mount. The parent does it for id-mapped mounts, and if the container's user has no access to it.
pub(super) fn open_tree(
    plan: &Plan,
    stage: &Stage,
    mount: &Mount,
    from_parent: &dyn Fn() -> Result<OwnedFd>,
) -> Result<OwnedFd> {
    let name = || format!("open_tree {}", mount.source.display());
    let lent = || stage.take(from_parent()?, mount.is_recursive()).fails(name).map_err(Into::into);
    if mount.is_id_mapped() {
        return lent();
    }
    match open_source(stage, mount) {
        Err(Errno::ACCESS | Errno::PERM) if plan.userns && !plan.rootless => lent(),
        result => result.fails(name).map_err(Into::into),
    }
}

/// Makes a bind mount of a copied tree.
pub(crate) fn bind(root: &Root, mount: &Mount, tree: &OwnedFd) -> Result<()> {
    let stat = rustix::fs::fstat(tree).fails(|| format!("stat {}", mount.source.display()))?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let target = open_target(root, mount, directory, Some(tree))?;
    set_bind_flags(&root.stage, mount, tree)?;
    place(&root.stage, mount, tree, &target, || {
        format!("mount src={}, dst={}, flags=MS_BIND", mount.source.display(), mount.destination.display())
    })
}

pub(super) fn set_bind_flags(stage: &Stage, mount: &Mount, tree: &OwnedFd) -> Result<()> {
    const FAILED: &str = "failed to set user-requested vfs flags on bind-mount";
    let Some(attributes) = option::bind_attributes(&mount.options, false) else { return Ok(()) };
    let Err(error) = stage.change(tree, false, &attributes) else { return Ok(()) };
    if error.raw_os_error() != Some(libc::EPERM) {
        return Err(error).fails(|| FAILED).map_err(Into::into);
    }
    // Flags of a mount from another user namespace are locked. Keep them, unless an option explicitly clears one.
    let present = rustix::fs::fstatfs(tree).fails(|| "statfs")?.f_flags as u64;
    let wanted = option::lockable(mount.options.cleared & present);
    if !wanted.is_empty() {
        bail!("{FAILED}: cannot clear locked flags {wanted}: {}", crate::kernel::error::reason(&error));
    }
    let keep = option::bind_attributes(&mount.options, true).unwrap_or_default();
    stage
        .change(tree, false, &keep)
        .fails(|| format!("{FAILED}: cannot change locked atime flags {}", option::access_times(present)))?;
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
