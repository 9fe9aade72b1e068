//! The network of a container, its ports, names and name servers.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bundle_tool::bundle::{Bundle, annotation};
use bundle_tool::config::Namespace;
use bundle_tool::container::Connection;
use bundle_tool::network::files::ExtraHost;
use bundle_tool::network::{Choice, Endpoint, Mode, Plan, is_mac};
use bundle_tool::option::boolean;
use bundle_tool::option::domain::Domain;
use bundle_tool::option::port::{Expose, Publish};
use bundle_tool::rootfs;
use clap::{ArgAction, ValueHint};
use image_tool::address::home::Home;

use super::security::process_of;
use super::{candidates, refuse};
use crate::command::named;

const HOST_AND_LINKS: &str =
    "conflicting options: host type networking can't be used with links. This would result in undefined behavior";

/// An address, or another name, for a container where it cannot have one.
pub(in crate::command) const NO_ADDRESS: &str = "user specified IP address is supported on user defined networks only";
pub(in crate::command) const NO_ALIAS: &str =
    "network-scoped alias is supported only for containers in user defined networks";
const NO_NETWORK: &str = "needs a network of the container's own (such as --network bridge)";

#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
pub(super) struct Network {
    /// Connect the container to a network: bridge, none, host, container:NAME or the name of a network, or
    /// name=NETWORK,alias=NAME,ip=IP,ip6=IP,link-local-ip=IP,mac-address=MAC; may be repeated for networks by their names [default: bridge for
    /// root, else host].
    #[arg(long, alias = "net", value_name = "NETWORK", allow_hyphen_values = true, add = candidates::network_modes())]
    pub(super) network: Vec<Choice>,
    /// Publish a container's port, or a range of ports, to the host; may be repeated.
    #[arg(short, long, value_name = "[[IP:]PORT:]PORT[/PROTOCOL]", allow_hyphen_values = true)]
    pub(super) publish: Vec<Publish>,
    /// Publish all exposed ports to random ports of the host.
    #[arg(short = 'P', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    pub(super) publish_all: bool,
    /// Expose a port or a range of ports; may be repeated.
    #[arg(long, value_name = "PORT[-PORT][/PROTOCOL]", allow_hyphen_values = true)]
    pub(super) expose: Vec<Expose>,
    /// Container host name [default: the first digits of its ID].
    #[arg(short = 'h', long, value_name = "NAME", allow_hyphen_values = true, value_hint = ValueHint::Hostname)]
    pub(super) hostname: Option<String>,
    /// Container NIS domain name.
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(super) domainname: Option<String>,
    /// Add a custom host-to-IP mapping; the address host-gateway means this host; may be repeated.
    #[arg(long, value_name = "NAME:ADDRESS", allow_hyphen_values = true)]
    pub(super) add_host: Vec<ExtraHost>,
    /// Set a custom DNS server; may be repeated.
    #[arg(long, value_name = "IP", allow_hyphen_values = true)]
    pub(super) dns: Vec<IpAddr>,
    /// Set a DNS option; may be repeated.
    #[arg(long, alias = "dns-opt", value_name = "OPTION", allow_hyphen_values = true)]
    pub(super) dns_option: Vec<String>,
    /// Set a custom DNS search domain; may be repeated.
    #[arg(long, value_name = "DOMAIN", allow_hyphen_values = true)]
    pub(super) dns_search: Vec<Domain>,
    /// IPv4 address of the container.
    #[arg(long, value_name = "IP", allow_hyphen_values = true)]
    pub(super) ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address of the container.
    #[arg(long, value_name = "IP", allow_hyphen_values = true)]
    pub(super) ip6: Option<std::net::Ipv6Addr>,
    /// Further address of the container, of its link alone; may be repeated.
    #[arg(long, value_name = "IP", allow_hyphen_values = true)]
    pub(super) link_local_ip: Vec<IpAddr>,
    /// MAC address of the container.
    #[arg(long, value_name = "MAC", allow_hyphen_values = true)]
    pub(super) mac_address: Option<String>,
    /// Add an alias for the container on its network; may be repeated.
    #[arg(long, alias = "net-alias", value_name = "NAME", allow_hyphen_values = true)]
    pub(super) network_alias: Vec<String>,
    /// Add a link to another container; may be repeated.
    #[arg(long, value_name = "CONTAINER[:ALIAS]", allow_hyphen_values = true, add = candidates::containers())]
    pub(super) link: Vec<String>,
}

