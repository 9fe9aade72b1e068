//! The network of a container, its ports, names and name servers.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use bundle_tool::bundle::Bundle;
use bundle_tool::config::Namespace;
use bundle_tool::container::Connection;
use bundle_tool::network::files::ExtraHost;
use bundle_tool::network::{Choice, Endpoint, Mode, is_mac};
use bundle_tool::option::boolean;
use bundle_tool::option::domain::Domain;
use bundle_tool::option::port::{Expose, Publish};
use bundle_tool::rootfs;
use clap::{ArgAction, ValueHint};
use image_tool::address::home::Home;

use super::security::process_of;
use super::{candidates, refuse};
use crate::command::named;

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
    pub(super) fn space(&self, home: &Home) -> anyhow::Result<(Mode, Option<PathBuf>, Namespace)> {
        // Only root can create interfaces on the host.
        let default = if rootfs::is_root_of_host() { Mode::Named("bridge".into()) } else { Mode::Host };
        let mode = self.network.first().map_or(default, |choice| by_name(home, &choice.mode));
        Ok(match &mode {
            Mode::Host => (mode, None, Namespace::Host),
            Mode::None | Mode::Named(_) => (mode, None, Namespace::Private),
            Mode::Container(name) => {
                let (bundle, pid) = process_of(home, "--network", name)?;
                let path = std::path::absolute(bundle.path()).context("--network")?;
                (mode, Some(path), Namespace::Path(format!("/proc/{pid}/ns/net").into()))
            }
        })
    }

    pub(super) fn connection(&self, home: &Home, mode: Mode, shared: Option<PathBuf>) -> anyhow::Result<Connection> {
        if !self.link_local_ip.is_empty() && !matches!(mode, Mode::Named(_)) {
            return refuse("--link-local-ip", "the container has no interface of its own on a network");
        }
        if let Some(mac) = self.mac_address.as_ref().filter(|mac| !is_mac(mac)) {
            return refuse("--mac-address", format!("{mac:?} is not a valid MAC address (such as 02:42:ac:11:00:02)"));
        }
        let first = self.network.first().map(|choice| choice.endpoint.clone()).unwrap_or_default();
        let others = self.others(home)?;
        let links: anyhow::Result<Vec<_>> = self.link.iter().map(|link| linked(home, link)).collect();
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

/// Reads `CONTAINER[:ALIAS]`: the container's name, and its name for the new container.
pub(in crate::command) fn linked(home: &Home, text: &str) -> anyhow::Result<(String, String)> {
    let (container, alias) = text.split_once(':').unwrap_or((text, text));
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if container.is_empty() || alias.is_empty() || !alias.bytes().all(word) {
        return refuse("--link", format!("{text:?} is not CONTAINER[:ALIAS]"));
    }
    match Bundle::find(&home.bundles(), container) {
        Ok(bundle) => Ok((bundle.name(), alias.to_owned())),
        Err(error) => refuse("--link", error.to_string()),
    }
}
