//! Networks: which one a container is in, and the hook's work of bringing it up and taking it down.
//!
//! A network is a CNI conflist, a file that a person can edit: `networks/NAME.conflist` in the data folder, else one in
//! /etc/cni/net.d. `bridge` is written there the first time that it is needed. The plugins do the work; this module calls them in
//! order, as the CNI specification has it, from OCI hooks, so whichever runtime runs the bundle sets the network up.
//!
//! This room knows `option` (ports), `bundle` (the grammar of names) and `rootfs` (mounts), and no container: what it sets up is a plan.

pub mod cni;
pub mod files;
mod firewall;
mod hooks;
pub mod state;

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bundle::name::is_name;
use crate::option::port::{self, Mapping};

pub use hooks::hooks;

/// A network that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No conflist of that name.
    #[error("no network {name} (bundle-tool network ls shows what there is)")]
    NoNetwork {
        /// The network.
        name: String,
    },
    /// A conflist does not read as one.
    #[error("{}: {reason}", .path.display())]
    Conflist {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A plugin's program is nowhere.
    #[error("no CNI plugin {name} in {places} (apt install containernetworking-plugins, or --network host or none)")]
    NoPlugin {
        /// The plugin.
        name: String,
        /// Where it was looked for.
        places: String,
    },
    /// A plugin failed.
    #[error("CNI plugin {name}: {reason}")]
    Plugin {
        /// The plugin.
        name: String,
        /// What it said.
        reason: String,
    },
    /// A port leads to another container.
    #[error("port {port} leads to container {container} (publish another, or run-tool delete {container} first)")]
    PortTaken {
        /// Address, port and protocol.
        port: String,
        /// The container.
        container: String,
    },
    /// A port is not to be had.
    #[error(transparent)]
    Port(#[from] port::Error),
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// `--network`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A loopback interface and nothing else.
    None,
    /// The host's.
    Host,
    /// Another container's.
    Container(String),
    /// A CNI network.
    Named(String),
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("container", name)) if !name.is_empty() => Ok(Self::Container(name.into())),
            None if text == "none" => Ok(Self::None),
            None if text == "host" => Ok(Self::Host),
            None if text == "default" => Ok(Self::Named("bridge".into())),
            None if is_name(text) => Ok(Self::Named(text.into())),
            _ => Err(format!("{text:?} is none of none, host, container:NAME, a network's name")),
        }
    }
}

/// What the hook is to set up, in the bundle's annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Plan {
    /// The network.
    pub network: String,
    /// A fixed address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// A fixed IPv6 address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip6: Option<IpAddr>,
    /// A fixed hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Names by which others on the network find the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Names for this host, as the container sees it (`--add-host NAME:host-gateway`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway_names: Vec<String>,
    /// Names for other containers (`--link`): container, name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<(String, String)>,
    /// Published ports, as `HOST:PORT->PORT/PROTOCOL`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
}

impl Plan {
    /// The published ports.
    pub fn mappings(&self) -> Result<Vec<Mapping>, Error> {
        Ok(self.ports.iter().map(|text| text.parse()).collect::<Result<_, port::Error>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_docker_reads_them() {
        let cases = [
            ("none", Mode::None),
            ("host", Mode::Host),
            ("bridge", Mode::Named("bridge".into())),
            ("default", Mode::Named("bridge".into())),
            ("container:web", Mode::Container("web".into())),
            ("my-net", Mode::Named("my-net".into())),
        ];
        for (text, mode) in cases {
            assert_eq!(text.parse(), Ok(mode));
        }
        for text in ["", "container:", "a/b", "..", "ns:/x"] {
            assert!(text.parse::<Mode>().is_err(), "{text}");
        }
    }
}
