//! The networks that the tool makes, brought up and down by the kernel's own interfaces: netlink for the bridge and what is attached to it,
//! nf_tables for the rules. That takes milliseconds, where CNI's plugins and their iptables are two dozen processes.
//!
//! A network is still described by its conflist, and the result has the same form, so that it can also be brought up by plugins: where the
//! kernel lacks nf_tables, and if its conflist says what only plugins know. Everything here can be done again after a crash in its midst.

mod flow;
mod lease;
mod link;
mod netlink;
mod passage;
mod rule;
mod ruleset;
mod transaction;

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use serde::Deserialize;
use serde_json::{Value, json};

use self::lease::{Leases, Range};
use self::link::{Address, Mac};
pub(super) use self::link::{addresses, find, names, routes};
pub(super) use self::netlink::Socket;
use self::ruleset::{Forward, Policy};
use super::Error;
use super::cni::Conflist;
use super::subnet::Subnet;
use crate::bundle::name::random_bytes;
use crate::option::port::{Mapping, Protocol};

/// A network that can be brought up here: one bridge, with addresses by host-local, ports by portmap and rules by firewall.
#[derive(Clone, Debug)]
pub(super) struct Network {
    name: String,
    version: String,
    bridge: String,
    /// Whether the host has an address on the bridge.
    gateway: bool,
    masquerade: bool,
    /// Whether containers of the network do not reach each other.
    isolated: bool,
    mtu: Option<u32>,
    leases: PathBuf,
    sets: Vec<Vec<Range>>,
    /// The families for which the network is the way out.
    routes: Vec<Subnet>,
}

/// What a conflist that `design` wrote has for the plugin `bridge`. More or other than that is for the plugin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BridgePlugin {
    #[serde(rename = "type")]
    _kind: String,
    bridge: String,
    is_gateway: bool,
    ip_masq: bool,
    #[serde(rename = "hairpinMode")]
    _hairpin: bool,
    #[serde(default)]
    port_isolation: bool,
    mtu: Option<u32>,
    #[serde(rename = "capabilities")]
    _capabilities: Value,
    ipam: HostLocal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HostLocal {
    #[serde(rename = "type")]
    kind: String,
    data_dir: PathBuf,
    ranges: Vec<Vec<RangeOf>>,
    routes: Vec<Route>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RangeOf {
    subnet: String,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    dst: String,
}

/// An attachment of a container to a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// The id of the container.
    pub(super) id: &'a str,
    /// The name of the interface in the container.
    pub(super) interface: &'a str,
    /// The published ports.
    pub(super) ports: &'a [Mapping],
}

/// What a new member of a network asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// The path of the container's network namespace.
    pub(super) namespace: &'a Path,
    /// Its addresses; others are chosen.
    pub(super) ips: &'a [IpAddr],
    /// Its addresses of the link alone.
    pub(super) link_local: &'a [IpAddr],
    /// Its hardware address; by default it follows from the first address, so that nobody remembers another one for it.
    pub(super) mac: Option<&'a str>,
    /// The other members that are up, with their addresses, for a table that somebody has removed.
    pub(super) others: &'a [(Vec<Mapping>, Vec<IpAddr>)],
}

/// Why a network was not brought up here.
#[derive(Debug)]
pub(super) enum Failure {
    /// The kernel lacks something that plugins may do without. Nothing was made.
    Unsupported(io::Error),
    /// It cannot be brought up by plugins either.
    Failed(Error),
}

impl<T: Into<Error>> From<T> for Failure {
    fn from(error: T) -> Self {
        Self::Failed(error.into())
    }
}

fn kernel<T>(what: &str, name: &str, outcome: io::Result<T>) -> Result<T, Error> {
    outcome.map_err(|source| Error::Kernel { what: format!("{what} {name}"), source })
}