impl Network {
    /// The mode, the bundle whose network is shared, and the namespace.
    pub(super) fn space(&self, home: &Home, uts: &Namespace) -> anyhow::Result<(Mode, Option<PathBuf>, Namespace)> {
        // Only root can create interfaces on the host.
        let default = if rootfs::is_root_of_host() { Mode::Named("bridge".into()) } else { Mode::Host };
        let mode = self.network.first().map_or(default, |choice| by_name(home, &choice.mode));
        self.check(&mode, uts)?;
        Ok(match &mode {
            Mode::Host => (mode, None, Namespace::Host),
            Mode::None | Mode::Named(_) => (mode, None, Namespace::Private),
            Mode::Container(name) => {
                let (bundle, pid) = process_of(home, "--network", name)?;
                let path = std::path::absolute(files_of(&bundle)).context("--network")?;
                (mode, Some(path), Namespace::Path(format!("/proc/{pid}/ns/net").into()))
            }
        })
    }

    /// Refuses options that mean nothing where the network or its namespace is another's, in docker's words and order.
    fn check(&self, mode: &Mode, uts: &Namespace) -> anyhow::Result<()> {
        let first = self.network.first().map(|choice| choice.endpoint.clone()).unwrap_or_default();
        let joins = matches!(mode, Mode::Container(_));
        let is_host = matches!(mode, Mode::Host);
        let has_names = mode.has_names();
        let name = self.hostname.is_some();
        let link = !self.link.is_empty();
        let mac = self.mac_address.is_some() || first.mac.is_some();
        let address = self.ip.is_some() || self.ip6.is_some() || first.ip.is_some() || first.ip6.is_some();
        let alias = !self.network_alias.is_empty() || !first.aliases.is_empty();
        let dns = !self.dns.is_empty() || !self.dns_search.is_empty() || !self.dns_option.is_empty();
        let table = [
            (joins && name, "--hostname", "conflicting options: hostname and the network mode"),
            (
                joins && link,
                "--link",
                "conflicting options: container type network can't be used with links. This would result in undefined behavior",
            ),
            (joins && dns, "--dns", "conflicting options: dns and the network mode"),
            (
                joins && !self.add_host.is_empty(),
                "--add-host",
                "conflicting options: custom host-to-IP mapping and the network mode",
            ),
            ((joins || is_host) && mac, "--mac-address", "conflicting options: mac-address and the network mode"),
            (
                joins && (self.publish_all || !self.publish.is_empty()),
                "--publish",
                "conflicting options: port publishing and the container type network mode",
            ),
            (
                joins && !self.expose.is_empty(),
                "--expose",
                "conflicting options: port exposing and the container type network mode",
            ),
            (name && matches!(uts, Namespace::Host), "--hostname", "conflicting options: hostname and the UTS mode"),
            (is_host && link, "--link", HOST_AND_LINKS),
            (!has_names && address, "--ip", NO_ADDRESS),
            (!has_names && alias, "--network-alias", NO_ALIAS),
            (*mode == Mode::None && link, "--link", NO_NETWORK),
            (*mode == Mode::None && mac, "--mac-address", NO_NETWORK),
        ];
        match table.into_iter().find(|(conflicts, ..)| *conflicts) {
            Some((_, option, reason)) => refuse(option, reason),
            None => Ok(()),
        }
    }

