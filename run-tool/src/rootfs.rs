//! The container's file system: its mounts, devices and root, made from inside its mount namespace.
//!
//! Every path of the image is resolved beneath the root's descriptor (`beneath`), and what is mounted or changed is the thing
//! that was opened, never a path looked up again (CVE-2021-30465, CVE-2025-31133): `mount` attaches at a descriptor's name in
//! a checked `/proc`, bind mounts are trees moved onto a descriptor.

pub(crate) mod device;
pub(crate) mod mask;
pub(crate) mod mount;
pub(crate) mod option;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::create::plan::Plan;
use crate::create::talk::Channel;
use crate::kernel::error::Fails;
use crate::kernel::procfs::Procfs;
use crate::kernel::syscall::{self, MountAttributes};
use crate::kernel::{beneath, mountinfo};

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The root file system while it is set up.
#[derive(Debug)]
pub(crate) struct Root {
    /// Its directory.
    pub(crate) fd: OwnedFd,
    /// Its path on the host.
    pub(crate) path: PathBuf,
    /// Mounts below it that become read-only once all is made.
    pub(crate) late: Vec<OwnedFd>,
}

impl Root {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let fd = rustix::fs::open(path, DIRECTORY, Mode::empty())
            .fails(|| format!("open rootfs handle: open {}", path.display()))?;
        Ok(Self { fd, path: path.to_owned(), late: Vec::new() })
    }

    /// The path, within the root, of something opened beneath it.
    pub(crate) fn path_of(&self, fd: &OwnedFd) -> Result<PathBuf> {
        let full = rustix::fs::readlink(crate::kernel::terminal::proc_path(fd.as_fd()), Vec::new())
            .fails(|| "readlink /proc/self/fd")?;
        let full = full.into_string().unwrap_or_else(|error| error.into_cstring().to_string_lossy().into_owned());
        match Path::new(&full).strip_prefix(&self.path) {
            Ok(inside) => Ok(Path::new("/").join(inside)),
            Err(_) => bail!("mountpoint {full:?} is outside of rootfs {:?}", self.path.display().to_string()),
        }
    }
}

/// Whether the configuration leaves `/dev` to run-tool.
pub(crate) fn makes_devices(plan: &Plan) -> bool {
    !plan.mounts.iter().any(|mount| mount.is_bind() && beneath::clean(&mount.destination) == Path::new("/dev"))
}

/// Cuts the mount namespace off the host's, and makes the mounts and devices below the root.
pub(crate) fn prepare(plan: &Plan, channel: &Channel) -> Result<Root> {
    // `mount` below goes through /proc/self/fd: that must be the host's real procfs.
    Procfs::mounted()?;
    // Without a mount namespace these would be the host's.
    if plan.mount_namespace {
        let propagation = plan.root_propagation.unwrap_or(libc::MS_SLAVE | libc::MS_REC);
        change("/", propagation).context("error preparing rootfs")?;
        make_parent_private(&plan.rootfs, propagation).context("error preparing rootfs")?;
    }
    rustix::mount::mount_bind_recursive(&plan.rootfs, &plan.rootfs)
        .fails(|| format!("error preparing rootfs: mount {}", plan.rootfs.display()))?;
    let mut root = Root::open(&plan.rootfs)?;
    for (index, mount) in plan.mounts.iter().enumerate() {
        let from_parent = || channel.ask_for_tree(index as i32);
        let late = mount::make(plan, &root, mount, &from_parent).with_context(|| {
            format!(
                "error mounting {:?} to rootfs at {:?}",
                mount.source.display().to_string(),
                mount.destination.display().to_string()
            )
        })?;
        root.late.extend(late);
    }
    if makes_devices(plan) {
        device::make_all(plan, &root).context("configuring container /dev")?;
    }
    Ok(root)
}

fn change(path: impl AsRef<Path>, propagation: u64) -> Result<()> {
    let path = path.as_ref();
    rustix::mount::mount_change(path, MountPropagationFlags::from_bits_retain(propagation as u32))
        .fails(|| format!("mount {} flags {propagation:#x}", path.display()))
        .map_err(Into::into)
}

/// The mount that the root lies on must not be shared: pivot_root refuses it, and the mounts would show on the host.
fn make_parent_private(rootfs: &Path, propagation: u64) -> Result<()> {
    let flags = if propagation & libc::MS_SLAVE != 0 { libc::MS_SLAVE } else { libc::MS_PRIVATE };
    let mut path = rootfs;
    loop {
        let result = rustix::mount::mount_change(path, MountPropagationFlags::from_bits_retain(flags as u32));
        match (result, path.parent()) {
            (Ok(()), _) => return Ok(()),
            // Not a mount point: its parent may be.
            (Err(rustix::io::Errno::INVAL), Some(parent)) => path = parent,
            (result, _) => {
                return result.fails(|| format!("remount-propagation {}", path.display())).map_err(Into::into);
            }
        }
    }
}

/// Makes the root the caller's `/`, and lets go of the host's.
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
    if let Some(propagation) = plan.root_propagation
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

/// Puts the new root over the old one at the same place, and unmounts the old one from there.
fn pivot() -> Result<()> {
    let old = rustix::fs::open("/", DIRECTORY, Mode::empty()).fails(|| "open /")?;
    rustix::process::pivot_root(".", ".").fails(|| "pivot_root .")?;
    rustix::process::fchdir(&old).fails(|| "fchdir to the old root")?;
    // Unmounts in what is left of the old root must not reach the host.
    change(".", libc::MS_SLAVE | libc::MS_REC)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).fails(|| "unmount .")?;
    rustix::process::chdir("/").fails(|| "chdir /")?;
    Ok(())
}

/// `--no-pivot`, for a root on a ramdisk. The host's mounts stay in the namespace, so every full procfs and sysfs among them
/// is taken away: the kernel would let the container mount new ones on the strength of them.
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

/// What is read-only in the end but had to be written to before: `late`, and the root.
pub(crate) fn finish(plan: &Plan, late: Vec<OwnedFd>) -> Result<()> {
    let read_only = MountAttributes { set: 1, ..MountAttributes::default() };
    for tree in late {
        syscall::mount_setattr(tree.as_fd(), false, &read_only).fails(|| "remount read-only")?;
    }
    if plan.read_only_root {
        let root = rustix::fs::open("/", DIRECTORY, Mode::empty()).fails(|| "open /")?;
        syscall::mount_setattr(root.as_fd(), false, &read_only)
            .fails(|| "remount / read-only")
            .context("error setting rootfs as readonly")?;
    }
    Ok(())
}
