//! The record of a container's network, by which it is taken down again and by which others find the container.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Plan;
use super::cni::{self, Attachment, Conflist};
use super::proxy::Process;
use crate::option::port::Mapping;
use crate::rootfs;

/// The record of a container's network, `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The 64-digit id of the container.
    pub(super) id: String,
    /// The name of the container.
    pub(super) name: String,
    /// The host name of the container.
    #[serde(default)]
    pub(super) hostname: String,
    /// The domain of the container; empty for none.
    #[serde(default)]
    pub(super) domain: String,
    /// The absolute path of the bundle.
    pub(super) bundle: PathBuf,
    /// The first process of the container.
    pub(super) pid: i32,
    /// The conflist that the network was set up with.
    pub(super) network: Value,
    /// The capabilities that the plugins got.
    pub(super) capabilities: Map<String, Value>,
    /// The result of the last plugin; absent until it has run.
    pub(super) result: Option<Value>,
    /// What is set up.
    pub(super) plan: Plan,
    /// The name of the interface in the container.
    #[serde(default = "first_interface")]
    pub(super) interface: String,
    /// Whether the network was brought up without plugins.
    #[serde(default)]
    pub(super) native: bool,
    /// The process that carries published ports, if one does.
    #[serde(default)]
    pub(super) proxy: Option<Process>,
    /// The lines that were added to the container's hosts file.
    #[serde(default)]
    pub(super) hosts: Vec<String>,
}

fn first_interface() -> String {
    interface(0)
}

/// The name of the interface in a container to its network number `index`.
pub(super) fn interface(index: usize) -> String {
    format!("eth{index}")
}

impl Record {
    /// The name of the record's file, in the folder of its container.
    pub(super) fn file_name(&self) -> String {
        if self.interface == first_interface() { "state.json".into() } else { format!("{}.json", self.interface) }
    }

    /// Whether both are of the same connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.interface == other.interface
    }

    pub(super) fn attachment<'a>(&'a self, namespace: &'a Path) -> Attachment<'a> {
        Attachment {
            id: &self.id,
            interface: &self.interface,
            namespace,
            capabilities: self.capabilities.clone(),
            plugins: cni::plugin_folders(),
        }
    }

    /// Whether the container's first process still runs in the network namespace, which is held at `namespace`.
    pub(super) fn alive(&self, namespace: &Path) -> bool {
        let held = || if rootfs::is_mounted(namespace) { fs::metadata(namespace).ok() } else { None };
        fs::metadata(format!("/proc/{}/ns/net", self.pid)).is_ok_and(|own| {
            // Another process that has got this pid since is in another namespace.
            held().is_none_or(|held| held.ino() == own.ino())
        })
    }

    /// Whether `container` is its name or the first digits of its id.
    pub(super) fn is(&self, container: &str) -> bool {
        self.name == container || (!container.is_empty() && self.id.starts_with(container))
    }

    /// Whether the container is on this network. Those of two homes may have one name, but not one bridge.
    pub(super) fn is_of(&self, network: &Conflist) -> bool {
        self.plan.network == network.name
            && Conflist::from_value(&self.network)
                .is_ok_and(|own| own.bridge() == network.bridge() && own.leases() == network.leases())
    }

    /// Whether both are on one network.
    pub(super) fn shares_network(&self, other: &Self) -> bool {
        self.plan.network == other.plan.network
            && (self.network == other.network
                || Conflist::from_value(&other.network).is_ok_and(|network| self.is_of(&network)))
    }

    fn ips(&self) -> impl Iterator<Item = &Value> {
        self.result.as_ref().and_then(|result| result.get("ips")).and_then(Value::as_array).into_iter().flatten()
    }

    /// The addresses of the container.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let text = |ip: &Value| {
            ip.get("address").and_then(Value::as_str).and_then(|text| text.split('/').next()?.parse().ok())
        };
        self.ips().filter_map(text).collect()
    }

    /// The address of the host on the network.
    pub(super) fn gateway(&self) -> Option<IpAddr> {
        self.ips().find_map(|ip| ip.get("gateway").and_then(Value::as_str)?.parse().ok())
    }
}

/// What the plugins get for a plan.
pub(super) fn capabilities(plan: &Plan, mappings: &[Mapping]) -> Map<String, Value> {
    let mut all = Map::new();
    if !mappings.is_empty() {
        // Without an address, portmap publishes a port on those of both families.
        let both = |mapping: &&Mapping| {
            mapping.ip.is_ipv4() || !mapping.ip.is_unspecified() || {
                let twin = Mapping { ip: std::net::Ipv4Addr::UNSPECIFIED.into(), ..(*mapping).clone() };
                !mappings.contains(&twin)
            }
        };
        let ports = mappings.iter().filter(both).map(|mapping| {
            let mut port = json!({"hostPort": mapping.host, "containerPort": mapping.container, "protocol": mapping.protocol.as_str()});
            if !mapping.ip.is_unspecified() {
                port["hostIP"] = mapping.ip.to_string().into();
            }
            port
        });
        all.insert("portMappings".into(), ports.collect());
    }
    if let Some(mac) = &plan.mac {
        all.insert("mac".into(), mac.clone().into());
    }
    let ips: Vec<Value> = [plan.ip, plan.ip6].into_iter().flatten().map(|ip| ip.to_string().into()).collect();
    if !ips.is_empty() {
        all.insert("ips".into(), ips.into());
    }
    all
}
