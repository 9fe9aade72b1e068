//! Mount points: found or created beneath the root. Mounts are attached to the descriptor, not to the path.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{FileType, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::mount::Mount;
use super::root::Root;
use super::stage::Stage;
use crate::kernel::beneath;
use crate::kernel::error::Fails;
use crate::kernel::syscall::MountAttributes;

const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Applies the options to a mount that is not attached yet, and attaches it to its mount point.
pub(super) fn place(
    stage: &Stage,
    mount: &Mount,
    tree: &OwnedFd,
    target: &OwnedFd,
    fail: impl Fn() -> String,
) -> Result<()> {
    change_tree(stage, mount, tree)?;
    stage.attach(tree, target).fails(fail)?;
    // Attached to a shared mount it has become shared, so the propagation is set again.
    propagate(stage, mount, tree)
}

/// Applies propagation and recursive attributes to a mount.
pub(super) fn change_tree(stage: &Stage, mount: &Mount, tree: &OwnedFd) -> Result<()> {
    propagate(stage, mount, tree)?;
    if let Some(attributes) = &mount.options.recursive {
        stage.change(tree, true, attributes).fails(|| "mount_setattr")?;
    }
    Ok(())
}

pub(super) fn propagate(stage: &Stage, mount: &Mount, tree: &OwnedFd) -> Result<()> {
    for flag in &mount.options.propagation {
        let attributes = MountAttributes { propagation: flag & !libc::MS_REC, ..MountAttributes::default() };
        stage.change(tree, flag & libc::MS_REC != 0, &attributes).fails(|| "change mount propagation")?;
    }
    Ok(())
}

/// Opens a mount point. If it is missing it is created: as a directory if `directory` is set, otherwise as a file.
pub(crate) fn open_target(root: &Root, mount: &Mount, directory: bool, tree: Option<&OwnedFd>) -> Result<OwnedFd> {
    let fail = || format!("create mountpoint for {} mount", mount.destination.display());
    if matches!(mount.kind.as_str(), "proc" | "sysfs") {
        // For these the path must be free of symlinks, so that an image cannot redirect them.
        let path = beneath::clean(&mount.destination);
        check_proc(mount, &path, None)?;
        return match beneath::open(root.fd.as_fd(), &path, OFlags::PATH, ResolveFlags::NO_SYMLINKS) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd).fails(fail)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    bail!("filesystem {:?} must be mounted on ordinary directory", mount.kind);
                }
                Ok(fd)
            }
            Err(Errno::LOOP) => bail!("filesystem {:?} must be mounted on ordinary directory", mount.kind),
            Err(_) => Ok(beneath::make_directories(root.fd.as_fd(), &path).fails(fail)?),
        };
    }
    let target = match beneath::open(root.fd.as_fd(), &mount.destination, OFlags::PATH, ResolveFlags::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) if directory => beneath::make_directories(root.fd.as_fd(), &mount.destination).fails(fail)?,
        Err(Errno::NOENT) => beneath::make_file(root.fd.as_fd(), &mount.destination).fails(fail)?,
        Err(error) => return Err(error).fails(fail).map_err(Into::into),
    };
    let path = root.path_of(&target)?;
    if path == Path::new("/") {
        bail!("mountpoint {:?} is on the top of rootfs {:?}", mount.destination.display(), root.path.display());
    }
    check_proc(mount, &path, tree)
        .with_context(|| format!("check proc-safety of {} mount", mount.destination.display()))?;
    Ok(target)
}

/// Refuses mounts over files of `/proc`, which the container and run-tool trust, except those that lxcfs emulates. On `/proc` itself
/// only a procfs may be mounted.
fn check_proc(mount: &Mount, path: &Path, tree: Option<&OwnedFd>) -> Result<()> {
    const ALLOWED: [&str; 10] = [
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    ];
    let Ok(inside) = path.strip_prefix("/proc") else { return Ok(()) };
    if inside.as_os_str().is_empty() {
        let procfs = if mount.is_bind() {
            let statfs = match tree {
                Some(tree) => rustix::fs::fstatfs(tree),
                None => rustix::fs::statfs(&mount.source),
            };
            statfs.fails(|| format!("statfs {}", mount.source.display()))?.f_type == PROC_SUPER_MAGIC
        } else {
            mount.kind == "proc"
        };
        if procfs {
            return Ok(());
        }
        bail!("{:?} cannot be mounted because it is not of type proc", path.display().to_string());
    }
    if ALLOWED.iter().any(|allowed| inside == Path::new(allowed)) {
        return Ok(());
    }
    bail!("{:?} cannot be mounted because it is inside /proc", path.display().to_string())
}
