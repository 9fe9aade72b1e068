//! The Linux part of the configuration: namespaces, control groups, devices, kernel parameters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType};

use super::{Container, Error, IdRange, Ipc, Namespace, Options};
use crate::option::Refused;
use crate::option::device::{self, Rule};
use crate::option::limit::Host;
use crate::rootfs;
use crate::security::{Confinement, MASKED_PATHS, READONLY_PATHS};

pub(super) fn linux(container: &Container<'_>, confinement: &Confinement) -> Result<Linux, Error> {
    let options = container.options;
    let host = Host::detect();
    let mut resources = options.limits.resources(&host)?;
    let mut rules = if options.privileged { device::privileged_rules() } else { device::default_rules() };
    let mut nodes = if options.privileged { device::all().during("read", "/dev")? } else { Vec::new() };
    for each in &options.devices {
        for (node, rule) in device::resolve(each)? {
            nodes.retain(|known| known.path() != node.path());
            nodes.push(node);
            if !options.privileged {
                rules.push(rule);
            }
        }
    }
    for (node, rule) in &options.cdi.nodes {
        nodes.retain(|known| known.path() != node.path());
        nodes.push(node.clone());
        if !options.privileged {
            rules.push(rule.clone());
        }
    }
    rules.extend(options.device_rules.iter().map(Rule::to_oci));
    resources.set_devices(Some(rules));

    let mut linux = Linux::default();
    linux.set_namespaces(Some(namespaces(container, &host)));
    linux.set_resources(Some(resources));
    linux.set_devices(Some(nodes).filter(|list| !list.is_empty()));
    linux.set_sysctl(
        Some(sysctls(options, is_rootless(container))?.into_iter().collect())
            .filter(|map: &std::collections::HashMap<_, _>| !map.is_empty()),
    );
    let paths = |list: &[&str]| {
        Some(list.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>()).filter(|_| confinement.system_paths)
    };
    linux.set_masked_paths(paths(&MASKED_PATHS));
    linux.set_readonly_paths(paths(&READONLY_PATHS));
    linux.set_cgroups_path(options.cgroup_parent.as_ref().map(|parent| cgroup_path(parent, container.id)));
    if let Some((users, groups)) = &container.id_ranges {
        linux.set_uid_mappings(Some(users.iter().map(mapping).collect()));
        linux.set_gid_mappings(Some(groups.iter().map(mapping).collect()));
    } else {
        linux.set_uid_mappings(None);
        linux.set_gid_mappings(None);
    }
    Ok(linux)
}

/// The control group below a parent: `SLICE:PREFIX:ID` for a systemd slice, else a path.
fn cgroup_path(parent: &str, id: &str) -> PathBuf {
    if parent.ends_with(".slice") { format!("{parent}:oci:{id}").into() } else { Path::new("/").join(parent).join(id) }
}

fn mapping(range: &IdRange) -> LinuxIdMapping {
    let (inside, outside, count) = *range;
    let built = LinuxIdMappingBuilder::default().container_id(inside).host_id(outside).size(count).build();
    built.expect("all three are set")
}

fn namespaces(container: &Container<'_>, host: &Host) -> Vec<LinuxNamespace> {
    let options = container.options;
    let mut list = Vec::new();
    let mut add = |kind, space: &Namespace| {
        let path = match space {
            Namespace::Host => return,
            Namespace::Private => None,
            Namespace::Path(path) => Some(path.clone()),
        };
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace.set_path(path);
        list.push(namespace);
    };
    if container.id_ranges.is_some() {
        add(LinuxNamespaceType::User, &Namespace::Private);
    }
    add(LinuxNamespaceType::Mount, &Namespace::Private);
    add(LinuxNamespaceType::Network, &options.network);
    add(LinuxNamespaceType::Uts, &options.uts);
    add(LinuxNamespaceType::Pid, &options.pid);
    let ipc = match &options.ipc {
        Ipc::Private { .. } => &Namespace::Private,
        Ipc::Shared { namespace, .. } => namespace,
    };
    add(LinuxNamespaceType::Ipc, ipc);
    // Docker's default: a namespace of its own with version 2, that of the host with version 1 and for privileged containers.
    let own = host.unified && !options.privileged;
    let default = if own { Namespace::Private } else { Namespace::Host };
    add(LinuxNamespaceType::Cgroup, options.cgroup.as_ref().unwrap_or(&default));
    list
}

/// Whether the container is in a user namespace, where most kernel parameters cannot be set.
pub(super) fn is_rootless(container: &Container<'_>) -> bool {
    container.id_ranges.is_some() || rootfs::in_user_namespace()
}

pub(super) fn sysctls(options: &Options, rootless: bool) -> Result<BTreeMap<String, String>, Error> {
    let mut all = BTreeMap::new();
    let own_network = options.network == Namespace::Private;
    let own_ipc = matches!(options.ipc, Ipc::Private { .. } | Ipc::Shared { namespace: Namespace::Private, .. });
    if own_network {
        // As in docker, all users of the container may bind low ports and ping.
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        if !rootless {
            // The kernel refuses groups that the user namespace lacks.
            all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
        }
    }
    if let Some(domain) = options.domainname.as_ref().filter(|_| options.uts == Namespace::Private && !rootless) {
        all.insert("kernel.domainname".to_owned(), domain.clone());
    }
    for (name, value) in &options.sysctls {
        let ipc = name.starts_with("fs.mqueue.")
            || [
                "kernel.msgmax",
                "kernel.msgmnb",
                "kernel.msgmni",
                "kernel.sem",
                "kernel.shmall",
                "kernel.shmmax",
                "kernel.shmmni",
                "kernel.shm_rmid_forced",
            ]
            .contains(&name.as_str());
        let refused = |reason: &str| Err(Refused::new("--sysctl", format!("{name}: {reason}")).into());
        match name.as_str() {
            name if name.starts_with("net.") => {
                if !own_network {
                    return refused("the container's network is not its own");
                }
            }
            _ if ipc => {
                if !own_ipc {
                    return refused("the container's IPC namespace is not its own");
                }
            }
            _ => return refused("not a namespaced kernel parameter"),
        }
        all.insert(name.clone(), value.clone());
    }
    Ok(all)
}
