//! All that is decided about a container's file system before anything of it exists.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::mount::Mount;
use super::node::{self, Node};
use super::option;
use crate::kernel::beneath;
use crate::kernel::procfs::in_user_namespace;
use crate::spec::{self, Items, Namespaces as _};

/// What the root file system is to be.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Its path on the host.
    pub(crate) path: PathBuf,
    /// Its mounts, in order.
    pub(crate) mounts: Vec<Mount>,
    /// Its device nodes.
    pub(crate) devices: Vec<Node>,
    /// `linux.rootfsPropagation`.
    pub(crate) propagation: Option<u64>,
    /// Whether the container has a mount namespace, new or joined.
    pub(crate) mount_namespace: bool,
    /// Whether the container has a cgroup namespace, new or joined.
    pub(crate) cgroup_namespace: bool,
    /// Whether the container gets ids of its own.
    pub(crate) userns: bool,
    /// `--no-pivot`.
    pub(crate) no_pivot: bool,
    /// `root.readonly`.
    pub(crate) read_only: bool,
    /// `linux.mountLabel`.
    pub(crate) mount_label: String,
    /// Whether devices are the host's, since none can be made.
    pub(crate) binds_devices: bool,
    /// Made by a user other than root.
    pub(crate) rootless: bool,
    /// The container's version 2 group.
    pub(crate) cgroup_path: Option<PathBuf>,
    /// `linux.readonlyPaths`.
    pub(crate) read_only_paths: Vec<String>,
    /// `linux.maskedPaths`.
    pub(crate) masked_paths: Vec<String>,
}

impl Plan {
    /// Reads a configuration whose root is at `path`.
    pub(crate) fn new(spec: &Spec, bundle: &Path, path: PathBuf, no_pivot: bool, rootless: bool) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let listed = spec::namespaces(spec);
        let userns = listed.has(LinuxNamespaceType::User);
        let mut mounts = Vec::new();
        for entry in spec.mounts().items() {
            let mount = Mount::from_spec(entry, bundle, &path)?;
            if mount.is_id_mapped() && rootless {
                bail!(
                    "invalid mount {}: id-mapped mounts are not supported for rootless containers",
                    mount.destination.display()
                );
            }
            mounts.push(mount);
        }
        let propagation = match linux.and_then(|linux| linux.rootfs_propagation().as_deref()) {
            None | Some("") => None,
            Some(name) => match option::propagation(name) {
                Some(flag) => Some(flag),
                None => bail!("rootfsPropagation={name} is not supported"),
            },
        };
        if no_pivot && propagation.is_some_and(|flag| flag & libc::MS_PRIVATE != 0) {
            bail!("rootfsPropagation of [r]private is not safe without pivot_root");
        }
        let strings = |strings: Option<&Vec<String>>| strings.cloned().unwrap_or_default();
        Ok(Self {
            path,
            mounts,
            devices: node::nodes(linux.map_or(&[][..], |linux| linux.devices().items()))?,
            propagation,
            mount_namespace: listed.has(LinuxNamespaceType::Mount),
            cgroup_namespace: listed.has(LinuxNamespaceType::Cgroup),
            userns,
            no_pivot,
            read_only: spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false),
            mount_label: linux.and_then(|linux| linux.mount_label().clone()).unwrap_or_default(),
            binds_devices: userns || in_user_namespace(),
            rootless,
            cgroup_path: None,
            read_only_paths: strings(linux.and_then(|linux| linux.readonly_paths().as_ref())),
            masked_paths: strings(linux.and_then(|linux| linux.masked_paths().as_ref())),
        })
    }

    /// Whether the configuration leaves `/dev` to run-tool.
    pub(crate) fn makes_devices(&self) -> bool {
        !self.mounts.iter().any(|mount| mount.is_bind() && beneath::clean(&mount.destination) == Path::new("/dev"))
    }
}
