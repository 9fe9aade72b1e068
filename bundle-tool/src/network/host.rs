//! What the host's network has: its interfaces and the addresses that they and routes lead to.
//!
//! Names of interfaces are looked up by the kernel in the network namespace of this process; /sys may show those of another.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketType};
use serde_json::Value;

use super::subnet::Subnet;

fn socket() -> Option<OwnedFd> {
    rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).ok()
}

/// The number of the interface of that name; `None` if there is none. A number is not given again while the host runs.
pub(super) fn index(name: &str) -> Option<u32> {
    rustix::net::netdevice::name_to_index(socket()?, name).ok()
}

/// The names of all interfaces in the network namespace of this process.
pub(super) fn names() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// The subnets of the host's interfaces, with the name of the interface. Empty if `ip` is not installed.
pub(super) fn interfaces() -> Vec<(Subnet, String)> {
    // Every host has the loopback interface.
    addresses(&ask(&["address"])).into_iter().filter(|(_, interface)| interface != "lo").collect()
}

/// The subnets of the host's interfaces and routes, with the name of the interface.
pub(super) fn subnets() -> Vec<(Subnet, String)> {
    let mut found = interfaces();
    for family in ["-4", "-6"] {
        found.extend(routes(&ask(&[family, "route", "show", "table", "all"])));
    }
    found.retain(|(_, interface)| interface != "lo");
    found
}

fn ask(arguments: &[&str]) -> Value {
    let output = Command::new("ip").arg("-json").args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Reads `ip -json address`.
fn addresses(json: &Value) -> Vec<(Subnet, String)> {
    let mut found = Vec::new();
    for interface in json.as_array().into_iter().flatten() {
        for address in interface.get("addr_info").and_then(Value::as_array).into_iter().flatten() {
            let bits = address.get("prefixlen").and_then(Value::as_u64).and_then(|bits| u8::try_from(bits).ok());
            let subnet =
                text(address, "local").parse().ok().zip(bits).and_then(|(local, bits)| Subnet::of(local, bits));
            found.extend(subnet.map(|subnet| (subnet, text(interface, "ifname").to_owned())));
        }
    }
    found
}

/// Reads `ip -json route`. Default routes lead to everything and so say nothing.
fn routes(json: &Value) -> Vec<(Subnet, String)> {
    let routes = json.as_array().into_iter().flatten();
    let unicast = routes.filter(|route| ["", "unicast"].contains(&text(route, "type")));
    let subnets = unicast.filter_map(|route| Some((text(route, "dst").parse().ok()?, text(route, "dev").to_owned())));
    subnets.filter(|(subnet, _): &(Subnet, _)| subnet.bits() > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_answers_of_ip_are_read() {
        let address = json!([
            {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.200.1.7", "prefixlen": 24},
                {"family": "inet6", "local": "fd00::7", "prefixlen": 64}]},
            {"ifname": "down0", "addr_info": []}, {"ifname": "odd0"},
        ]);
        let found: Vec<String> = addresses(&address).iter().map(|(subnet, name)| format!("{subnet} {name}")).collect();
        assert_eq!(found, ["10.200.1.0/24 eth0", "fd00::/64 eth0"]);
        let route = json!([
            {"dst": "default", "dev": "eth0"}, {"dst": "10.8.0.0/16", "dev": "vpn0"}, {"dst": "10.9.0.1", "dev": "x"},
            {"type": "broadcast", "dst": "10.7.0.0/16", "dev": "eth0"}, {"dst": "0.0.0.0/0", "dev": "eth0"},
        ]);
        let found: Vec<String> = routes(&route).iter().map(|(subnet, name)| format!("{subnet} {name}")).collect();
        assert_eq!(found, ["10.8.0.0/16 vpn0"]);
        assert!(addresses(&Value::Null).is_empty() && routes(&json!({})).is_empty());
    }

    #[test]
    fn interfaces_are_known_by_name() {
        assert!(index("lo").is_some());
        assert_eq!(index("no-such-if0"), None);
        assert!(names().iter().any(|name| name == "lo"));
    }
}
