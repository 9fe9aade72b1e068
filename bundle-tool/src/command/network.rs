use std::net::IpAddr;

use anyhow::{Context as _, bail};
use bundle_tool::bundle::name::is_name;
use bundle_tool::container;
use bundle_tool::network::cni::Conflist;
use bundle_tool::network::design::{Driver, Wanted};
use bundle_tool::network::state::Networks;
use bundle_tool::network::subnet::Subnet;
use bundle_tool::option::{boolean, environment};
use clap::{ArgAction, Args, Subcommand};
use image_tool::address::home::Home;
use image_tool::error::During as _;
use image_tool::program::pipe;

use super::candidates;

/// Manage networks.
///
/// A network is a CNI conflist: a file in $OCI_HOME/networks, which can be edited, or one in /etc/cni/net.d.
#[derive(Args)]
#[command(after_long_help = "Examples:
  bundle-tool network create --subnet 10.99.0.0/24 shop
  bundle-tool create --network shop --name db images:postgres
  bundle-tool network rm shop")]
pub(crate) struct Network {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(Box<Create>),
    /// List the names of networks.
    #[command(
        alias = "list",
        after_long_help = "Examples:\n  bundle-tool network ls\n  bundle-tool network ls | xargs bundle-tool network inspect"
    )]
    Ls,
    /// Print the conflist of networks.
    #[command(
        after_long_help = "Examples:\n  bundle-tool network inspect bridge\n  bundle-tool network inspect bridge | jq '.plugins[0].ipam'"
    )]
    Inspect {
        /// Networks to print.
        #[arg(required = true, value_name = "NETWORK", add = candidates::networks())]
        names: Vec<String>,
    },
    /// Remove networks and print their names.
    ///
    /// Only networks in $OCI_HOME/networks can be removed, and none that a container uses.
    #[command(after_long_help = "Examples:\n  bundle-tool network rm shop\n  bundle-tool network rm shop test")]
    Rm {
        /// Networks to remove.
        #[arg(required = true, value_name = "NETWORK", add = candidates::networks())]
        names: Vec<String>,
    },
    /// Take down what crashed containers left of their networks.
    #[command(
        after_long_help = "Examples:\n  bundle-tool network prune\n  bundle-tool network prune && bundle-tool network rm shop"
    )]
    Prune,
}

/// Create a network and print its name.
///
/// Subnets and bridge are chosen apart from those of this host and of other networks. Containers of other networks cannot reach it.
#[derive(Args)]
#[command(after_long_help = "Examples:
  bundle-tool network create shop
  bundle-tool network create --subnet 10.99.0.0/24 --gateway 10.99.0.254 shop
  bundle-tool network create --ipv6 --subnet 10.98.0.0/24 --subnet fd00:98::/64 dual
  bundle-tool network create --internal --bridge back0 backend
  bundle-tool network create -d macvlan --subnet 192.168.1.0/24 -o parent=eth0 lan")]
struct Create {
    /// Subnet in CIDR notation, one of IPv4 and one of IPv6 [default: a free one of IPv4].
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<Subnet>,
    /// Address of the host in a subnet [default: the first]; may be repeated.
    #[arg(long, value_name = "IP")]
    gateway: Vec<IpAddr>,
    /// Allocate addresses of containers from this part of a subnet; may be repeated.
    #[arg(long, value_name = "CIDR")]
    ip_range: Vec<Subnet>,
    /// Address that no container gets, with an optional name for it; may be repeated.
    #[arg(long, value_name = "[NAME=]IP", value_parser = reserved)]
    aux_address: Vec<IpAddr>,
    /// Enable IPv6 networking, with a random subnet unless one is given.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    ipv6: bool,
    /// Name of the bridge interface on the host [default: a random one].
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
    /// Restrict external access to the network.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    internal: bool,
    /// Set a label of the network; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Set an option of the driver by docker's name, such as com.docker.network.driver.mtu=1400 or parent=eth0; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Driver of the network: bridge, macvlan or ipvlan.
    #[arg(short, long, value_name = "DRIVER", value_parser = driver, default_value = "bridge")]
    driver: Driver,
    /// Let containers be attached while they run, as all networks do.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    attachable: bool,
    /// Name of the network.
    name: String,
}

fn driver(text: &str) -> Result<Driver, String> {
    match text {
        "bridge" => Ok(Driver::Bridge),
        "macvlan" => Ok(Driver::Macvlan),
        "ipvlan" => Ok(Driver::Ipvlan),
        _ => Err("not one of bridge, macvlan, ipvlan".into()),
    }
}

/// Reads `NAME=IP` or `IP`. The name is for people.
fn reserved(text: &str) -> Result<IpAddr, String> {
    let address = text.split_once('=').map_or(text, |(_, address)| address);
    address.parse().map_err(|_| format!("{address:?} is not an IP address"))
}

impl Network {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        match self.command {
            Command::Create(create) => create.run(&home),
            Command::Ls => {
                // `bridge` is listed even if nothing has used it yet.
                container::conflist(&home, "bridge")?;
                let known = Conflist::list(&container::network_folders(&home));
                let names: String = known.iter().map(|network| format!("{}\n", network.name)).collect();
                pipe::print(names)
            }
            Command::Inspect { names } => {
                let mut output = Vec::new();
                for name in names {
                    let path = container::conflist(&home, &name)?.path;
                    output.extend(std::fs::read(&path).during("read", &path)?);
                }
                pipe::print(output)
            }
            Command::Rm { names } => names.iter().try_for_each(|name| remove(&home, name)),
            Command::Prune => Ok(Networks::of_host().prune()?),
        }
    }
}

impl Create {
    fn run(self, home: &Home) -> anyhow::Result<()> {
        let name = self.name;
        if ["none", "host", "default", "bridge"].contains(&name.as_str()) || !is_name(&name) {
            bail!("{name:?} is not a valid name for a network");
        }
        if Conflist::find(&container::network_folders(home), &name).is_ok() {
            bail!("{name}: network exists (bundle-tool network rm {name})");
        }
        if !self.attachable {
            bail!("--attachable=false: containers can be attached to any network");
        }
        let wanted = Wanted {
            name: name.clone(),
            driver: self.driver,
            subnets: self.subnet,
            gateways: self.gateway,
            ip_ranges: self.ip_range,
            reserved: self.aux_address,
            ipv6: self.ipv6,
            internal: self.internal,
            bridge: self.bridge,
            labels: environment::labels(self.label).context("--label")?,
            options: environment::labels(self.opt).context("--opt")?,
        };
        container::create_network(home, &wanted)?;
        pipe::print_line(&name)
    }
}

fn remove(home: &Home, name: &str) -> anyhow::Result<()> {
    if ["bridge", "host", "none"].contains(&name) {
        bail!("{name}: a pre-defined network cannot be removed");
    }
    let network = Conflist::find(&container::network_folders(home), name)?;
    let path = &network.path;
    if !path.starts_with(home.networks()) {
        bail!("{name}: network is described outside of $OCI_HOME (rm {})", path.display());
    }
    if let Some(user) = Networks::of_host().user(&network) {
        bail!("{name}: network in use by container {user} (run-tool delete {user})");
    }
    std::fs::remove_file(path).during("remove", path)?;
    pipe::print_line(name)
}
