//! The names by which containers find each other: the lines of their hosts files.
//!
//! A container's lines follow from the records of all containers that are up. Whenever one comes or goes, the lines of all are made anew, so
//! that a name leads to the container that has it now, and to nothing once that is gone.

use super::LINKS_ONLY;
use super::files;
use super::record::Record;

/// The lines that belong into the hosts file of `own`: its own address, names for the host, and other containers of its network. By its names
/// on the network a container finds itself too.
pub(super) fn lines(own: &Record, all: &[Record]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let others = all.iter().filter(|other| other.id != own.id && own.shares_network(other));
    for other in others {
        let names = names(own, other);
        if !names.is_empty() {
            lines.extend(other.addresses().iter().map(|address| format!("{address}\t{}", names.join(" "))));
        }
    }
    if let Some(gateway) = own.gateway() {
        lines.extend(own.plan.gateway_names.iter().map(|name| format!("{gateway}\t{name}")));
    }
    let hostname = files::host_names(&own.hostname, &own.domain);
    let mut known = on_network(own, own);
    known.retain(|name| hostname.split(' ').all(|other| other != name));
    let hostname = std::iter::once(hostname).chain(known).collect::<Vec<_>>().join(" ");
    lines.extend(own.addresses().iter().map(|address| format!("{address}\t{hostname}")));
    lines
}

/// The names by which `own` knows `other`.
fn names(own: &Record, other: &Record) -> Vec<String> {
    let links = own.plan.links.iter().filter(|(container, _)| other.is(container));
    let mut names: Vec<String> = links.map(|(_, alias)| alias.clone()).collect();
    if own.plan.network != LINKS_ONLY {
        names.extend(on_network(own, other));
    } else if !names.is_empty() {
        // Docker adds these to the name of a link.
        names.extend([other.hostname.clone(), other.name.clone()]);
    }
    distinct(names)
}

/// The names of `other` on the network that `own` shares with it, if that has names: each also with the network's own behind it, as docker's
/// resolver knows them.
fn on_network(own: &Record, other: &Record) -> Vec<String> {
    let network = &own.plan.network;
    if network == LINKS_ONLY {
        return Vec::new();
    }
    let given: Vec<&String> = std::iter::once(&other.name).chain(&other.plan.names).collect();
    let short = given.iter().map(|name| (*name).clone()).chain([other.hostname.clone()]);
    distinct(short.chain(given.iter().map(|name| format!("{name}.{network}"))).collect())
}

fn distinct(mut names: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    names
}

/// A hosts file with the lines `new` instead of the lines `old`. What else is in it, such as what the container wrote, stays.
pub(super) fn replace(text: &str, old: &[String], new: &[String]) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if !old.iter().any(|each| line.strip_suffix('\n') == Some(each)) {
            kept += line;
        }
    }
    if !kept.is_empty() && !kept.ends_with('\n') {
        kept.push('\n');
    }
    for line in new {
        kept += line;
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Plan;
    use serde_json::{Map, Value, json};

    fn record(name: &str, network: &str, address: &str) -> Record {
        Record {
            id: format!("{name:0<64}"),
            name: name.into(),
            hostname: format!("host-{name}"),
            domain: String::new(),
            bundle: format!("/bundles/{name}").into(),
            pid: 1,
            network: Value::Null,
            capabilities: Map::new(),
            result: Some(json!({"ips": [{"address": format!("{address}/16"), "gateway": "10.9.0.1"}]})),
            plan: Plan { network: network.into(), ..Plan::default() },
            interface: "eth0".into(),
            native: false,
            proxy: None,
            hosts: Vec::new(),
        }
    }

    #[test]
    fn containers_of_a_network_know_each_other_by_all_names() {
        let mut db = record("db", "shop", "10.9.0.2");
        db.plan.names.push("database".into());
        let app = record("app", "shop", "10.9.0.3");
        let all = [db, app.clone(), record("far", "other", "10.10.0.2")];
        assert_eq!(
            lines(&app, &all),
            ["10.9.0.2\tdb database host-db db.shop database.shop", "10.9.0.3\thost-app app app.shop"]
        );
        let again = [record("db", "shop", "10.9.0.7"), app.clone()];
        assert_eq!(lines(&app, &again)[0], "10.9.0.7\tdb host-db db.shop", "it came back with another address");
        assert_eq!(
            lines(&app, std::slice::from_ref(&app)),
            ["10.9.0.3\thost-app app app.shop"],
            "what is gone has no line"
        );
        let mut elsewhere = record("db", "shop", "10.11.0.2");
        elsewhere.network = json!({"name": "shop", "plugins": [{"type": "bridge", "bridge": "oci7"}]});
        assert_eq!(
            lines(&app, &[elsewhere, app.clone()]),
            ["10.9.0.3\thost-app app app.shop"],
            "a network of that name in another home"
        );
    }

    #[test]
    fn on_the_default_network_a_link_is_needed() {
        let db = record("db", "bridge", "10.9.0.2");
        let mut app = record("app", "bridge", "10.9.0.3");
        assert_eq!(lines(&app, &[db.clone(), app.clone()]), ["10.9.0.3\thost-app"]);
        app.plan.links.push(("db".into(), "store".into()));
        app.plan.gateway_names.push("docker-host".into());
        app.domain = "d.example".into();
        assert_eq!(
            lines(&app, &[db, app.clone()]),
            ["10.9.0.2\tstore host-db db", "10.9.0.1\tdocker-host", "10.9.0.3\thost-app.d.example host-app"]
        );
    }

    #[test]
    fn lines_are_replaced_whole_and_the_rest_stays() {
        let text = "127.0.0.1\tlocalhost\n10.9.0.2\tdb\n110.9.0.2\tdb\n10.9.0.2\tdb mine\nno line feed";
        let new = replace(text, &["10.9.0.2\tdb".into()], &["10.9.0.7\tdb".into()]);
        assert_eq!(new, "127.0.0.1\tlocalhost\n110.9.0.2\tdb\n10.9.0.2\tdb mine\nno line feed\n10.9.0.7\tdb\n");
        assert_eq!(replace("", &[], &["a".into()]), "a\n");
    }
}