impl Network {
    /// The network of a conflist whose addresses are kept below `leases`; `None` if plugins must bring it up.
    pub(super) fn of(conflist: &Conflist, leases: &Path) -> Option<Self> {
        let [bridge, portmap, firewall] = &conflist.plugins[..] else { return None };
        let is = |plugin: &serde_json::Map<String, Value>, expected: Value| expected.as_object() == Some(plugin);
        let usual = is(portmap, json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}))
            && is(firewall, json!({"type": "firewall", "backend": "iptables", "ingressPolicy": "same-bridge"}))
            && bridge.get("type").is_some_and(|kind| kind == "bridge");
        if !usual {
            return None;
        }
        let plugin: BridgePlugin = serde_json::from_value(Value::Object(bridge.clone())).ok()?;
        if plugin.ipam.kind != "host-local" || !plugin.ipam.data_dir.starts_with(leases) {
            return None;
        }
        let sets = plugin
            .ipam
            .ranges
            .iter()
            .map(|set| set.iter().map(range).collect())
            .collect::<Option<Vec<Vec<Range>>>>()?;
        let routes: Option<Vec<Subnet>> = plugin.ipam.routes.iter().map(|route| route.dst.parse().ok()).collect();
        let default = |route: &Subnet| route.bits() == 0;
        Some(Self {
            name: conflist.name.clone(),
            version: conflist.version.clone(),
            bridge: plugin.bridge,
            gateway: plugin.is_gateway,
            masquerade: plugin.ip_masq,
            isolated: plugin.port_isolation,
            mtu: plugin.mtu,
            leases: plugin.ipam.data_dir.join(&conflist.name),
            sets: sets.into_iter().filter(|set| !set.is_empty()).collect(),
            routes: routes.filter(|routes| routes.iter().all(default))?,
        })
    }

    fn subnets(&self) -> Vec<Subnet> {
        self.sets.iter().filter_map(|set| set.first()).map(|range| range.subnet).collect()
    }

    fn policy(&self) -> Policy<'_> {
        Policy {
            bridge: &self.bridge,
            subnets: self.subnets(),
            masquerade: self.masquerade,
            internal: !self.gateway,
            mutual: !self.isolated,
        }
    }

    fn leases(&self) -> Leases<'_> {
        Leases { network: &self.name, folder: self.leases.clone() }
    }

    /// Connects a container to the network and returns the result of CNI's plugins (CNI specification 1.0, "Section 5: Result Types").
    pub(super) fn add(&self, member: &Member<'_>, wish: &Wish<'_>) -> Result<Value, Failure> {
        let owner = lease::owner(member.id, member.interface);
        let given = self.leases().take(&self.sets, wish.ips, &owner)?;
        let ips: Vec<IpAddr> = given.iter().map(|(ip, _)| *ip).collect();
        if let Err(failure) = self.rules(member, &ips, wish) {
            self.leases().release(&owner)?;
            return Err(failure);
        }
        let links = self.links(member, wish, &given)?;
        let ips: Vec<Value> = given
            .iter()
            .map(|(ip, range)| json!({"interface": 2, "address": format!("{ip}/{}", range.subnet.bits()), "gateway": range.gateway.to_string()}))
            .collect();
        let routes: Vec<Value> = self.routes.iter().map(|route| json!({"dst": route.to_string()})).collect();
        Ok(json!({"cniVersion": self.version, "interfaces": links, "ips": ips, "routes": routes, "dns": {}}))
    }

    fn rules(&self, member: &Member<'_>, ips: &[IpAddr], wish: &Wish<'_>) -> Result<(), Failure> {
        let forwards = forwards(member.ports, ips);
        let socket = Socket::netfilter().map_err(Failure::Unsupported)?;
        let exists = ruleset::exists(&socket, &self.bridge).map_err(Failure::Unsupported)?;
        if exists {
            kernel("rules of", &self.bridge, ruleset::publish(&socket, &self.bridge, &forwards))?;
        } else {
            let mut all = forwards;
            all.extend(wish.others.iter().flat_map(|(ports, ips)| self::forwards(ports, ips)));
            ruleset::create(&socket, &self.policy(), &all).map_err(Failure::Unsupported)?;
        }
        if self.gateway {
            kernel("rules for", &self.bridge, passage::open(&socket, &self.bridge, &self.subnets(), !exists))?;
        }
        Ok(())
    }

    /// Makes the interfaces and returns what the result says of them.
    fn links(&self, member: &Member<'_>, wish: &Wish<'_>, given: &[(IpAddr, Range)]) -> Result<Value, Error> {
        let bridge_addresses: Vec<Address> =
            if self.gateway { given.iter().map(|(_, range)| of(range.gateway, range)).collect() } else { Vec::new() };
        let link_local = wish.link_local.iter().map(|ip| Address { ip: *ip, bits: if ip.is_ipv6() { 64 } else { 16 } });
        let addresses: Vec<Address> = given.iter().map(|(ip, range)| of(*ip, range)).chain(link_local).collect();
        let gateways: Vec<IpAddr> = given
            .iter()
            .filter(|(ip, _)| self.routes.iter().any(|route| route.is_ipv6() == ip.is_ipv6()))
            .map(|(_, range)| range.gateway)
            .collect();
        let mac = wish.mac.and_then(parse_mac).unwrap_or_else(|| mac_of(given.first().map(|(ip, _)| *ip)));
        let socket = kernel("socket for", &self.bridge, Socket::route())?;
        let bridge = kernel(
            "bridge",
            &self.bridge,
            link::bridge(&socket, &self.bridge, random_mac(), self.mtu, &bridge_addresses),
        )?;
        self.forward(member.ports)?;
        let namespace = File::open(wish.namespace).during("open", wish.namespace)?;
        let name = port_name(member);
        // What a crash has left of an earlier start.
        kernel("interface", &name, link::remove(&socket, &[&name]))?;
        let port = link::Port {
            name: &name,
            bridge: bridge.index,
            isolated: self.isolated,
            mtu: self.mtu,
            namespace: namespace.as_fd(),
            inner: member.interface,
            mac,
        };
        let end = kernel("interface", &name, link::port(&socket, &port))?;
        let inside = Socket::within(namespace.as_fd(), |socket| {
            ipv6_inside(member.interface, addresses.iter().any(|address| address.ip.is_ipv6()));
            link::configure(socket, member.interface, &addresses, &gateways)
        });
        kernel("interface", member.interface, inside)?;
        Ok(json!([
            {"name": self.bridge, "mac": text(bridge.mac)},
            {"name": name, "mac": text(end.mac)},
            {"name": member.interface, "mac": text(mac), "sandbox": wish.namespace},
        ]))
    }

    /// Gives a container a way out by this network, if it has no other.
    pub(super) fn lead_out(&self, namespace: &Path, interface: &str, ips: &[IpAddr]) -> Result<(), Error> {
        let namespace = File::open(namespace).during("open", namespace)?;
        let ranges = self.sets.iter().filter_map(|set| set.first());
        let gateways: Vec<IpAddr> = ranges
            .filter(|range| ips.iter().any(|ip| range.subnet.contains(*ip)))
            .filter(|range| self.routes.iter().any(|route| route.is_ipv6() == range.subnet.is_ipv6()))
            .map(|range| range.gateway)
            .collect();
        let inside = Socket::within(namespace.as_fd(), |socket| link::configure(socket, interface, &[], &gateways));
        kernel("interface", interface, inside)
    }

    /// Lets the kernel forward packets of the network.
    fn forward(&self, ports: &[Mapping]) -> Result<(), Error> {
        if !self.gateway {
            return Ok(());
        }
        let ipv6 = |wanted: bool| self.subnets().iter().any(|subnet| subnet.is_ipv6() == wanted);
        if ipv6(false) {
            set("ipv4/ip_forward", "1")?;
        }
        if ipv6(true) {
            set("ipv6/conf/all/forwarding", "1")?;
        }
        // The host must not take its routes from a container (CVE-2020-13401). A kernel without IPv6 has no such file.
        let _ = set(&format!("ipv6/conf/{}/accept_ra", self.bridge), "0");
        if !ports.is_empty() && ipv6(false) {
            set(&format!("ipv4/conf/{}/route_localnet", self.bridge), "1")?;
        }
        Ok(())
    }

    /// Disconnects a container. What of it is not there is no error. With `last`, the network itself goes too: its table and, if `own`, its
    /// bridge, unless something else is attached to that.
    pub(super) fn delete(&self, member: &Member<'_>, ips: &[IpAddr], last: bool, own: bool) -> Result<(), Error> {
        let rules = kernel("socket for rules of", &self.bridge, Socket::netfilter())?;
        if last {
            kernel("rules of", &self.bridge, ruleset::remove(&rules, &self.bridge))?;
            kernel("rules for", &self.bridge, passage::close(&rules, &self.bridge, &self.subnets()))?;
        } else {
            // It may have ended before its addresses were recorded.
            let forwards = if ips.is_empty() { keys(member.ports) } else { forwards(member.ports, ips) };
            kernel("rules of", &self.bridge, ruleset::withdraw(&rules, &self.bridge, &forwards))?;
        }
        let datagrams = member.ports.iter().any(|port| port.protocol == Protocol::Udp);
        for ip in ips.iter().filter(|_| datagrams) {
            if let Err(error) = flow::forget(&rules, *ip) {
                tracing::debug!("connections of {ip}: {error}");
            }
        }
        let socket = kernel("socket for", &self.bridge, Socket::route())?;
        let name = port_name(member);
        let mut names = vec![name.as_str()];
        if last && own && kernel("bridge", &self.bridge, self.is_unused(&socket, &name))? {
            names.push(&self.bridge);
        }
        kernel("interface", &name, link::remove(&socket, &names))?;
        self.leases().release(&lease::owner(member.id, member.interface))
    }

    /// Whether nothing but `port` is attached to the bridge.
    fn is_unused(&self, socket: &Socket, port: &str) -> io::Result<bool> {
        let Some(bridge) = link::find(socket, &self.bridge)? else { return Ok(false) };
        Ok(link::ports(socket, bridge.index)?.iter().all(|name| name == port))
    }
}

