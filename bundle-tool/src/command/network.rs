use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use bundle_tool::bundle::name::is_network_name;
use bundle_tool::bundle::{Bundle, annotation};
use bundle_tool::container;
use bundle_tool::describe::network as described;
use bundle_tool::network::cni::Conflist;
use bundle_tool::network::design::{Driver, Wanted};
use bundle_tool::network::identity::identity;
use bundle_tool::network::state::Networks;
use bundle_tool::network::subnet::Subnet;
use bundle_tool::network::{self, Endpoint, Mode, Plan};
use bundle_tool::option::{boolean, environment};
use clap::{ArgAction, Args, Subcommand};
use image_tool::address::home::Home;
use image_tool::error::During as _;
use image_tool::layout::journal;
use image_tool::program::caller::caller;
use image_tool::program::pflag::Unread;
use image_tool::program::pipe;
use image_tool::show::format::Format;
use image_tool::show::template::Value;

use super::filter::{self, Filter, Filters};
use super::options::{NO_ADDRESS, NO_ALIAS, linked};
use super::{candidates, each, inspect, joined, named};

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
    Ls(List),
    /// Print networks as JSON, as `docker network inspect` does.
    ///
    /// Reads a runtime's list of containers from standard input, unless that is a terminal, for the containers that are on a network.
    /// What a network is made from is the file NAME.conflist in $OCI_HOME/networks.
    #[command(
        after_long_help = "Examples:\n  bundle-tool network inspect bridge\n  run-tool list --format json | bundle-tool network inspect --format '{{json .IPAM.Config}}' bridge"
    )]
    Inspect {
        /// Format each network with a Go template, such as '{{json .IPAM.Config}}', or as `json`.
        #[arg(short, long, value_name = "TEMPLATE")]
        format: Option<String>,
        /// Print more about services, of which there are none.
        #[arg(short, long)]
        verbose: bool,
        /// Names or IDs of networks.
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
    Connect(Box<Connect>),
    /// Disconnect a container from a network.
    #[command(
        after_long_help = "Examples:\n  bundle-tool network disconnect shop web\n  bundle-tool network disconnect bridge web"
    )]
    Disconnect {
        /// Disconnect it even if it does not run, which makes no difference here.
        #[arg(short, long)]
        force: bool,
        /// Name of the network.
        #[arg(value_name = "NETWORK", add = candidates::networks())]
        network: String,
        /// Bundle of the container.
        #[arg(value_name = "BUNDLE", add = candidates::containers())]
        container: String,
    },
    /// Remove the networks that no container has, and what crashed containers left of theirs.
    ///
    /// Prints the names of the networks that were removed.
    #[command(
        after_long_help = "Examples:\n  bundle-tool network prune\n  bundle-tool network prune --filter until=24h && bundle-tool network ls"
    )]
    Prune {
        /// Remove only matching networks: label=KEY[=VALUE], label!=KEY[=VALUE] or until=TIME; may be repeated.
        #[arg(long, value_name = "KEY=VALUE")]
        filter: Vec<Filter>,
    },
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
    #[arg(long, value_name = "CIDR", value_parser = daemons::<Subnet>)]
    subnet: Vec<Subnet>,
    /// Address of the host in a subnet [default: the first]; may be repeated.
    #[arg(long, value_name = "IP", value_parser = daemons::<IpAddr>)]
    gateway: Vec<IpAddr>,
    /// Allocate addresses of containers from this part of a subnet; may be repeated.
    #[arg(long, value_name = "CIDR", value_parser = daemons::<Subnet>)]
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
    /// Driver that gives addresses to containers: default is the only one.
    #[arg(long, value_name = "DRIVER", default_value = "default", hide_default_value = true)]
    ipam_driver: String,
    /// Scope of the network: local is the only one.
    #[arg(long, value_name = "SCOPE", default_value = "local", hide_default_value = true)]
    scope: String,
    /// Let containers be attached while they run, as all networks do.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    attachable: bool,
    /// Name of the network.
    name: String,
}

fn driver(text: &str) -> Result<Driver, Unread> {
    match text {
        "bridge" => Ok(Driver::Bridge),
        "macvlan" => Ok(Driver::Macvlan),
        "ipvlan" => Ok(Driver::Ipvlan),
        _ => Err(Unread(format!("plugin {text:?} not found, only bridge, macvlan, ipvlan"))),
    }
}

/// Reads `NAME=IP` or `IP`. The name is for people.
fn reserved(text: &str) -> Result<IpAddr, Unread> {
    let address = text.split_once('=').map_or(text, |(_, address)| address);
    address.parse().map_err(|_| Unread(format!("{address:?} is not an IP address")))
}

/// A value that docker's daemon reads, not its client.
fn daemons<T: FromStr<Err: Display>>(text: &str) -> Result<T, Unread> {
    text.parse().map_err(|error| Unread(format!("{text:?}: {error}")))
}

/// An error in docker's words where docker was called.
fn worded(ours: String, dockers: String) -> anyhow::Error {
    anyhow::anyhow!(if caller().is_some() { dockers } else { ours })
}

