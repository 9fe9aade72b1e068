//! The network of a new container: its conflist, and the container's ports and names.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use image_tool::address::home::Home;
use image_tool::error::During as _;

use super::request::Request;
use super::{Error, link};
use crate::bundle::name::{ContainerName, is_id};
use crate::bundle::{self, Bundle, annotation};
use crate::config;
use crate::network::cni::Conflist;
use crate::network::design::{self, Wanted};
use crate::network::state::{self, Networks, Newcomer};
use crate::network::{self, Endpoint, Plan};
use crate::option::port::{self, Expose, Protocol, Publish};

/// Plans the connection to a CNI network: addresses, names and ports, and these as docker ps shows them.
pub(super) fn connect(
    home: &Home,
    request: &Request,
    name: &str,
    id: &str,
    expose: &[Expose],
) -> Result<(Plan, String), Error> {
    let connection = &request.network;
    let networks = Networks::of_host();
    let conflist = chosen(home, name)?;
    let mappings =
        state::assign_ports(&networks, &connection.publish, expose, connection.publish_all, conflist.binding())?;
    let published = connection.publish.iter().flat_map(Publish::container_ports);
    let exposed: BTreeSet<(u16, Protocol)> = expose.iter().flat_map(Expose::ports).chain(published).collect();
    let gateway = request.extra_hosts.iter().filter(|host| host.address.is_none()).map(|host| host.name.clone());
    let first = Endpoint {
        network: name.into(),
        aliases: connection.aliases.clone(),
        ip: connection.ip,
        ip6: connection.ip6,
        link_local: connection.link_local.clone(),
        mac: connection.mac.clone(),
    };
    let first = plan_of(&first, id);
    // A missing plugin is better reported here than by a runtime whose hook fails.
    networks.check_plugins(&first, &conflist)?;
    let mut others = Vec::new();
    for endpoint in &connection.others {
        let other = plan_of(endpoint, id);
        networks.check_plugins(&other, &chosen(home, &endpoint.network)?)?;
        others.push(other);
    }
    let plan = Plan {
        gateway_names: gateway.collect(),
        links: link::targets(home, name, &connection.links),
        exposed: exposed.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect(),
        ports: mappings.iter().map(ToString::to_string).collect(),
        others,
        ..first
    };
    Ok((plan, port::summary(&mappings, expose)))
}

/// The network that `--network` names.
fn chosen(home: &Home, name: &str) -> Result<Conflist, Error> {
    conflist(home, name).map_err(|error| match error {
        network::Error::NoNetwork { .. } => Error::NoNetwork(error),
        error => error.into(),
    })
}

/// The plan of a connection, without ports. The first digits of its id are a name of the container on all of its networks.
fn plan_of(endpoint: &Endpoint, id: &str) -> Plan {
    Plan {
        network: endpoint.network.clone(),
        ip: endpoint.ip,
        ip6: endpoint.ip6,
        link_local: endpoint.link_local.clone(),
        mac: endpoint.mac.clone(),
        names: std::iter::once(id[..12].to_owned()).chain(endpoint.aliases.iter().cloned()).collect(),
        ..Plan::default()
    }
}

/// Why a container cannot be connected to a network or disconnected from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The container has no network of its own.
    #[error("{container}: {reason} (create it with --network bridge)")]
    NoNetworks {
        /// The name of the container.
        container: String,
        /// What it has instead, in docker's words.
        reason: &'static str,
    },
    /// The container is not on the network.
    #[error("{container}: is not on network {network}")]
    NotConnected {
        /// The name of the container.
        container: String,
        /// The name of the network.
        network: String,
    },
    /// A network that cannot be found, brought up or taken down.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// A bundle whose config.json cannot be written.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
}

/// The plan of a container, and its id.
fn plan(bundle: &Bundle) -> Result<(Plan, &str), ConnectionError> {
    let plan = bundle.annotation(annotation::NETWORK).and_then(|text| serde_json::from_str(text).ok());
    let id = bundle.annotation(annotation::ID).filter(|id| is_id(id));
    let reason = if bundle.annotation(annotation::NETWORK_MODE) == Some("none") {
        "container cannot be connected to multiple networks with one of the networks in private (none) mode"
    } else {
        "container sharing network namespace with another container or host cannot be connected to any other network"
    };
    plan.zip(id).ok_or_else(|| ConnectionError::NoNetworks { container: bundle.name(), reason })
}

