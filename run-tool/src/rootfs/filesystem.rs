//! Mounts of new file systems: proc, tmpfs, devpts and the like.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::MountFlags;

use super::copy::copy_tree;
use super::mount::Mount;
use super::place::{open_target, place};
use super::plan::Plan;
use super::root::Root;
use super::stage::Stage;
use crate::kernel::beneath;
use crate::kernel::error::Fails;
use crate::kernel::procfs::proc_path;
use crate::program::label;

/// Mounts a file system below the root. Returns the mount if it must become read-only in the end.
pub(super) fn make(plan: &Plan, root: &Root, mount: &Mount) -> Result<Option<OwnedFd>> {
    let present = mount.kind == "tmpfs"
        && beneath::open(root.fd.as_fd(), &mount.destination, OFlags::PATH, ResolveFlags::empty()).is_ok();
    let target = open_target(root, mount, true, None)?;
    let mut data = mount.options.data.clone();
    if present {
        // Unless an option sets another mode, a tmpfs has that of the directory it covers.
        let mode = rustix::fs::fstat(&target).fails(|| "fstat of the mountpoint")?.st_mode & 0o7777;
        data = if data.is_empty() { format!("mode={mode:04o}") } else { format!("mode={mode:04o},{data}") };
    }
    if !matches!(mount.kind.as_str(), "proc" | "sysfs" | "mqueue") {
        data = label::mount_data(&data, &plan.mount_context);
    }
    let flags = mount.options.flags;
    let late = flags & libc::MS_RDONLY != 0 && mount.is_late_read_only();
    let flags = if late { flags & !libc::MS_RDONLY } else { flags };
    let tree = new(&root.stage, mount, &mount.kind, &target, flags, &data, late)?;
    Ok(tree.filter(|_| late))
}

/// Mounts a file system of a type on a target. Returns the mount if `kept` asks for it, or if it had to be opened anyway.
pub(super) fn new(
    stage: &Stage,
    mount: &Mount,
    kind: &str,
    target: &OwnedFd,
    flags: u64,
    data: &str,
    kept: bool,
) -> Result<Option<OwnedFd>> {
    let fail = || {
        format!(
            "mount src={}, dst={}, dstFd={}, flags={flags:#x}, data={data}",
            mount.source.display(),
            mount.destination.display(),
            proc_path(target.as_fd()),
        )
    };
    let copy_up = mount.options.copy_up && kind == "tmpfs";
    if !kept && !copy_up && mount.options.propagation.is_empty() && mount.options.recursive.is_none() {
        let data = std::ffi::CString::new(data).context("mount field contains null byte")?;
        let flags = MountFlags::from_bits_retain(flags as u32);
        rustix::mount::mount(&mount.source, proc_path(target.as_fd()), kind, flags, data.as_c_str()).fails(fail)?;
        return Ok(None);
    }
    // The mount is opened before it is attached. If it were looked up by path, someone could exchange folders of a shared volume and
    // have another directory changed or filled.
    let tree = stage.create(kind, &mount.source, flags, data).fails(fail)?;
    if copy_up {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let below = rustix::fs::openat(target, ".", flags, Mode::empty()).fails(|| "tmpcopyup: open")?;
        copy_tree(&below, &tree)
            .with_context(|| format!("tmpcopyup: failed to copy {}", mount.destination.display()))?;
    }
    place(stage, mount, &tree, target, fail)?;
    Ok(Some(tree))
}
