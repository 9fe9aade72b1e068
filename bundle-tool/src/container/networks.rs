//! The network of a new container: its conflist, and the container's ports and names.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use image_tool::address::home::Home;
use image_tool::error::During as _;

use super::Error;
use super::request::Request;
use crate::bundle;
use crate::network::cni::Conflist;
use crate::network::design::{self, Wanted};
use crate::network::state::{self, Networks};
use crate::network::{self, Plan};
use crate::option::Refused;
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
    let conflist = conflist(home, name).map_err(|error| match error {
        network::Error::NoNetwork { .. } => Error::Refused(Refused::new("--network", error.to_string())),
        error => error.into(),
    })?;
    // A missing plugin is better reported here than by a runtime whose hook fails.
    networks.check_plugins(&conflist)?;
    let mappings =
        state::assign_ports(&networks, &connection.publish, expose, connection.publish_all, conflist.binding())?;
    let published = connection.publish.iter().flat_map(Publish::container_ports);
    let exposed: BTreeSet<(u16, Protocol)> = expose.iter().flat_map(Expose::ports).chain(published).collect();
    let mut names: Vec<String> = request.name.iter().map(ToString::to_string).collect();
    names.push(id[..12].to_owned());
    names.extend(connection.aliases.iter().cloned());
    let gateway = request.extra_hosts.iter().filter(|host| host.address.is_none()).map(|host| host.name.clone());
    let plan = Plan {
        network: name.into(),
        ip: connection.ip,
        ip6: connection.ip6,
        mac: connection.mac.clone(),
        names,
        gateway_names: gateway.collect(),
        links: connection.links.clone(),
        exposed: exposed.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect(),
        ports: mappings.iter().map(ToString::to_string).collect(),
    };
    Ok((plan, port::summary(&mappings, expose)))
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
