//! Mounts of new file systems: proc, tmpfs, devpts and the like.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags};

use super::copy::copy_tree;
use super::mount::Mount;
use super::option::{self, Options};
use super::place::{open_target, place};
use super::plan::Plan;
use super::root::Root;
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
        data = label::mount_data(&data, &plan.mount_label);
    }
    let flags = mount.options.flags;
    let late = flags & libc::MS_RDONLY != 0 && mount.is_late_read_only();
    let flags = if late { flags & !libc::MS_RDONLY } else { flags };
    let tree = new(mount, &mount.kind, &target, flags, &data, late)?;
    Ok(tree.filter(|_| late))
}

/// Mounts a file system of a type on a target. Returns the mount if `kept` asks for it, or if it had to be opened anyway.
pub(super) fn new(
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
    let tree = detached(kind, &mount.source, flags, data).fails(fail)?;
    if copy_up {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let below = rustix::fs::openat(target, ".", flags, Mode::empty()).fails(|| "tmpcopyup: open")?;
        copy_tree(&below, &tree)
            .with_context(|| format!("tmpcopyup: failed to copy {}", mount.destination.display()))?;
    }
    place(mount, &tree, target, fail)?;
    Ok(Some(tree))
}

/// Creates a detached mount, for `place::move_onto`.
pub(super) fn detached(kind: &str, source: &Path, flags: u64, data: &str) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !source.as_os_str().is_empty() {
        rustix::mount::fsconfig_set_string(&context, "source", source)?;
    }
    // These flags belong to the file system, not only to the mount.
    for (flag, name) in [
        (libc::MS_RDONLY, "ro"),
        (libc::MS_SYNCHRONOUS, "sync"),
        (libc::MS_DIRSYNC, "dirsync"),
        (libc::MS_LAZYTIME, "lazytime"),
        (libc::MS_MANDLOCK, "mand"),
    ] {
        if flags & flag != 0 {
            rustix::mount::fsconfig_set_flag(&context, name)?;
        }
    }
    for option in option::split(data) {
        match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&context, key, value.trim_matches('"'))?,
            None => rustix::mount::fsconfig_set_flag(&context, option)?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    let options = Options { flags, ..Options::default() };
    let attributes = option::bind_attributes(&options, true).unwrap_or_default().set;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
