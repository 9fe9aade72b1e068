//! The container's file system: its mounts, devices and root, set up from inside its mount namespace.
//!
//! Every path of the image is resolved beneath the root's descriptor (`beneath`). What is mounted or changed is the file that was
//! opened; its path is never looked up again (CVE-2021-30465, CVE-2025-31133). File systems are mounted on a descriptor's path in
//! a checked `/proc`, and bind mounts are trees that are made ready apart (`stage`) and moved onto a descriptor.
//!
//! `plan` decides what to set up. Everything else here runs in the container's process. This room imports `cgroup` and `program`
//! (for labels), `spec` and `kernel`, and never `create`: what needs the parent is passed in as a function.

pub(crate) mod bind;
mod copy;
pub(crate) mod device;
mod filesystem;
mod hierarchy;
pub(crate) mod mask;
pub(crate) mod mount;
pub(crate) mod node;
pub(crate) mod option;
mod pivot;
pub(crate) mod place;
pub(crate) mod plan;
pub(crate) mod root;
pub(crate) mod stage;

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use rustix::fs::Mode;

use self::mount::Mount;
pub(crate) use self::pivot::enter;
use self::plan::Plan;
use self::root::{DIRECTORY, Root};
use self::stage::Stage;
use crate::cgroup;
use crate::kernel::error::Fails;
use crate::kernel::procfs::Procfs;
use crate::kernel::syscall::MountAttributes;

/// Separates the mount namespace from the host's, and makes the mounts and devices below the root. `from_parent` asks the parent to
/// open the source of a mount, given its index.
pub(crate) fn prepare(plan: &Plan, from_parent: &dyn Fn(usize) -> Result<OwnedFd>) -> Result<Root> {
    // The mounts below go through /proc/self/fd, so that must be the host's real procfs.
    Procfs::mounted()?;
    // Without a mount namespace this would change the host's mounts.
    if plan.mount_namespace {
        let propagation = plan.propagation.unwrap_or(libc::MS_SLAVE | libc::MS_REC);
        pivot::change("/", propagation).context("error preparing rootfs")?;
        pivot::make_parent_private(&plan.path, propagation).context("error preparing rootfs")?;
    }
    rustix::mount::mount_bind_recursive(&plan.path, &plan.path)
        .fails(|| format!("error preparing rootfs: mount {}", plan.path.display()))?;
    let mut root = Root::open(&plan.path)?;
    root.stage.begin(&plan.path)?;
    for (index, mount) in plan.mounts.iter().enumerate() {
        let late = make(plan, &root, mount, &|| from_parent(index)).with_context(|| {
            format!(
                "error mounting {:?} to rootfs at {:?}",
                mount.source.display().to_string(),
                mount.destination.display().to_string()
            )
        })?;
        root.late.extend(late);
    }
    if plan.makes_devices() {
        device::make_all(plan, &root).context("configuring container /dev")?;
    }
    root.stage.end()?;
    Ok(root)
}

/// Makes a mount below the root. Returns it if it must become read-only in the end.
///
/// `from_parent` asks the parent to open the source of a bind mount.
fn make(plan: &Plan, root: &Root, mount: &Mount, from_parent: &dyn Fn() -> Result<OwnedFd>) -> Result<Option<OwnedFd>> {
    match mount.kind.as_str() {
        "bind" => {
            let tree = bind::open_tree(plan, &root.stage, mount, from_parent)?;
            bind::bind(root, mount, &tree).map(|()| None)
        }
        "cgroup" if cgroup::is_unified() => hierarchy::unified(plan, root, mount).map(|()| None),
        "cgroup" => hierarchy::version_1(plan, root, mount).map(|()| None),
        _ => filesystem::make(plan, root, mount),
    }
}

/// Makes read-only what had to be writable until now: the mounts in `late`, and the root if it is to be.
pub(crate) fn finish(plan: &Plan, stage: &Stage, late: Vec<OwnedFd>) -> Result<()> {
    let read_only = MountAttributes { set: 1, ..MountAttributes::default() };
    for tree in late {
        stage.change(&tree, false, &read_only).fails(|| "remount read-only")?;
    }
    if plan.read_only {
        let root = rustix::fs::open("/", DIRECTORY, Mode::empty()).fails(|| "open /")?;
        stage
            .change(&root, false, &read_only)
            .fails(|| "remount / read-only")
            .context("error setting rootfs as readonly")?;
    }
    Ok(())
}
