//! Networks of containers: how they are described, brought up and taken down.
//!
//! A network is a CNI conflist, a file that can be edited: `networks/NAME.conflist` in the data folder, or one in /etc/cni/net.d. That of
//! `bridge` is written when it is first needed. CNI's plugins do the work. They are called from OCI hooks, so that any runtime that runs
//! the bundle sets its network up.
//!
//! This room knows `option` (ports), `bundle` (the grammar of names) and `rootfs` (mounts), but no container: it carries out a [`Plan`].

pub mod cni;
mod connection;
pub mod design;
pub mod files;
mod firewall;
mod hooks;
mod host;
pub mod identity;
mod names;
mod native;
pub mod proxy;
mod record;
pub mod state;
pub mod subnet;

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bundle::name::is_network_name;
use crate::option::port::{self, Mapping};

pub use hooks::hooks;

/// Why a network cannot be found, brought up or taken down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No conflist has that name.
    #[error("{name}: no such network (bundle-tool network ls)")]
    NoNetwork {
        /// The name that was asked for.
        name: String,
    },
    /// A file is not a valid conflist.
    #[error("{}: {reason}", .path.display())]
    Conflist {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the file.
        reason: String,
    },
    /// A new network cannot be what it is wanted to be.
    #[error("{name}: {reason}")]
    Unfit {
        /// The name of the new network.
        name: String,
        /// Why it cannot be made.
        reason: String,
    },
    /// A new network is to have addresses of another.
    #[error("{name}: --subnet {subnet}: overlaps {other}, which another network has")]
    Overlap {
        /// The name of the new network.
        name: String,
        /// The subnet that it is to have.
        subnet: String,
        /// The subnet of the other network.
        other: String,
    },
    /// The host has got an interface or a route with the network's addresses since the network was made.
    #[error(
        "{network}: subnet {subnet} is in use by {interface} of this host (bundle-tool network rm {network}, and create it anew)"
    )]
    SubnetTaken {
        /// The name of the network.
        network: String,
        /// The subnet of the network.
        subnet: String,
        /// The interface that has its addresses.
        interface: String,
    },
    /// A plugin is not installed.
    #[error(
        "CNI plugin {name}: not found in {places} (apt install containernetworking-plugins, or --network host or none)"
    )]
    NoPlugin {
        /// The type of the plugin, which is its file's name.
        name: String,
        /// The folders that were searched, separated by colons.
        places: String,
    },
    /// A plugin failed.
    #[error("CNI plugin {name}: {reason}")]
    Plugin {
        /// The type of the plugin.
        name: String,
        /// The plugin's message, in one line.
        reason: String,
    },
    /// The kernel refused an interface or a rule.
    #[error("{what}")]
    Kernel {
        /// What was to be made or removed.
        what: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// A container cannot have the address that it asks for.
    #[error("{network}: address {address}: {reason}")]
    Address {
        /// The name of the network.
        network: String,
        /// The address.
        address: IpAddr,
        /// Why the container cannot have it.
        reason: &'static str,
    },
    /// All addresses of a network are in use.
    #[error("{network}: no free address (remove containers, or create a larger network)")]
    NoAddress {
        /// The name of the network.
        network: String,
    },
    /// A container is on the network already.
    #[error("{container}: is on network {network} already (bundle-tool network disconnect {network} {container})")]
    Connected {
        /// The name of the network.
        network: String,
        /// The name of the container.
        container: String,
    },
    /// A port leads to another container.
    #[error(
        "Bind for {port} failed: port is already allocated: it leads to container {container} (publish another, or run-tool delete {container})"
    )]
    PortTaken {
        /// The address, port and protocol.
        port: String,
        /// The name of the container.
        container: String,
    },
    /// The program that carries ports cannot do it.
    #[error("published ports: {0}")]
    Proxy(String),
    /// A port cannot be published.
    #[error(transparent)]
    Port(#[from] port::Error),
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// The value of `--network`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No network but a loopback interface.
    None,
    /// The network of the host.
    Host,
    /// The network of another container, by its name.
    Container(String),
    /// A CNI network, by its name.
    Named(String),
}

/// The network whose containers know each other by `--link` alone, as in docker: the default one.
const LINKS_ONLY: &str = "bridge";

impl Mode {
    /// Whether containers know each other by name there.
    #[must_use]
    pub fn has_names(&self) -> bool {
        matches!(self, Self::Named(name) if name != LINKS_ONLY)
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("container", name)) if !name.is_empty() => Ok(Self::Container(name.into())),
            None if text == "none" => Ok(Self::None),
            None if text == "host" => Ok(Self::Host),
            None if text == "default" => Ok(Self::Named("bridge".into())),
            None if text == "container" => Err("invalid container format container:<name|id>".into()),
            None if is_network_name(text) => Ok(Self::Named(text.into())),
            _ => Err(format!("{text:?} is not a valid network (none, host, container:NAME or the name of a network)")),
        }
    }
}

/// What the hook sets up for a container, written in the bundle's annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Plan {
    /// The name of the network.
    pub network: String,
    /// A fixed IPv4 address; absent if the plugins choose one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// A fixed IPv6 address; absent if the plugins choose one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip6: Option<IpAddr>,
    /// Further addresses of the interface, which are of the link alone (`--link-local-ip`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
    /// A fixed MAC address; absent if the kernel chooses one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Further names, beside its own, by which other containers of the network find this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Names for the host's address on the network (`--add-host NAME:host-gateway`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway_names: Vec<String>,
    /// Names for other containers (`--link`): the container and its name here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<(String, String)>,
    /// The ports that the container exposes or publishes, as `PORT/PROTOCOL`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<String>,
    /// The published ports, as `IP:PORT->PORT/PROTOCOL`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// The plans of the container's other networks. What is of the whole container is in the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Plan>,
}

