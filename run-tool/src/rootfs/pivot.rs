//! The change of root: from the host's file system into the container's, by pivot_root or one of its substitutes.

use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::Mode;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::plan::Plan;
use super::root::{DIRECTORY, Root};
use crate::kernel::error::Fails;
use crate::kernel::mountinfo;

/// Makes the container's root the `/` of this process, and detaches the host's.
pub(crate) fn enter(plan: &Plan, root: &Root) -> Result<()> {
    rustix::process::fchdir(&root.fd).fails(|| format!("chdir {}", root.path.display()))?;
    let entered = if !plan.mount_namespace {
        change_root()
    } else if plan.no_pivot {
        move_root(&root.path)
    } else {
        pivot()
    };
    entered.context("error jailing process inside rootfs")?;
    if let Some(propagation) = plan.propagation
        && propagation & (libc::MS_PRIVATE | libc::MS_SLAVE) == 0
    {
        change("/", propagation).context("unable to apply root propagation flags")?;
    }
    Ok(())
}

fn change_root() -> Result<()> {
    rustix::process::chroot(".").fails(|| "chroot .")?;
    rustix::process::chdir("/").fails(|| "chdir /")?;
    Ok(())
}

/// Makes the current directory the root, with the old root stacked on it, and unmounts the old root.
fn pivot() -> Result<()> {
    let old = rustix::fs::open("/", DIRECTORY, Mode::empty()).fails(|| "open /")?;
    rustix::process::pivot_root(".", ".").fails(|| "pivot_root .")?;
    rustix::process::fchdir(&old).fails(|| "fchdir to the old root")?;
    // The unmount of the old root must not propagate to the host.
    change(".", libc::MS_SLAVE | libc::MS_REC)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).fails(|| "unmount .")?;
    rustix::process::chdir("/").fails(|| "chdir /")?;
    Ok(())
}

/// `--no-pivot`, for a root on a ramdisk. The host's mounts stay in the namespace. So each full procfs and sysfs among them is
/// unmounted or covered: as long as one is visible, the kernel permits the container to mount new ones.
fn move_root(rootfs: &Path) -> Result<()> {
    for mount in mountinfo::read()? {
        if mount.root != Path::new("/") || !matches!(mount.kind.as_str(), "proc" | "sysfs") {
            continue;
        }
        let mountpoint = mount.place.as_path();
        if mountpoint.starts_with(rootfs) || change(mountpoint, libc::MS_SLAVE | libc::MS_REC).is_err() {
            continue;
        }
        if rustix::mount::unmount(mountpoint, UnmountFlags::DETACH).is_err() {
            rustix::mount::mount("tmpfs", mountpoint, "tmpfs", MountFlags::empty(), None)
                .fails(|| format!("mount tmpfs {}", mountpoint.display()))?;
        }
    }
    rustix::mount::mount_move(rootfs, "/").fails(|| format!("mount {} over /", rootfs.display()))?;
    change_root()
}

pub(super) fn change(path: impl AsRef<Path>, propagation: u64) -> Result<()> {
    let path = path.as_ref();
    rustix::mount::mount_change(path, MountPropagationFlags::from_bits_retain(propagation as u32))
        .fails(|| format!("mount {} flags {propagation:#x}", path.display()))
        .map_err(Into::into)
}

/// Makes the mount that the root lies on private (or a slave). On a shared one pivot_root fails, and the container's mounts would
/// propagate to the host.
pub(super) fn make_parent_private(rootfs: &Path, propagation: u64) -> Result<()> {
    let flags = if propagation & libc::MS_SLAVE != 0 { libc::MS_SLAVE } else { libc::MS_PRIVATE };
    let mut path = rootfs;
    loop {
        let result = rustix::mount::mount_change(path, MountPropagationFlags::from_bits_retain(flags as u32));
        match (result, path.parent()) {
            (Ok(()), _) => return Ok(()),
            // Not a mount point. Try its parent.
            (Err(rustix::io::Errno::INVAL), Some(parent)) => path = parent,
            (result, _) => {
                return result.fails(|| format!("remount-propagation {}", path.display())).map_err(Into::into);
            }
        }
    }
}
