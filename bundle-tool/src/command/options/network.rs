//! Which network a container is in, and what it is called there.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use bundle_tool::config::Namespace;
use bundle_tool::container::Connection;
use bundle_tool::network::Mode;
use bundle_tool::network::files::ExtraHost;
use bundle_tool::option::port::{Expose, Publish};
use bundle_tool::rootfs;
use clap::ArgAction;
use image_tool::address::home::Home;

use super::refuse;
use super::security::process_of;

#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
pub(super) struct Network {
    /// Put the container on a network: bridge, none, host, container:NAME, or a network by its name.
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub(super) network: Option<Mode>,
    /// Lead a port of the host to the container's: [[IP:]PORT:]PORT[/PROTOCOL].
    #[arg(short, long, value_name = "PORTS")]
    pub(super) publish: Vec<Publish>,
    /// Lead free ports of the host to all exposed ones.
    #[arg(short = 'P', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    pub(super) publish_all: bool,
    /// Say that the program serves a port.
    #[arg(long, value_name = "PORTS")]
    pub(super) expose: Vec<Expose>,
    /// The container's host name.
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(super) hostname: Option<String>,
    /// The container's NIS domain name.
    #[arg(long, value_name = "NAME")]
    pub(super) domainname: Option<String>,
    /// Add a line to /etc/hosts: NAME:ADDRESS, NAME:host-gateway for this host.
    #[arg(long, value_name = "HOST")]
    pub(super) add_host: Vec<ExtraHost>,
    /// Ask this name server.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) dns: Vec<IpAddr>,
    /// Set an option of resolv.conf.
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub(super) dns_option: Vec<String>,
    /// Look names up in this domain.
    #[arg(long, value_name = "DOMAIN")]
    pub(super) dns_search: Vec<String>,
    /// A fixed IPv4 address.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) ip: Option<std::net::Ipv4Addr>,
    /// A fixed IPv6 address.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) ip6: Option<std::net::Ipv6Addr>,
    /// A fixed link-local address.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) link_local_ip: Vec<IpAddr>,
    /// A fixed hardware address.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) mac_address: Option<String>,
    /// A further name for the container on its network.
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    pub(super) network_alias: Vec<String>,
    /// Know another container by a name: CONTAINER[:NAME].
    #[arg(long, value_name = "LINK")]
    pub(super) link: Vec<String>,
}

impl Network {
    /// The mode, the bundle whose network is shared, and the namespace.
    pub(super) fn space(&self, home: &Home) -> anyhow::Result<(Mode, Option<PathBuf>, Namespace)> {
        let root = rustix::process::geteuid().is_root() && !rootfs::in_user_namespace();
        // Who is not root of the host cannot make interfaces on it.
        let default = if root { Mode::Named("bridge".into()) } else { Mode::Host };
        let mode = self.network.clone().unwrap_or(default);
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

    pub(super) fn connection(&self, mode: Mode, shared: Option<PathBuf>) -> anyhow::Result<Connection> {
        if !self.link_local_ip.is_empty() {
            return refuse("--link-local-ip", "the bridge plugin of CNI sets none");
        }
        if let Some(mac) = &self.mac_address {
            let parts: Vec<&str> = mac.split([':', '-']).collect();
            let good = parts.len() == 6
                && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
            if !good {
                return refuse(
                    "--mac-address",
                    format!("{mac:?} is not a hardware address (such as 02:42:ac:11:00:02)"),
                );
            }
        }
        let links = self.link.iter().map(|link| {
            let (container, name) = link.split_once(':').unwrap_or((link, link));
            (container.to_owned(), name.to_owned())
        });
        Ok(Connection {
            mode,
            shared,
            publish: self.publish.clone(),
            publish_all: self.publish_all,
            expose: self.expose.clone(),
            ip: self.ip.map(IpAddr::V4),
            ip6: self.ip6.map(IpAddr::V6),
            mac: self.mac_address.clone(),
            aliases: self.network_alias.clone(),
            links: links.collect(),
        })
    }
}
