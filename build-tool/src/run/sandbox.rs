//! What the caller of a build gives every command: its network and the names of hosts there, and its limits.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use bundle_tool::network::files::{Dns, ExtraHost, host_resolv_conf, resolv_conf};
use bundle_tool::option::ulimit::Ulimit;

use super::network::Network;
use crate::cache::KeyBuilder;

/// What every command of a build gets.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// The network, unless RUN chooses another.
    pub network: Network,
    /// The host name.
    pub hostname: String,
    /// The names of `--add-host`.
    pub hosts: Vec<ExtraHost>,
    /// The size of /dev/shm in bytes; `None` is docker's default.
    pub shm_size: Option<u64>,
    /// The limits of `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// The control group that a command's own is made in; `None` is the runtime's choice.
    pub cgroup_parent: Option<String>,
}

/// The host name that BuildKit gives a command.
const HOSTNAME: &str = "buildkitsandbox";

impl Default for Sandbox {
    fn default() -> Self {
        let (shm_size, cgroup_parent) = (None, None);
        let (hosts, ulimits) = (Vec::new(), Vec::new());
        Self { network: Network::Host, hostname: HOSTNAME.to_owned(), hosts, shm_size, ulimits, cgroup_parent }
    }
}

impl Sandbox {
    /// Adds to a key what may change the result of a command. The addresses of hosts do not: they say how to reach
    /// something, not what. Neither does the control group.
    pub fn add_to_key(&self, key: &mut KeyBuilder) {
        if self.hostname != HOSTNAME {
            key.add("hostname").add(&self.hostname);
        }
        if !self.hosts.is_empty() {
            key.add("hosts").list(self.hosts.iter().map(|host| &host.name));
        }
        if let Some(size) = self.shm_size {
            key.add("shm").add(size.to_le_bytes());
        }
        if !self.ulimits.is_empty() {
            key.add("ulimits").list(self.ulimits.iter().map(|limit| format!("{limit:?}")));
        }
    }

    /// The command's /etc/hosts. With the host's network, `host-gateway` is the loopback address; in a network of the
    /// command's own, the network's hook adds it once it knows the address.
    pub(super) fn hosts_file(&self, network: Network) -> String {
        let mut text = format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", self.hostname);
        let gateway = (network == Network::Host).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        for host in &self.hosts {
            if let Some(address) = host.address.or(gateway) {
                text += &format!("{address}\t{}\n", host.name);
            }
        }
        text
    }

    /// The names for `host-gateway`.
    pub(super) fn gateway_names(&self) -> Vec<String> {
        let names = self.hosts.iter().filter(|host| host.address.is_none());
        names.map(|host| host.name.clone()).collect()
    }
}

/// The command's /etc/resolv.conf. With the host's network it is the host's own, whose servers may be on the loopback
/// network; a file without servers gets public ones.
pub(super) fn resolv_conf_file(network: Network) -> String {
    let own = network != Network::Host;
    let host = if own { host_resolv_conf() } else { fs::read_to_string("/etc/resolv.conf").unwrap_or_default() };
    let text = resolv_conf(&host, &Dns::default(), own);
    if text.contains("nameserver ") { text } else { resolv_conf(&host, &Dns::default(), true) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Key;

    #[test]
    fn the_hosts_file_is_buildkits_with_what_was_added() {
        let mut sandbox = Sandbox::default();
        let head = "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n";
        assert_eq!(sandbox.hosts_file(Network::Bridge), head);
        sandbox.hosts = ["db:10.0.0.2", "six=::2", "me:host-gateway"].map(|text| text.parse().unwrap()).to_vec();
        let added = format!("{head}10.0.0.2\tdb\n::2\tsix\n");
        assert_eq!(sandbox.hosts_file(Network::Bridge), added);
        assert_eq!(sandbox.hosts_file(Network::Host), format!("{added}127.0.0.1\tme\n"));
        assert_eq!(sandbox.gateway_names(), ["me"]);
    }

    #[test]
    fn the_key_holds_what_a_command_can_see_but_for_addresses() {
        let key = |change: &dyn Fn(&mut Sandbox)| {
            let mut sandbox = Sandbox::default();
            change(&mut sandbox);
            let mut key = Key::builder("x");
            sandbox.add_to_key(&mut key);
            key.finish()
        };
        let plain = key(&|_| {});
        assert_eq!(plain, Key::builder("x").finish());
        let host = |text: &'static str| key(&|sandbox| sandbox.hosts = vec![text.parse().unwrap()]);
        assert_eq!(host("db:10.0.0.2"), host("db:10.0.0.3"));
        assert_ne!(host("db:10.0.0.2"), host("web:10.0.0.2"));
        assert_ne!(plain, key(&|sandbox| sandbox.shm_size = Some(1)));
        assert_ne!(plain, key(&|sandbox| sandbox.ulimits = vec!["nofile=9".parse().unwrap()]));
        assert_ne!(plain, key(&|sandbox| sandbox.hostname = "other".into()));
        assert_eq!(plain, key(&|sandbox| sandbox.cgroup_parent = Some("/x".into())));
    }
}
