use std::net::IpAddr;

use anyhow::{Context as _, bail};
use bundle_tool::container;
use bundle_tool::network::cni::{self, Conflist};
use bundle_tool::network::state::Networks;
use clap::{Args, Subcommand};
use image_tool::address::home::Home;
use image_tool::program::pipe;
use serde_json::Value;

use super::print_bytes;

/// Manage networks: CNI conflists in $OCI_HOME/networks and /etc/cni/net.d, files that can be edited.
#[derive(Args)]
pub(crate) struct Network {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the conflist of a new bridge network and print the network's name.
    Create {
        /// The addresses that containers get.
        #[arg(long, value_name = "ADDRESS/BITS")]
        subnet: Option<String>,
        /// The host's address among them; the first if it is left out.
        #[arg(long, value_name = "ADDRESS")]
        gateway: Option<IpAddr>,
        /// The host's interface.
        #[arg(long, value_name = "NAME")]
        bridge: Option<String>,
        /// No way out of the network.
        #[arg(long)]
        internal: bool,
        /// The name.
        name: String,
    },
    /// Print the networks' names, one a line.
    #[command(alias = "list")]
    Ls,
    /// Print a network's conflist.
    Inspect {
        /// The network.
        name: String,
    },
    /// Remove networks, whose conflists are in $OCI_HOME/networks, and print their names.
    Rm {
        /// The networks.
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// Take down the networks of containers that died without their runtime telling.
    Prune,
}

impl Network {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let folders = container::network_folders(&home);
        match self.command {
            Command::Create { subnet, gateway, bridge, internal, name } => {
                if ["none", "host", "default", "bridge"].contains(&name.as_str())
                    || !bundle_tool::bundle::name::is_name(&name)
                {
                    bail!("{name}: not a name for a network");
                }
                if Conflist::find(&folders, &name).is_ok() {
                    bail!("{name}: there is a network of the name (bundle-tool network rm {name})");
                }
                let known = Conflist::list(&folders);
                let subnet = match subnet {
                    Some(subnet) => subnet,
                    None => free_subnet(&known)?,
                };
                check_subnet(&subnet)?;
                let bridge = match bridge {
                    // What the kernel takes as an interface's name.
                    Some(bridge) if bridge.len() > 15 || !bundle_tool::bundle::name::is_name(&bridge) => {
                        bail!("{bridge}: not a name for an interface (15 letters at most)")
                    }
                    Some(bridge) => bridge,
                    None => (1..)
                        .map(|number| format!("oci{number}"))
                        .find(|bridge| known.iter().all(|other| other.bridge() != Some(bridge)))
                        .unwrap_or_default(),
                };
                let mut conflist = cni::default_bridge(&Networks::of_host().addresses());
                conflist["name"] = name.clone().into();
                let plugin = &mut conflist["plugins"][0];
                plugin["bridge"] = bridge.into();
                plugin["ipam"]["ranges"][0][0]["subnet"] = subnet.into();
                if let Some(gateway) = gateway {
                    plugin["ipam"]["ranges"][0][0]["gateway"] = gateway.to_string().into();
                }
                if internal {
                    plugin["ipMasq"] = false.into();
                    plugin["isGateway"] = false.into();
                    plugin["ipam"]["routes"] = Value::Array(Vec::new());
                }
                container::write_conflist(&home, &name, &conflist)?;
                Ok(pipe::print_line(&name)?)
            }
            Command::Ls => {
                // There whether or not it has been written yet.
                container::conflist(&home, "bridge")?;
                let names: String =
                    Conflist::list(&folders).iter().map(|network| format!("{}\n", network.name)).collect();
                print_bytes(names.as_bytes())
            }
            Command::Inspect { name } => {
                let conflist = container::conflist(&home, &name)?;
                print_bytes(&std::fs::read(&conflist.path).with_context(|| conflist.path.display().to_string())?)
            }
            Command::Rm { names } => {
                for name in names {
                    let conflist = Conflist::find(&folders, &name)?;
                    if !conflist.path.starts_with(home.networks()) {
                        bail!(
                            "{name}: its conflist is {}, which is not this tool's to remove",
                            conflist.path.display()
                        );
                    }
                    if let Some(user) = Networks::of_host().user(&name) {
                        bail!("{name}: network in use by container {user} (run-tool delete {user} first)");
                    }
                    std::fs::remove_file(&conflist.path).with_context(|| conflist.path.display().to_string())?;
                    pipe::print_line(&name)?;
                }
                Ok(())
            }
            Command::Prune => Ok(Networks::of_host().prune()?),
        }
    }
}

/// The first of the subnets kept for this that no other network has.
fn free_subnet(known: &[Conflist]) -> anyhow::Result<String> {
    let taken: Vec<String> = known.iter().map(|network| network.to_value().to_string()).collect();
    (64..128)
        .map(|number| format!("10.{number}.0.0/16"))
        .find(|subnet| taken.iter().all(|text| !text.contains(subnet.as_str())))
        .context("no subnet is free (--subnet names one)")
}

fn check_subnet(text: &str) -> anyhow::Result<()> {
    let good = text.split_once('/').is_some_and(|(address, bits)| match (address.parse(), bits.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(bits)) => (8..=30).contains(&bits),
        (Ok(IpAddr::V6(_)), Ok(bits)) => (16..=126).contains(&bits),
        _ => false,
    });
    if good { Ok(()) } else { bail!("--subnet: {text:?} is not ADDRESS/BITS (such as 10.64.0.0/16)") }
}