impl Plan {
    /// The published ports, parsed.
    pub fn mappings(&self) -> Result<Vec<Mapping>, Error> {
        Ok(self.ports.iter().map(|text| text.parse()).collect::<Result<_, port::Error>>()?)
    }

    /// The plan of each network of the container, this one first. Of a container that was disconnected from all there is none.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others).filter(|plan| !plan.network.is_empty())
    }

    /// Adds a network.
    pub fn join(&mut self, mut plan: Self) {
        if self.network.is_empty() {
            plan.take_whole(self);
            *self = plan;
        } else {
            self.others.push(plan);
        }
    }

    /// Removes a network, and returns whether it was one of the container's.
    pub fn leave(&mut self, network: &str) -> bool {
        if self.network != network {
            let before = self.others.len();
            self.others.retain(|plan| plan.network != network);
            return self.others.len() < before;
        }
        let mut rest = std::mem::take(&mut self.others).into_iter();
        let mut next = rest.next().unwrap_or_default();
        next.take_whole(self);
        next.others = rest.collect();
        *self = next;
        true
    }

    /// Takes over what is of the whole container.
    fn take_whole(&mut self, first: &mut Self) {
        self.ports = std::mem::take(&mut first.ports);
        self.exposed = std::mem::take(&mut first.exposed);
        self.gateway_names = std::mem::take(&mut first.gateway_names);
    }
}

/// One of the networks that a container is to have (`--network name=NAME,alias=NAME,ip=IP`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The name of the network.
    pub network: String,
    /// Names of the container on the network.
    pub aliases: Vec<String>,
    /// A fixed IPv4 address; absent if one is chosen.
    pub ip: Option<IpAddr>,
    /// A fixed IPv6 address; absent if one is chosen.
    pub ip6: Option<IpAddr>,
    /// Further addresses, which are of the link alone.
    pub link_local: Vec<IpAddr>,
    /// A fixed MAC address; absent if one is chosen.
    pub mac: Option<String>,
}

/// A `--network`, in docker's long or short form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What is chosen.
    pub mode: Mode,
    /// What is asked of a network by its name.
    pub endpoint: Endpoint,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            return Ok(Self { mode: text.parse()?, endpoint: Endpoint::default() });
        }
        let (mut mode, mut endpoint) = (None, Endpoint::default());
        for field in text.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let wrong = || format!("{field:?} is not a valid field");
            match key {
                "name" => mode = Some(value.parse::<Mode>()?),
                "alias" if !value.is_empty() => endpoint.aliases.push(value.into()),
                "ip" => endpoint.ip = Some(value.parse::<std::net::Ipv4Addr>().map_err(|_| wrong())?.into()),
                "ip6" => endpoint.ip6 = Some(value.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?.into()),
                "link-local-ip" => endpoint.link_local.push(value.parse().map_err(|_| wrong())?),
                "mac-address" if is_mac(value) => endpoint.mac = Some(value.into()),
                _ => return Err(format!("{} (expected name, alias, ip, ip6, link-local-ip or mac-address)", wrong())),
            }
        }
        let mode = mode.ok_or_else(|| format!("{text:?} has no name= of a network"))?;
        match &mode {
            Mode::Named(name) => endpoint.network.clone_from(name),
            _ if endpoint != Endpoint::default() => return Err(format!("{text:?}: only a network has fields")),
            _ => {}
        }
        Ok(Self { mode, endpoint })
    }
}

/// Whether a text is a hardware address: six pairs of hexadecimal digits.
pub fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_fields_in_the_long_form() {
        let read = |text: &str| text.parse::<Choice>();
        let long =
            read("name=shop,alias=db,alias=store,ip=10.9.0.5,ip6=fd00::5,link-local-ip=169.254.0.5,mac-address=02:42:00:00:00:01").unwrap();
        let expected = Endpoint {
            network: "shop".into(),
            aliases: vec!["db".into(), "store".into()],
            ip: Some("10.9.0.5".parse().unwrap()),
            ip6: Some("fd00::5".parse().unwrap()),
            link_local: vec!["169.254.0.5".parse().unwrap()],
            mac: Some("02:42:00:00:00:01".into()),
        };
        assert_eq!((long.mode, long.endpoint), (Mode::Named("shop".into()), expected));
        assert_eq!(read("shop").unwrap().mode, Mode::Named("shop".into()));
        assert_eq!(read("name=host").unwrap().mode, Mode::Host);
        for text in [
            "alias=db",
            "name=host,alias=db",
            "name=shop,ip=fd00::5",
            "name=shop,ip6=1.2.3.4",
            "name=shop,x=y",
            "name=shop,link-local-ip=x",
            "name=shop,alias=",
            "name=",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_join_and_leave_a_plan() {
        let plan = |name: &str| Plan { network: name.into(), ..Plan::default() };
        let mut own = Plan { ports: vec!["0.0.0.0:80->80/tcp".into()], ..plan("a") };
        own.join(plan("b"));
        own.join(plan("c"));
        let names = |plan: &Plan| plan.all().map(|each| each.network.clone()).collect::<Vec<_>>();
        assert_eq!(names(&own), ["a", "b", "c"]);
        assert!(own.leave("a") && !own.leave("a"));
        assert_eq!(
            (names(&own), own.ports.len()),
            (vec!["b".to_owned(), "c".to_owned()], 1),
            "ports are the container's"
        );
        assert!(own.leave("c") && own.leave("b"));
        assert!(names(&own).is_empty());
        own.join(plan("d"));
        assert_eq!((names(&own), own.ports.len()), (vec!["d".to_owned()], 1));
    }

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