impl Network {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        match self.command {
            Command::Create(create) => create.run(&home),
            Command::Ls(list) => list.run(&home),
            Command::Inspect { format, verbose: _, names } => {
                let containers = joined::containers_or_bundles(&home, "network inspect")?;
                let find = |name: &str| Ok(described::Network::find(&home, name).map(|own| own.document(&containers)));
                inspect::show(format.as_deref(), &names, find, |name| format!("No such network: {name}"))
            }
            Command::Rm { names } => each(&names, |name| remove(&home, name)),
            Command::Connect(connect) => connect.run(&home),
            Command::Disconnect { force: _, network, container } => {
                let network = named(&home, &network);
                if network == "host" {
                    bail!(HOST);
                }
                Ok(container::leave_network(&super::bundle(&container)?, &network)?)
            }
            Command::Prune { filter } => prune(&home, Filters::of(&filter, &["label", "label!", "until"])?),
        }
    }
}

/// Connect a container to one more network.
///
/// If the container runs, it has the new interface at once. It is connected again whenever it starts.
#[derive(Args)]
#[command(after_long_help = "Examples:
  bundle-tool network connect shop web
  bundle-tool network connect --alias store --ip 10.99.0.5 shop web")]
struct Connect {
    /// Add an alias for the container on the network; may be repeated.
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// IPv4 address of the container.
    #[arg(long, value_name = "IP", value_parser = daemons::<Ipv4Addr>)]
    ip: Option<Ipv4Addr>,
    /// IPv6 address of the container.
    #[arg(long, value_name = "IP", value_parser = daemons::<Ipv6Addr>)]
    ip6: Option<Ipv6Addr>,
    /// Further address of the container, of its link alone; may be repeated.
    #[arg(long, value_name = "IP", value_parser = daemons::<IpAddr>)]
    link_local_ip: Vec<IpAddr>,
    /// Add a link to another container; may be repeated.
    #[arg(long, value_name = "CONTAINER[:ALIAS]", add = candidates::containers())]
    link: Vec<String>,
    /// Name of the network.
    #[arg(value_name = "NETWORK", add = candidates::networks())]
    network: String,
    /// Bundle of the container.
    #[arg(value_name = "BUNDLE", add = candidates::containers())]
    container: String,
}

const HOST: &str = "container cannot be disconnected from host network or connected to host network";

impl Connect {
    fn run(self, home: &Home) -> anyhow::Result<()> {
        let network = named(home, &self.network);
        if ["bridge", "host", "none"].contains(&network.as_str()) && !self.alias.is_empty() {
            bail!("{network}: {NO_ALIAS}");
        }
        if network == "bridge" && (self.ip.is_some() || self.ip6.is_some()) {
            bail!("{network}: {NO_ADDRESS}");
        }
        match network.as_str() {
            "host" => bail!(HOST),
            "none" => bail!("{network}: a container cannot be connected to it"),
            _ => {}
        }
        let mode = Mode::Named(network.clone());
        let links = self.link.iter().map(|link| linked(home, link, &mode)).collect::<anyhow::Result<_>>()?;
        let endpoint = Endpoint {
            network,
            aliases: self.alias,
            ip: self.ip.map(IpAddr::V4),
            ip6: self.ip6.map(IpAddr::V6),
            link_local: self.link_local_ip,
            mac: None,
        };
        Ok(container::join_network(home, &super::bundle(&self.container)?, &endpoint, links)?)
    }
}

/// List networks.
///
/// Prints one name per line, or docker's table on a terminal.
#[derive(Args)]
#[command(
    alias = "list",
    after_long_help = "Examples:\n  bundle-tool network ls\n  bundle-tool network ls --filter driver=bridge --format '{{.Name}} {{.ID}}'"
)]
struct List {
    /// Print the table even if standard output is not a terminal.
    #[arg(long)]
    table: bool,
    /// Print only IDs.
    #[arg(short, long)]
    quiet: bool,
    /// Print IDs in full.
    #[arg(long)]
    no_trunc: bool,
    /// List only matching networks: driver=DRIVER, id=DIGITS, label=KEY[=VALUE], name=TEXT, scope=local, type=builtin|custom or
    /// dangling=BOOL; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format each network with a Go template, or as `json`.
    ///
    /// The fields are .ID, .Name, .Driver, .Scope, .IPv6, .Internal, .Labels, .Label "KEY" and .CreatedAt. A template that begins with
    /// `table` aligns them in columns.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<Format>,
}

