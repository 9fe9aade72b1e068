//! The plan of a container's file system, decided from the configuration before anything is set up.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::mount::Mount;
use super::node::{self, Node};
use super::option;
use crate::cgroup::v1::Hierarchy;
use crate::kernel::beneath;
use crate::kernel::procfs::in_user_namespace;
use crate::spec::{self, Items, Namespaces as _, annotation};

/// What to set up.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The absolute path of the root on the host.
    pub(crate) path: PathBuf,
    /// The mounts, in the order of the configuration.
    pub(crate) mounts: Vec<Mount>,
    /// The device nodes, the default ones included.
    pub(crate) devices: Vec<Node>,
    /// The flags for `linux.rootfsPropagation`; `None` if it is not set.
    pub(crate) propagation: Option<u64>,
    /// Whether the container has a mount namespace, new or joined.
    pub(crate) mount_namespace: bool,
    /// Whether the container has a cgroup namespace, new or joined.
    pub(crate) cgroup_namespace: bool,
    /// Whether the container has a user namespace, new or joined.
    pub(crate) userns: bool,
    /// `--no-pivot`.
    pub(crate) no_pivot: bool,
    /// `root.readonly`.
    pub(crate) read_only: bool,
    /// `linux.mountLabel` as a mount option, `context="LABEL"`; empty if there is none.
    pub(crate) mount_context: String,
    /// Whether device nodes are bind mounts of the host's, because a user namespace cannot create any.
    pub(crate) binds_devices: bool,
    /// Whether the container is created by a user other than root.
    pub(crate) rootless: bool,
    /// The folder of the container's cgroup v2, set once it exists.
    pub(crate) cgroup_path: Option<PathBuf>,
    /// The hierarchies of cgroup v1; `None` if they must be looked for, because the container joins another mount namespace.
    pub(crate) hierarchies: Option<Vec<Hierarchy>>,
    /// `linux.readonlyPaths`.
    pub(crate) read_only_paths: Vec<String>,
    /// `linux.maskedPaths`.
    pub(crate) masked_paths: Vec<String>,
}

impl Plan {
    /// Plans the file system of a configuration whose root is at `path`.
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
            mount_context: annotation::mount_context(spec)?,
            binds_devices: userns || in_user_namespace(),
            rootless,
            cgroup_path: None,
            hierarchies: None,
            read_only_paths: strings(linux.and_then(|linux| linux.readonly_paths().as_ref())),
            masked_paths: strings(linux.and_then(|linux| linux.masked_paths().as_ref())),
        })
    }

    /// Whether run-tool creates the devices: it does unless the configuration bind mounts something on `/dev`.
    pub(crate) fn makes_devices(&self) -> bool {
        !self.mounts.iter().any(|mount| mount.is_bind() && beneath::clean(&mount.destination) == Path::new("/dev"))
    }
}
