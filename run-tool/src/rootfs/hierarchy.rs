//! The mounts of type cgroup, through which the container sees its control groups.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::bind::{bind, open_source, set_bind_flags};
use super::filesystem;
use super::mask::mask_directory;
use super::mount::Mount;
use super::option::Options;
use super::place::{change_tree, open_target};
use super::plan::Plan;
use super::root::{DIRECTORY, Root};
use crate::cgroup;
use crate::kernel::error::{self, Fails};
use crate::kernel::procfs::proc_path;
use crate::kernel::syscall::MountAttributes;
use crate::program::label;

/// Mounts cgroup v2: a new mount of the file system, or a bind mount where the kernel does not permit that.
pub(super) fn unified(plan: &Plan, root: &Root, mount: &Mount) -> Result<()> {
    let target = open_target(root, mount, true, None)?;
    // Opened first: mount(2) refuses a file system over another mount of it, as there is one if /sys is the host's.
    match filesystem::new(&root.stage, mount, "cgroup2", &target, mount.options.flags, &mount.options.data, true) {
        Err(error) if matches!(error::errno(&error), Some(libc::EPERM | libc::EBUSY)) => {}
        result => return result.map(drop).context("mount cgroup2"),
    }
    // In a user namespace without a cgroup namespace the file system cannot be mounted. Bind mount it, or the container's part.
    let source = match plan.cgroup_path.as_ref().filter(|_| plan.cgroup_namespace) {
        Some(path) => path.clone(),
        None => PathBuf::from(cgroup::ROOT),
    };
    let options = Options { flags: libc::MS_BIND | libc::MS_REC | mount.options.flags, ..mount.options.clone() };
    let shown =
        Mount { source, destination: mount.destination.clone(), kind: "bind".to_owned(), options, id_maps: None };
    let tree = open_source(&root.stage, &shown).fails(|| format!("open_tree {}", shown.source.display()));
    match tree.map_err(anyhow::Error::from).and_then(|tree| bind(root, &shown, &tree)) {
        Err(error) if plan.rootless && error::errno(&error) == Some(libc::ENOENT) => {
            mask_directory(&root.stage, &target, &plan.mount_context)
        }
        result => result,
    }
}

/// Mounts cgroup v1: a tmpfs with a folder for each hierarchy. In a new cgroup namespace the hierarchy itself is mounted there,
/// otherwise a bind mount shows the container's group.
pub(super) fn version_1(plan: &Plan, root: &Root, mount: &Mount) -> Result<()> {
    let membership = cgroup::membership::own()?;
    let hierarchies = match &plan.hierarchies {
        Some(known) => known.clone(),
        None => cgroup::v1::hierarchies(&membership)?,
    };
    let target = open_target(root, mount, true, None)?;
    let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
    let data = label::mount_data("mode=755", &plan.mount_context);
    let stage = &root.stage;
    let base = stage.create("tmpfs", Path::new("tmpfs"), flags.bits().into(), &data).fails(|| "mount tmpfs")?;
    stage.attach(&base, &target).fails(|| "mount tmpfs")?;
    let read_only = if mount.options.flags & libc::MS_RDONLY != 0 { MountFlags::RDONLY } else { MountFlags::empty() };
    for hierarchy in &hierarchies {
        let Some(name) = hierarchy.mountpoint.file_name() else { continue };
        rustix::fs::mkdirat(&base, name, Mode::from_raw_mode(0o755)).fails(|| format!("mkdir {}", name.display()))?;
        let place = rustix::fs::openat(&base, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .fails(|| format!("open {}", name.display()))?;
        if plan.cgroup_namespace {
            let data = std::ffi::CString::new(hierarchy.controllers.join(","))?;
            rustix::mount::mount("cgroup", proc_path(place.as_fd()), "cgroup", flags | read_only, data.as_c_str())
                .fails(|| format!("mount cgroup {}", name.display()))?;
            continue;
        }
        let Some(own) = hierarchy.controllers.iter().find_map(|controller| membership.get(controller)) else {
            continue;
        };
        let own = own.strip_prefix(hierarchy.root.trim_end_matches('/')).unwrap_or(own);
        let options = Options { flags: libc::MS_BIND | libc::MS_REC | mount.options.flags, ..Options::default() };
        let shown = Mount {
            source: hierarchy.mountpoint.join(own.trim_start_matches('/')),
            destination: mount.destination.join(name),
            kind: "bind".to_owned(),
            options,
            id_maps: None,
        };
        let tree = open_source(&root.stage, &shown).fails(|| format!("open_tree {}", shown.source.display()))?;
        set_bind_flags(stage, &shown, &tree)?;
        stage.attach(&tree, &place).fails(|| format!("mount {}", shown.source.display()))?;
    }
    // A hierarchy with several controllers gets a symlink for each of them.
    for hierarchy in hierarchies.iter().filter(|hierarchy| hierarchy.controllers.len() > 1) {
        let Some(name) = hierarchy.mountpoint.file_name() else { continue };
        for controller in &hierarchy.controllers {
            match rustix::fs::symlinkat(name, &base, controller.as_str()) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error).fails(|| format!("symlink {controller}")).map_err(Into::into),
            }
        }
    }
    change_tree(stage, mount, &base)?;
    if read_only == MountFlags::RDONLY {
        let attributes = MountAttributes { set: 1, ..MountAttributes::default() };
        stage.change(&base, false, &attributes).fails(|| "remount of the cgroup tmpfs read-only")?;
    }
    Ok(())
}
