//! The variables of links on the default network (docker's `--link`), which tell a program the addresses and ports of other containers.

use std::net::IpAddr;

use image_tool::address::home::Home;
use serde_json::Value;

use super::Error;
use crate::bundle::{self, Bundle, annotation};
use crate::config;
use crate::network::Plan;
use crate::network::state::Networks;
use crate::option::environment;

/// The network whose links have variables, as in docker.
const NETWORK: &str = "bridge";

/// Variables of a linked container that say nothing about it.
const OMITTED: [&str; 4] = ["HOME", "HOSTNAME", "PATH", "TERM"];

/// What is known of a linked container.
struct Linked {
    alias: String,
    address: Option<IpAddr>,
    /// Ports as `PORT/PROTOCOL`.
    ports: Vec<(String, String)>,
    env: Vec<String>,
}

/// The links of a new container on a network. On the default one they are kept by the ids of the others, as in docker, and so outlive a rename;
/// on all others by the names, which lead to whoever has them.
pub(super) fn targets(home: &Home, network: &str, links: &[(String, String)]) -> Vec<(String, String)> {
    let target = |container: &String| {
        let found = Bundle::find(&home.bundles(), container).ok().filter(|_| network == NETWORK)?;
        found.annotation(annotation::ID).map(str::to_owned)
    };
    links
        .iter()
        .map(|(container, alias)| (target(container).unwrap_or_else(|| container.clone()), alias.clone()))
        .collect()
}

/// The links of the container `own` as docker shows them, with the names that the others have now: those of the default network as
/// `/NAME:/OWN/ALIAS`.
pub(crate) fn shown(home: &Home, own: &str, plan: &Plan) -> Vec<String> {
    let links = plan.links.iter().filter(|_| plan.network == NETWORK);
    let shown = links.filter_map(|(container, alias)| {
        let name = Bundle::find(&home.bundles(), container).ok()?.name();
        Some(format!("/{name}:/{own}/{alias}"))
    });
    shown.collect()
}

/// The variables for the links of the container `own`. Addresses are those of containers that are up.
pub(super) fn variables(home: &Home, own: &str, plan: &Plan) -> Vec<String> {
    if plan.network != NETWORK {
        return Vec::new();
    }
    let links = plan.links.iter().filter_map(|(container, alias)| look_up(home, container, alias));
    links.flat_map(|link| of_link(own, &link)).collect()
}

fn look_up(home: &Home, container: &str, alias: &str) -> Option<Linked> {
    let bundle = Bundle::find(&home.bundles(), container).ok()?;
    let plan: Option<Plan> = bundle.annotation(annotation::NETWORK).and_then(|json| serde_json::from_str(json).ok());
    let addresses =
        bundle.annotation(annotation::ID).map(|id| Networks::of_host().addresses_of(id)).unwrap_or_default();
    let ports = plan.unwrap_or_default().exposed.into_iter();
    let env = bundle.config().pointer("/process/env").and_then(Value::as_array);
    Some(Linked {
        alias: alias.into(),
        address: addresses.into_iter().find(IpAddr::is_ipv4),
        ports: ports.filter_map(|port| port.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned()))).collect(),
        env: env.into_iter().flatten().filter_map(|entry| entry.as_str().map(str::to_owned)).collect(),
    })
}

fn of_link(own: &str, link: &Linked) -> Vec<String> {
    let prefix = prefix(&link.alias);
    let mut all = Vec::new();
    if let Some(address) = link.address {
        let url = |(port, protocol): &(String, String)| format!("{protocol}://{address}:{port}");
        all.extend(link.ports.first().map(|first| format!("{prefix}_PORT={}", url(first))));
        for pair in &link.ports {
            let (port, protocol) = pair;
            let name = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
            all.push(format!("{name}={}", url(pair)));
            all.push(format!("{name}_ADDR={address}"));
            all.push(format!("{name}_PORT={port}"));
            all.push(format!("{name}_PROTO={protocol}"));
        }
    }
    all.push(format!("{prefix}_NAME=/{own}/{}", link.alias));
    let env = link.env.iter().filter(|entry| !OMITTED.iter().any(|name| entry.split('=').next() == Some(name)));
    all.extend(env.map(|entry| format!("{prefix}_ENV_{entry}")));
    all
}

/// The beginning of the names of a link's variables.
fn prefix(alias: &str) -> String {
    alias.to_uppercase().replace('-', "_")
}

/// Writes the addresses that the links of a container have now to its config.json, before it starts again.
pub(super) fn renew(home: &Home, bundle: &Bundle) -> Result<(), Error> {
    let Some(env) = renewed(home, bundle) else { return Ok(()) };
    let mut config = bundle.config().clone();
    config["process"]["env"] = env.into();
    Ok(bundle::replace(bundle.path(), "config.json", &config::json(&mut config), 0o600)?)
}

/// The environment of a container that starts again, with the addresses that its links have now; `None` if nothing has changed.
fn renewed(home: &Home, bundle: &Bundle) -> Option<Vec<String>> {
    let plan: Plan = serde_json::from_str(bundle.annotation(annotation::NETWORK)?).ok()?;
    let fresh = variables(home, &bundle.name(), &plan);
    let env = bundle.config().pointer("/process/env").and_then(Value::as_array)?;
    let old: Vec<String> = env.iter().filter_map(|entry| entry.as_str().map(str::to_owned)).collect();
    // What does not hold an address stays as it is: it may be the user's.
    let addresses: Vec<String> = plan.links.iter().map(|(_, alias)| format!("{}_PORT", prefix(alias))).collect();
    let is_address = |entry: &String| {
        let name = entry.split('=').next().unwrap_or_default();
        addresses
            .iter()
            .any(|port| name.strip_prefix(port.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
    };
    let mut new = old.clone();
    new.retain(|entry| !is_address(entry));
    environment::overlay(&mut new, fresh.into_iter().filter(is_address));
    (new != old).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_dockers_variables() {
        let link = Linked {
            alias: "my-db".into(),
            address: Some("10.9.0.2".parse().unwrap()),
            ports: vec![("80".into(), "tcp".into()), ("90".into(), "udp".into())],
            env: vec!["PATH=/bin".into(), "SECRET=s".into(), "EMPTY=".into()],
        };
        let expected = [
            "MY_DB_PORT=tcp://10.9.0.2:80",
            "MY_DB_PORT_80_TCP=tcp://10.9.0.2:80",
            "MY_DB_PORT_80_TCP_ADDR=10.9.0.2",
            "MY_DB_PORT_80_TCP_PORT=80",
            "MY_DB_PORT_80_TCP_PROTO=tcp",
            "MY_DB_PORT_90_UDP=udp://10.9.0.2:90",
            "MY_DB_PORT_90_UDP_ADDR=10.9.0.2",
            "MY_DB_PORT_90_UDP_PORT=90",
            "MY_DB_PORT_90_UDP_PROTO=udp",
            "MY_DB_NAME=/app/my-db",
            "MY_DB_ENV_SECRET=s",
            "MY_DB_ENV_EMPTY=",
        ];
        assert_eq!(of_link("app", &link), expected);
        let down = Linked { address: None, ..link };
        assert_eq!(of_link("app", &down)[0], "MY_DB_NAME=/app/my-db", "no address that another may have got");
    }
}