/// Connects a container to one more network, at once if it runs, and whenever it starts.
pub fn join_network(
    home: &Home,
    bundle: &Bundle,
    endpoint: &Endpoint,
    links: Vec<(String, String)>,
) -> Result<(), ConnectionError> {
    let (mut plan, id) = plan(bundle)?;
    let name = bundle.name();
    let conflist = conflist(home, &endpoint.network)?;
    if plan.all().any(|own| own.network == conflist.name) {
        return Err(network::Error::Connected { network: conflist.name, container: name }.into());
    }
    let networks = Networks::of_host();
    let wanted = Plan { links, ..plan_of(endpoint, id) };
    networks.check_plugins(&wanted, &conflist)?;
    if let Some(pid) = bundle.occupant() {
        networks.connect(&newcomer(bundle, id, &name, pid), &wanted, &conflist)?;
    }
    plan.join(wanted);
    Ok(write_plan(bundle, &plan)?)
}

/// Disconnects a container from a network, at once if it runs, and for good.
pub fn leave_network(bundle: &Bundle, network: &str) -> Result<(), ConnectionError> {
    let (mut plan, id) = plan(bundle)?;
    if !plan.leave(network) {
        return Err(ConnectionError::NotConnected { container: bundle.name(), network: network.into() });
    }
    Networks::of_host().disconnect(id, network)?;
    Ok(write_plan(bundle, &plan)?)
}

/// Gives a container another name, by which the others of its networks find it at once.
pub fn rename(home: &Home, bundle: &Bundle, name: &ContainerName) -> Result<(), ConnectionError> {
    bundle.rename(&home.bundles(), name)?;
    if let Some(id) = bundle.annotation(annotation::ID).filter(|id| is_id(id)) {
        Networks::of_host().rename(id, name.as_str())?;
    }
    Ok(())
}

fn write_plan(bundle: &Bundle, plan: &Plan) -> Result<(), bundle::Error> {
    let mut config = bundle.config().clone();
    let text = serde_json::to_string(plan).expect("a plan is JSON");
    config["annotations"][annotation::NETWORK] = text.into();
    bundle::replace(bundle.path(), "config.json", &config::json(&mut config), 0o600)
}

/// What networks must know of a container that runs.
pub(super) fn newcomer<'a>(bundle: &'a Bundle, id: &'a str, name: &'a str, pid: i32) -> Newcomer<'a> {
    let hostname = bundle.config().get("hostname").and_then(|name| name.as_str()).unwrap_or(&id[..12]);
    Newcomer { id, name, hostname, domain: domain_of(bundle.config()), bundle: bundle.path(), pid }
}

/// The domain name in config.json, in either of its forms.
fn domain_of(config: &serde_json::Value) -> &str {
    let parameter = config.pointer("/linux/sysctl/kernel.domainname");
    config.get("domainname").or(parameter).and_then(|domain| domain.as_str()).unwrap_or_default()
}

/// The folders of conflists.
pub fn network_folders(home: &Home) -> Vec<PathBuf> {
    vec![home.networks(), PathBuf::from("/etc/cni/net.d")]
}

/// The network of that name. The conflist of `bridge` is written if it is missing.
pub fn conflist(home: &Home, name: &str) -> Result<Conflist, network::Error> {
    let found = Conflist::find(&network_folders(home), name);
    if name != "bridge" || !matches!(found, Err(network::Error::NoNetwork { .. })) {
        return found;
    }
    let networks = Networks::of_host();
    let path = networks.choose(&[], Some(design::DEFAULT_BRIDGE), |taken| {
        let conflist = Wanted::default_network(taken).conflist(taken, &networks.addresses())?;
        write_conflist(home, name, &conflist)
    })?;
    Conflist::read(&path)
}

/// Creates a network of these options.
pub fn create_network(home: &Home, wanted: &Wanted) -> Result<(), network::Error> {
    let networks = Networks::of_host();
    networks.choose(&Conflist::list(&network_folders(home)), None, |taken| {
        write_conflist(home, &wanted.name, &wanted.conflist(taken, &networks.addresses())?)
    })?;
    Ok(())
}

/// Writes the conflist of a network and returns its path.
fn write_conflist(home: &Home, name: &str, conflist: &serde_json::Value) -> Result<PathBuf, network::Error> {
    let folder = home.networks();
    fs::create_dir_all(&folder).during("create", &folder)?;
    let file = format!("{name}.conflist");
    let path = folder.join(&file);
    let mut text = serde_json::to_string_pretty(conflist).expect("a JSON value is JSON");
    text.push('\n');
    bundle::replace(&folder, &file, text.as_bytes(), 0o644)
        .map_err(|error| io::Error::other(error.to_string()))
        .during("write", &path)?;
    Ok(path)
}