/// Removes a bridge without ports.
pub(super) fn remove_bridge(name: &str) -> io::Result<()> {
    let socket = Socket::route()?;
    match link::find(&socket, name)? {
        Some(bridge) if link::ports(&socket, bridge.index)?.is_empty() => link::remove(&socket, &[name]),
        _ => Ok(()),
    }
}

fn range(of: &RangeOf) -> Option<Range> {
    let subnet: Subnet = of.subnet.parse().ok()?;
    let (first, last) = subnet.hosts();
    Some(Range {
        subnet,
        first: of.range_start.unwrap_or(first),
        last: of.range_end.unwrap_or(last),
        gateway: of.gateway.unwrap_or(first),
    })
}

fn of(ip: IpAddr, range: &Range) -> Address {
    Address { ip, bits: range.subnet.bits() }
}

/// The published ports that the kernel can lead to a container: those on addresses of a family in which it has one.
fn forwards(ports: &[Mapping], ips: &[IpAddr]) -> Vec<Forward> {
    let forward = |port: &Mapping| {
        let to = ips.iter().find(|ip| ip.is_ipv6() == port.ip.is_ipv6())?;
        let from = SocketAddr::new(port.ip, port.host);
        Some(Forward { from, protocol: port.protocol, to: SocketAddr::new(*to, port.container) })
    };
    ports.iter().filter_map(forward).collect()
}