impl List {
    fn run(self, home: &Home) -> anyhow::Result<()> {
        let filters = Filters::of(&self.filter, &["driver", "id", "label", "name", "scope", "type", "dangling"])?;
        let mut all = described::Network::list(home);
        all.retain(|network| {
            filters.any("driver", |value| network.driver() == value)
                && filters.any("id", |value| network.id().contains(value))
                && filters.any("name", |value| filter::fits(value, &network.name))
                && filters.any("scope", |value| value == "local")
                && filters.any("type", |value| value == if network.is_builtin() { "builtin" } else { "custom" })
                && filters.any("dangling", |value| {
                    let used = || {
                        Conflist::find(&container::network_folders(home), &network.name)
                            .is_ok_and(|own| Networks::of_host().user(&own).is_some())
                    };
                    boolean::parse(value).is_ok_and(|wanted| wanted == (!network.is_builtin() && !used()))
                })
                && filters.labels(&network.labels())
        });
        if !self.table && !self.quiet && self.format.is_none() && !io::stdout().is_terminal() {
            return pipe::print(all.iter().map(|network| format!("{}\n", network.name)).collect::<String>());
        }
        let rows: Vec<Value> = all.iter().map(|network| network.row(!self.no_trunc)).collect();
        let format = self.format.filter(|format| !format.is_plain_table());
        if self.quiet && format.is_none() {
            return pipe::print(
                rows.iter().filter_map(|row| row.text_of("ID")).map(|id| format!("{id}\n")).collect::<String>(),
            );
        }
        let format = format.unwrap_or_else(|| Format::columns(&["ID", "Name", "Driver", "Scope"]));
        pipe::print_exactly(format.lines(&rows, described::LIST, &io::stdout())?)
    }
}

impl Create {
    fn run(self, home: &Home) -> anyhow::Result<()> {
        let name = self.name;
        if ["none", "host", "default", "bridge"].contains(&name.as_str()) || !is_network_name(&name) {
            bail!("{name:?} is not a valid name for a network");
        }
        if Conflist::find(&container::network_folders(home), &name).is_ok() {
            let ours = format!("{name}: network exists (bundle-tool network rm {name})");
            return Err(worded(ours, format!("Error response from daemon: network with name {name} already exists")));
        }
        if !self.attachable {
            bail!("--attachable=false: containers can be attached to any network");
        }
        if !["", "default"].contains(&self.ipam_driver.as_str()) {
            bail!("--ipam-driver: plugin {:?} not found, only default", self.ipam_driver);
        }
        if !["", "local"].contains(&self.scope.as_str()) {
            bail!("--scope: {:?} needs a swarm, only local does not", self.scope);
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
        let id = identity("network", &name);
        journal::record(home, "network", "create", &id, &[("name", &name), ("type", "bridge")]);
        // Programs that call docker know a network by the id from now on.
        pipe::print_line(if caller().is_some() { &id } else { &name })
    }
}

/// Removes the networks of this home that no bundle has, nor a container of another home.
fn prune(home: &Home, filters: Filters<'_>) -> anyhow::Result<()> {
    let until = filters.until()?;
    Networks::of_host().prune()?;
    let mut used = std::collections::BTreeSet::from(["bridge".to_owned()]);
    for bundle in Bundle::list(&home.bundles())? {
        let plan = bundle.annotation(annotation::NETWORK).and_then(|text| serde_json::from_str::<Plan>(text).ok());
        used.extend(plan.iter().flat_map(|plan| plan.all()).map(|plan| plan.network.clone()));
    }
    let is_unused = |network: &Conflist| {
        !used.contains(&network.name)
            && network.path.starts_with(home.networks())
            && Networks::of_host().user(network).is_none()
    };
    let is_wanted = |network: &Conflist| {
        described::Network::find(home, &network.name).is_some_and(|own| {
            filters.labels(&own.labels()) && until.is_none_or(|until| own.created().is_some_and(|time| time < until))
        })
    };
    Conflist::list(&container::network_folders(home))
        .iter()
        .filter(|network| is_unused(network) && is_wanted(network))
        .try_for_each(|network| {
            remove(home, &network.name)?;
            pipe::print_line(&network.name)
        })
}

fn remove(home: &Home, word: &str) -> anyhow::Result<()> {
    let name = named(home, word);
    let name = name.as_str();
    if ["bridge", "host", "none"].contains(&name) {
        let ours = format!("{name}: a pre-defined network cannot be removed");
        let dockers = format!("Error response from daemon: {name} is a pre-defined network and cannot be removed");
        return Err(worded(ours, dockers));
    }
    let network = match Conflist::find(&container::network_folders(home), name) {
        Err(network::Error::NoNetwork { .. }) if caller().is_some() => bail!("No such network: {name}"),
        found => found?,
    };
    let path = &network.path;
    if !path.starts_with(home.networks()) {
        bail!("{name}: network is described outside of $OCI_HOME (rm {})", path.display());
    }
    if let Some(user) = Networks::of_host().user(&network) {
        let ours = format!("{name}: network in use by container {user} (run-tool delete {user})");
        let id = identity("network", name);
        let dockers = "Error response from daemon: error while removing network: network";
        return Err(worded(ours, format!("{dockers} {name} id {id} has active endpoints")));
    }
    std::fs::remove_file(path).during("remove", path)?;
    journal::record(home, "network", "destroy", &identity("network", name), &[("name", name), ("type", "bridge")]);
    Ok(())
}
