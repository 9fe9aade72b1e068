//! The mounts of a container: docker's default ones, and those that were asked for.

use std::fs;
use std::path::PathBuf;

use image_tool::layer::owner;
use oci_spec::runtime::Mount;

use super::{Container, Ipc, Namespace};
use crate::option::limit::Host;
use crate::security::Confinement;

/// Builds a mount.
pub fn mount(destination: impl Into<PathBuf>, kind: &str, source: impl Into<PathBuf>, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount.set_destination(destination.into());
    mount.set_typ(Some(kind.to_owned()));
    mount.set_source(Some(source.into()));
    mount.set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

/// Whether the user namespace of the container has a group.
fn has_group(container: &Container<'_>, id: u32) -> bool {
    match &container.id_ranges {
        Some((_, groups)) => groups.iter().any(|(first, _, count)| id >= *first && id - first < *count),
        None => {
            let map = fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
            owner::IdMap::parse(&map).is_none_or(|map| map.outside(id).is_some())
        }
    }
}

pub(super) fn mounts(container: &Container<'_>, confinement: &Confinement) -> Vec<Mount> {
    let options = container.options;
    let rootless = container.id_ranges.is_some();
    let mode = |readonly| if readonly { "ro" } else { "rw" };
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    // The group tty, which a user namespace of a single group lacks.
    if has_group(container, 5) {
        pts.push("gid=5");
    }
    let mut list = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &pts),
    ];
    // Only the owner of a network namespace may mount its sysfs.
    let borrowed = rootless && options.network != Namespace::Private;
    if borrowed {
        list.push(mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]));
    } else {
        list.push(mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", mode(confinement.readonly_sysfs)]));
    }
    // With the host's /sys come the host's groups, instead of the container's, which a user may mount with version 2 alone.
    if !borrowed || Host::detect().unified {
        let cgroup = ["nosuid", "noexec", "nodev", "relatime", mode(confinement.readonly_cgroups)];
        list.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &cgroup));
    }
    list.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    match &options.ipc {
        Ipc::Private { shm: false } => {}
        Ipc::Private { shm: true } => {
            let size = format!("size={}", options.shm_size);
            list.push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]));
        }
        Ipc::Shared { shm, .. } => {
            list.push(mount("/dev/shm", "bind", shm, &["rbind", "nosuid", "noexec", "nodev", "rprivate"]));
        }
    }
    list.retain(|default| container.mounts.iter().all(|given| given.destination() != default.destination()));
    list.extend(container.mounts.iter().chain(&options.cdi.mounts).cloned());
    // A mount inside another must come after it; otherwise the order is kept.
    list.sort_by_key(|mount| mount.destination().components().count());
    list
}