/// The published ports, which lead nowhere: what the table knows them by.
fn keys(ports: &[Mapping]) -> Vec<Forward> {
    let from = |port: &Mapping| SocketAddr::new(port.ip, port.host);
    ports.iter().map(|port| Forward { from: from(port), protocol: port.protocol, to: from(port) }).collect()
}

/// The name of the end of a container's pair of interfaces that is on the host, within the kernel's 15 bytes.
fn port_name(member: &Member<'_>) -> String {
    let number = member.interface.trim_start_matches(|char: char| !char.is_ascii_digit());
    format!("veth{}{number}", member.id.get(..8).unwrap_or(member.id))
}

fn parse_mac(text: &str) -> Option<Mac> {
    let parts: Option<Vec<u8>> = text.split([':', '-']).map(|part| u8::from_str_radix(part, 16).ok()).collect();
    parts?.try_into().ok()
}

/// Docker's hardware address for an address: 02:42 and its last four bytes.
fn mac_of(ip: Option<IpAddr>) -> Mac {
    let last = match ip {
        Some(IpAddr::V4(ip)) => ip.octets(),
        Some(IpAddr::V6(ip)) => ip.octets().last_chunk().copied().unwrap_or_default(),
        None => random_bytes(),
    };
    [0x02, 0x42, last[0], last[1], last[2], last[3]]
}

fn random_mac() -> Mac {
    let [a, b, c, d] = random_bytes();
    [0x02, 0x42, a, b, c, d]
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Sets a parameter of the kernel's network, in the namespace of this thread.
fn set(name: &str, value: &str) -> Result<(), Error> {
    let path = Path::new("/proc/sys/net").join(name);
    if fs::read_to_string(&path).is_ok_and(|text| text.trim() == value) {
        return Ok(());
    }
    Ok(fs::write(&path, value).during("write", &path)?)
}

/// As in docker, an interface without an address of IPv6 has none that it gives itself either, and none takes routes from its neighbours.
fn ipv6_inside(interface: &str, wanted: bool) {
    let parameter = |name: &str, value: &str| {
        // A kernel without IPv6 has no such file.
        let _ = set(&format!("ipv6/conf/{interface}/{name}"), value);
    };
    parameter("accept_ra", "0");
    parameter("disable_ipv6", if wanted { "0" } else { "1" });
}