    pub(super) fn connection(&self, home: &Home, mode: Mode, shared: Option<PathBuf>) -> anyhow::Result<Connection> {
        let is_link_local = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        if let Some(ip) = self.link_local_ip.iter().find(|ip| !is_link_local(ip)) {
            return refuse("--link-local-ip", format!("invalid link-local IP address: {ip}"));
        }
        if !self.link_local_ip.is_empty() && !matches!(mode, Mode::Named(_)) {
            return refuse("--link-local-ip", "the container has no interface of its own on a network");
        }
        if let Some(mac) = self.mac_address.as_ref().filter(|mac| !is_mac(mac)) {
            return refuse("--mac-address", format!("{mac} is not a valid mac address (such as 02:42:ac:11:00:02)"));
        }
        if let Some(ip) = self.ip6.filter(|ip| ip.to_ipv4_mapped().is_some()) {
            return refuse("--ip6", format!("invalid IPv6 address: {ip}"));
        }
        let first = self.network.first().map(|choice| choice.endpoint.clone()).unwrap_or_default();
        let others = self.others(home)?;
        let links: anyhow::Result<Vec<_>> = self.link.iter().map(|link| linked(home, link, &mode)).collect();
        Ok(Connection {
            mode,
            shared,
            publish: self.publish.clone(),
            publish_all: self.publish_all,
            expose: self.expose.clone(),
            ip: self.ip.map(IpAddr::V4).or(first.ip),
            ip6: self.ip6.map(IpAddr::V6).or(first.ip6),
            link_local: first.link_local.into_iter().chain(self.link_local_ip.iter().copied()).collect(),
            mac: self.mac_address.clone().or(first.mac),
            aliases: first.aliases.into_iter().chain(self.network_alias.iter().cloned()).collect(),
            links: links?,
            others,
        })
    }

    /// The networks beside the first.
    fn others(&self, home: &Home) -> anyhow::Result<Vec<Endpoint>> {
        let mut seen = std::collections::BTreeSet::new();
        let mut all = Vec::new();
        for choice in &self.network {
            match by_name(home, &choice.mode) {
                Mode::Named(name) if !seen.insert(name.clone()) => {
                    return refuse("--network", format!("{name}: given twice"));
                }
                Mode::Named(network) => all.push(Endpoint { network, ..choice.endpoint.clone() }),
                _ if self.network.len() > 1 => {
                    return refuse("--network", "only networks by their names can be given together");
                }
                _ => {}
            }
        }
        Ok(all.into_iter().skip(1).collect())
    }
}

/// The mode, with a network by its name that was given by its id.
fn by_name(home: &Home, mode: &Mode) -> Mode {
    match mode {
        Mode::Named(word) => Mode::Named(named(home, word)),
        other => other.clone(),
    }
}

/// The folder with a container's hosts, hostname and resolv.conf: its bundle, or that of the container whose network it shares itself.
fn files_of(bundle: &Bundle) -> PathBuf {
    let mounts = bundle.config()["mounts"].as_array().into_iter().flatten();
    let hosts = mounts.filter(|mount| mount["destination"] == "/etc/hosts").find_map(|mount| mount["source"].as_str());
    let folder = hosts.and_then(|path| Path::new(path).parent()).filter(|folder| folder.join("resolv.conf").exists());
    folder.unwrap_or(bundle.path()).to_owned()
}

/// Reads `CONTAINER[:ALIAS]`: the container's name, and its name for a container of that network. The default network has no other names, so
/// that both must be on it. On others a link is one more name, which may wait for its container.
pub(in crate::command) fn linked(home: &Home, text: &str, mode: &Mode) -> anyhow::Result<(String, String)> {
    let (container, alias) = text.split_once(':').unwrap_or((text, text));
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if container.is_empty() || alias.is_empty() || !alias.bytes().all(word) {
        return refuse("--link", format!("{text:?} is not CONTAINER[:ALIAS]"));
    }
    let has_names = mode.has_names();
    let bundle = match Bundle::find(&home.bundles(), container) {
        Ok(bundle) => bundle,
        Err(_) if has_names => return Ok((container.to_owned(), alias.to_owned())),
        Err(error) => return refuse("--link", format!("could not get container for {container}: {error}")),
    };
    let networks = bundle.annotation(annotation::NETWORK_MODE);
    if networks == Some("host") {
        return refuse("--link", HOST_AND_LINKS);
    }
    let plan: Option<Plan> = bundle.annotation(annotation::NETWORK).and_then(|text| serde_json::from_str(text).ok());
    if !has_names && plan.is_some_and(|plan| plan.all().all(|own| own.network != "bridge")) {
        let name = bundle.name();
        return refuse("--link", format!("Cannot link to {name}, as it does not belong to the default network"));
    }
    Ok((bundle.name(), alias.to_owned()))
}
