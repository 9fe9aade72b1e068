use std::net::IpAddr;

use anyhow::{Context as _, bail};
use bundle_tool::bundle::name::is_name;
use bundle_tool::container;
use bundle_tool::network::cni::{self, Conflist};
use bundle_tool::network::state::Networks;
use clap::{Args, Subcommand};
use image_tool::address::home::Home;
use image_tool::error::During as _;
use image_tool::program::pipe;
use serde_json::Value;

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
    Create(Create),
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

/// Create a bridge network and print its name.
#[derive(Args)]
#[command(after_long_help = "Examples:
  bundle-tool network create shop
  bundle-tool network create --subnet 10.99.0.0/24 --gateway 10.99.0.254 shop
  bundle-tool network create --internal --bridge back0 backend")]
struct Create {
    /// Subnet in CIDR notation [default: a free one of 10.64.0.0/16 to 10.127.0.0/16].
    #[arg(long, value_name = "CIDR")]
    subnet: Option<String>,
    /// Address of the host in the subnet [default: the first].
    #[arg(long, value_name = "IP")]
    gateway: Option<IpAddr>,
    /// Name of the bridge interface on the host [default: the first free one of oci1, oci2 …].
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
    /// Restrict external access to the network.
    #[arg(long)]
    internal: bool,
    /// Name of the network.
    name: String,
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
        let (name, folders) = (&self.name, container::network_folders(home));
        if ["none", "host", "default", "bridge"].contains(&name.as_str()) || !is_name(name) {
            bail!("{name:?} is not a valid name for a network");
        }
        if Conflist::find(&folders, name).is_ok() {
            bail!("{name}: network exists (bundle-tool network rm {name})");
        }
        let known = Conflist::list(&folders);
        let subnet = match self.subnet {
            Some(subnet) => subnet,
            None => free_subnet(&known)?,
        };
        check_subnet(&subnet)?;
        let mut conflist = cni::default_bridge(&Networks::of_host().addresses());
        conflist["name"] = name.clone().into();
        let plugin = &mut conflist["plugins"][0];
        plugin["bridge"] = bridge(self.bridge, &known)?.into();
        plugin["ipam"]["ranges"][0][0]["subnet"] = subnet.into();
        if let Some(gateway) = self.gateway {
            plugin["ipam"]["ranges"][0][0]["gateway"] = gateway.to_string().into();
        }
        if self.internal {
            plugin["ipMasq"] = false.into();
            plugin["isGateway"] = false.into();
            plugin["ipam"]["routes"] = Value::Array(Vec::new());
        }
        container::write_conflist(home, name, &conflist)?;
        pipe::print_line(name)
    }
}

fn remove(home: &Home, name: &str) -> anyhow::Result<()> {
    let path = Conflist::find(&container::network_folders(home), name)?.path;
    if !path.starts_with(home.networks()) {
        bail!("{name}: network is described outside of $OCI_HOME (rm {})", path.display());
    }
    if let Some(user) = Networks::of_host().user(name) {
        bail!("{name}: network in use by container {user} (run-tool delete {user})");
    }
    std::fs::remove_file(&path).during("remove", &path)?;
    pipe::print_line(name)
}

/// The name of the host's interface: the one asked for, or the next free `oci1`, `oci2` …
fn bridge(asked: Option<String>, known: &[Conflist]) -> anyhow::Result<String> {
    match asked {
        // The kernel's limit for names of interfaces.
        Some(bridge) if bridge.len() > 15 || !is_name(&bridge) => {
            bail!("{bridge:?} is not a valid name for an interface (at most 15 letters and digits)")
        }
        Some(bridge) => Ok(bridge),
        None => {
            let mut names = (1..).map(|number| format!("oci{number}"));
            let free = names.find(|bridge| known.iter().all(|other| other.bridge() != Some(bridge)));
            Ok(free.expect("there are more numbers than networks"))
        }
    }
}

/// The first of the subnets kept for this purpose that no other network has.
fn free_subnet(known: &[Conflist]) -> anyhow::Result<String> {
    let taken: Vec<String> = known.iter().map(|network| network.to_value().to_string()).collect();
    (64..128)
        .map(|number| format!("10.{number}.0.0/16"))
        .find(|subnet| taken.iter().all(|text| !text.contains(subnet.as_str())))
        .context("no free subnet (choose one with --subnet)")
}

fn check_subnet(text: &str) -> anyhow::Result<()> {
    let good = text.split_once('/').is_some_and(|(address, bits)| match (address.parse(), bits.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(bits)) => (8..=30).contains(&bits),
        (Ok(IpAddr::V6(_)), Ok(bits)) => (16..=126).contains(&bits),
        _ => false,
    });
    if good { Ok(()) } else { bail!("--subnet: {text:?} is not a valid subnet (such as 10.64.0.0/16)") }
}
