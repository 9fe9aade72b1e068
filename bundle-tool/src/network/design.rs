//! The conflist of a new network: docker's options, with a bridge and subnets that nobody else has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Error;
use super::subnet::Subnet;
use crate::bundle::name::{is_name, random_bytes};

/// What connects the containers of a network, by docker's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// A bridge of the host's own.
    #[default]
    Bridge,
    /// Interfaces beside one of the host, with hardware addresses of their own.
    Macvlan,
    /// Interfaces beside one of the host, with its hardware address.
    Ipvlan,
}

/// What a new network is to be: the options of docker network create.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The name of the network.
    pub name: String,
    /// What connects its containers.
    pub driver: Driver,
    /// Its subnets, at most one of each family; a free one of IPv4 if there is none.
    pub subnets: Vec<Subnet>,
    /// The address of the host in a subnet; the first if absent.
    pub gateways: Vec<IpAddr>,
    /// The part of a subnet that containers get addresses from; all of it if absent.
    pub ip_ranges: Vec<Subnet>,
    /// Addresses that containers do not get.
    pub reserved: Vec<IpAddr>,
    /// Whether a subnet of IPv6 is wanted, even if none is given.
    pub ipv6: bool,
    /// Whether there is no way out of the network.
    pub internal: bool,
    /// The name of the bridge; a free one if absent.
    pub bridge: Option<String>,
    /// The labels of the network.
    pub labels: BTreeMap<String, String>,
    /// The options of docker's bridge driver.
    pub options: BTreeMap<String, String>,
}

/// What a new network must not have.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Names of interfaces of the host, and of bridges of other networks.
    pub bridges: BTreeSet<String>,
    /// Subnets of other networks.
    pub subnets: Vec<Subnet>,
    /// Subnets of the host's interfaces and routes. As in docker, they can be asked for all the same; a container is then refused as long as
    /// an interface has them.
    pub host: Vec<Subnet>,
}

impl Taken {
    fn is_free(&self, subnet: Subnet) -> bool {
        !self.subnets.iter().chain(&self.host).any(|taken| taken.overlaps(subnet))
    }

    /// The first free subnet for containers.
    fn free_ipv4(&self) -> Option<Subnet> {
        let first = (64..128).map(|number| format!("10.{number}.0.0/16"));
        // For hosts whose company has all of 10.0.0.0/8.
        let second = (17..32).map(|number| format!("172.{number}.0.0/16"));
        let third = (0..=255).map(|number| format!("192.168.{number}.0/24"));
        let all = first.chain(second).chain(third);
        all.filter_map(|text| text.parse().ok()).find(|subnet| self.is_free(*subnet))
    }

    /// A random subnet of the unique local addresses (RFC 4193).
    fn free_ipv6(&self) -> Option<Subnet> {
        let random = || {
            let [first, rest @ ..] = random_bytes::<5>();
            let [global, subnet] = [&rest[..2], &rest[2..]].map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            format!("fd{first:02x}:{global:x}:{subnet:x}::/64").parse().ok()
        };
        std::iter::repeat_with(random).take(16).flatten().find(|subnet| self.is_free(*subnet))
    }

    /// A name for a bridge that no interface has.
    fn free_bridge(&self) -> String {
        let random = || random_bytes::<5>().iter().fold(String::from("oci-"), |name, byte| format!("{name}{byte:02x}"));
        let mut names = std::iter::repeat_with(random);
        names.find(|name| !self.bridges.contains(name)).expect("random names do not end")
    }
}

/// The bridge of the default network, and its subnet. All homes share them, and so the addresses in use.
pub const DEFAULT_BRIDGE: &str = "oci0";
const DEFAULT_SUBNET: &str = "10.63.0.0/16";

/// Sets an option in the configuration of the bridge plugin.
type Setter = fn(&mut Value, &str) -> Result<(), String>;

fn boolean(value: &str) -> Result<bool, String> {
    crate::option::boolean::parse(value).map_err(|error| error.to_string())
}

/// The options of docker's drivers that are honoured, by docker's names.
fn options(driver: Driver) -> &'static [(&'static str, Setter)] {
    match driver {
        Driver::Bridge => &BRIDGE_OPTIONS,
        Driver::Macvlan => &MACVLAN_OPTIONS,
        Driver::Ipvlan => &IPVLAN_OPTIONS,
    }
}

const BRIDGE_OPTIONS: [(&str, Setter); 5] = [
    ("com.docker.network.bridge.name", |_, _| Ok(())),
    ("com.docker.network.bridge.enable_ip_masquerade", |plugin, value| {
        plugin["ipMasq"] = boolean(value)?.into();
        Ok(())
    }),
    ("com.docker.network.bridge.enable_icc", |plugin, value| {
        if !boolean(value)? {
            plugin["portIsolation"] = true.into();
        }
        Ok(())
    }),
    // Read when a container's ports are assigned.
    ("com.docker.network.bridge.host_binding_ipv4", |_, value| match value.parse::<std::net::Ipv4Addr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{value:?} is not an IPv4 address")),
    }),
    ("com.docker.network.driver.mtu", mtu),
];

const MACVLAN_OPTIONS: [(&str, Setter); 3] = [
    ("parent", parent),
    ("macvlan_mode", |plugin, value| mode(plugin, value, &["bridge", "private", "vepa", "passthru"])),
    ("com.docker.network.driver.mtu", mtu),
];

const IPVLAN_OPTIONS: [(&str, Setter); 3] = [
    ("parent", parent),
    ("ipvlan_mode", |plugin, value| mode(plugin, value, &["l2", "l3", "l3s"])),
    ("com.docker.network.driver.mtu", mtu),
];

fn mtu(plugin: &mut Value, value: &str) -> Result<(), String> {
    let mtu: u32 = value.parse().map_err(|_| format!("{value:?} is not a number"))?;
    plugin["mtu"] = mtu.into();
    Ok(())
}

fn parent(plugin: &mut Value, value: &str) -> Result<(), String> {
    if super::host::index(value).is_none() {
        return Err(format!("{value}: this host has no such interface"));
    }
    plugin["master"] = value.into();
    Ok(())
}

fn mode(plugin: &mut Value, value: &str, known: &[&str]) -> Result<(), String> {
    if !known.contains(&value) {
        return Err(format!("{value:?} is not one of {}", known.join(", ")));
    }
    plugin["mode"] = value.into();
    Ok(())
}

impl Wanted {
    /// The network `bridge`, docker's default: with the bridge and the subnet that all homes share, unless the host has others like them.
    pub fn default_network(taken: &Taken) -> Self {
        let subnet: Subnet = DEFAULT_SUBNET.parse().expect("the constant is a subnet");
        let free = !taken.bridges.contains(DEFAULT_BRIDGE) && taken.is_free(subnet);
        Self {
            name: "bridge".into(),
            bridge: free.then(|| DEFAULT_BRIDGE.into()),
            subnets: free.then_some(subnet).into_iter().collect(),
            ..Self::default()
        }
    }

    /// The conflist. `leases` is the folder for the addresses in use.
    pub fn conflist(&self, taken: &Taken, leases: &Path) -> Result<Value, Error> {
        let refused = |reason: String| Error::Unfit { name: self.name.clone(), reason };
        let subnets = self.choose(taken)?;
        let bridge = self.bridge_name(taken)?;
        let mut ranges = Vec::new();
        let mut routes = Vec::new();
        for subnet in &subnets {
            ranges.push(self.ranges(*subnet)?);
            routes.push(json!({"dst": if subnet.is_ipv6() { "::/0" } else { "0.0.0.0/0" }}));
        }
        self.check_strays(&subnets)?;
        let ipam = json!({
            "type": "host-local",
            "dataDir": leases.join(&bridge),
            "ranges": ranges,
            "routes": if self.internal { Vec::new() } else { routes },
        });
        let mut plugins = match self.driver {
            Driver::Bridge => vec![
                json!({
                    "type": "bridge",
                    "bridge": bridge,
                    "isGateway": !self.internal,
                    "ipMasq": !self.internal,
                    "hairpinMode": true,
                    "capabilities": {"mac": true, "ips": true},
                    "ipam": ipam,
                }),
                json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}),
                // Containers of other bridges are kept out, as in docker.
                json!({"type": "firewall", "backend": "iptables", "ingressPolicy": "same-bridge"}),
            ],
            Driver::Macvlan | Driver::Ipvlan => vec![json!({
                "type": if self.driver == Driver::Macvlan { "macvlan" } else { "ipvlan" },
                "capabilities": {"mac": true, "ips": true},
                "ipam": ipam,
            })],
        };
        for (key, value) in &self.options {
            let set = match options(self.driver).iter().find(|(name, _)| name == key) {
                Some((_, set)) => set,
                None if key.starts_with("com.docker.network.") => {
                    return Err(refused(format!("--opt {key}: not supported")));
                }
                // A word of no driver of docker's, which reads over it and shows it, such as minikube's `-o --icc`.
                None => continue,
            };
            set(&mut plugins[0], value).map_err(|reason| refused(format!("--opt {key}: {reason}")))?;
        }
        if self.driver != Driver::Bridge && plugins[0].get("master").is_none() {
            return Err(refused("--opt parent is missing (-o parent=eth0, an interface of this host)".into()));
        }
        let mut conflist = json!({"cniVersion": "1.0.0", "name": self.name, "plugins": plugins});
        if !self.labels.is_empty() {
            let labels: Map<String, Value> =
                self.labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
            conflist["labels"] = labels.into();
        }
        if !self.options.is_empty() {
            conflist["options"] = json!(self.options);
        }
        Ok(conflist)
    }

    fn choose(&self, taken: &Taken) -> Result<Vec<Subnet>, Error> {
        let refused = |reason: String| Err(Error::Unfit { name: self.name.clone(), reason });
        let mut subnets = self.subnets.clone();
        for subnet in &subnets {
            let bits = if subnet.is_ipv6() { 16..=126 } else { 8..=30 };
            if !bits.contains(&subnet.bits()) {
                return refused(format!(
                    "--subnet {subnet}: the prefix must have {} to {} bits",
                    bits.start(),
                    bits.end()
                ));
            }
            if let Some(other) = taken.subnets.iter().find(|other| other.overlaps(*subnet)) {
                let (name, subnet, other) = (self.name.clone(), subnet.to_string(), other.to_string());
                return Err(Error::Overlap { name, subnet, other });
            }
            if let Some(other) = taken.host.iter().find(|other| other.overlaps(*subnet)) {
                tracing::warn!("{}: --subnet {subnet}: overlaps {other}, to which this host has a route", self.name);
            }
        }
        for family in [false, true] {
            if subnets.iter().filter(|subnet| subnet.is_ipv6() == family).count() > 1 {
                return refused("--subnet: at most one of IPv4 and one of IPv6".into());
            }
        }
        let none =
            || Error::Unfit { name: self.name.clone(), reason: "no free subnet (choose one with --subnet)".into() };
        if subnets.is_empty() || (self.ipv6 && subnets.iter().all(|subnet| subnet.is_ipv6())) {
            subnets.insert(0, taken.free_ipv4().ok_or_else(none)?);
        }
        if self.ipv6 && !subnets.iter().any(|subnet| subnet.is_ipv6()) {
            subnets.push(taken.free_ipv6().ok_or_else(none)?);
        }
        Ok(subnets)
    }

    fn bridge_name(&self, taken: &Taken) -> Result<String, Error> {
        let asked = self.bridge.as_ref().or_else(|| self.options.get("com.docker.network.bridge.name"));
        let refused = |reason: String| Err(Error::Unfit { name: self.name.clone(), reason });
        match asked {
            // The kernel's limit for names of interfaces.
            Some(bridge) if bridge.len() > 15 || !is_name(bridge) => {
                refused(format!("{bridge:?} is not a valid name for an interface (at most 15 letters and digits)"))
            }
            Some(bridge) if taken.bridges.contains(bridge) => {
                refused(format!("{bridge}: this host or another network has an interface of that name"))
            }
            Some(bridge) => Ok(bridge.clone()),
            None => Ok(taken.free_bridge()),
        }
    }

    /// The ranges of host-local for a subnet, without the reserved addresses.
    fn ranges(&self, subnet: Subnet) -> Result<Vec<Value>, Error> {
        let refused = |reason: String| Err(Error::Unfit { name: self.name.clone(), reason });
        let (first, last) = subnet.hosts();
        let gateway = self.gateways.iter().find(|gateway| subnet.contains(**gateway));
        if self.gateways.iter().filter(|gateway| subnet.contains(**gateway)).count() > 1 {
            return refused(format!("cannot configure multiple gateways for subnet {subnet}"));
        }
        let (mut from, mut to) = (first, last);
        if let Some(range) = self.ip_ranges.iter().find(|range| range.overlaps(subnet)) {
            let (start, end) = range.hosts();
            if range.bits() < subnet.bits() {
                return refused(format!("--ip-range {range}: not within {subnet}"));
            }
            // A range has no address of its own and none for broadcasts, unless it is at an end of the subnet.
            from = if subnet.contains(start) && start != first { previous(start) } else { first };
            to = if end == last { last } else { next(end, subnet.is_ipv6()) };
        }
        let ranges = Subnet::without(from, to, &self.reserved);
        if ranges.is_empty() {
            return refused(format!("{subnet}: no address is left for containers"));
        }
        Ok(ranges
            .into_iter()
            .map(|(start, end)| {
                let mut range = json!({"subnet": subnet.to_string()});
                if (start, end) != (first, last) {
                    (range["rangeStart"], range["rangeEnd"]) = (start.to_string().into(), end.to_string().into());
                }
                if let Some(gateway) = gateway {
                    range["gateway"] = gateway.to_string().into();
                }
                range
            })
            .collect())
    }

    /// Refuses addresses that are in none of the subnets.
    fn check_strays(&self, subnets: &[Subnet]) -> Result<(), Error> {
        let within = |address: &IpAddr| subnets.iter().any(|subnet| subnet.contains(*address));
        let lists = [("--gateway", &self.gateways), ("--aux-address", &self.reserved)];
        let addresses = lists
            .iter()
            .flat_map(|(option, list)| list.iter().map(move |address| (option, address.to_string(), within(address))));
        let ranges = self
            .ip_ranges
            .iter()
            .map(|range| (&"--ip-range", range.to_string(), subnets.iter().any(|subnet| subnet.overlaps(*range))));
        match addresses.chain(ranges).find(|(.., within)| !within) {
            Some((option, value, _)) => {
                let reason = format!("{option} {value}: in no subnet of the network (give it with --subnet)");
                Err(Error::Unfit { name: self.name.clone(), reason })
            }
            None => Ok(()),
        }
    }
}

fn previous(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => std::net::Ipv4Addr::from(u32::from(address).saturating_sub(1)).into(),
        IpAddr::V6(address) => std::net::Ipv6Addr::from(u128::from(address).saturating_sub(1)).into(),
    }
}

/// The address after the last host of a range, which a larger subnet has for hosts too. IPv6 has no broadcasts.
fn next(address: IpAddr, ipv6: bool) -> IpAddr {
    match address {
        IpAddr::V4(address) if !ipv6 => std::net::Ipv4Addr::from(u32::from(address).saturating_add(1)).into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(subnets: &[&str]) -> Wanted {
        Wanted {
            name: "shop".into(),
            subnets: subnets.iter().map(|text| text.parse().unwrap()).collect(),
            ..Wanted::default()
        }
    }

    fn taken(subnets: &[&str], bridges: &[&str]) -> Taken {
        Taken {
            bridges: bridges.iter().map(|name| (*name).to_owned()).collect(),
            subnets: subnets.iter().map(|text| text.parse().unwrap()).collect(),
            host: Vec::new(),
        }
    }

    fn conflist(wanted: &Wanted, taken: &Taken) -> Result<Value, String> {
        wanted.conflist(taken, Path::new("/leases")).map_err(|error| error.to_string())
    }

    fn ranges(value: &Value) -> &Value {
        &value["plugins"][0]["ipam"]["ranges"]
    }

    #[test]
    fn a_network_gets_a_subnet_and_a_bridge_that_nobody_has() {
        let all = conflist(&wanted(&[]), &taken(&["10.64.0.0/15", "10.66.3.0/24"], &["oci-00"])).unwrap();
        assert_eq!(*ranges(&all), json!([[{"subnet": "10.67.0.0/16"}]]));
        let bridge = all["plugins"][0]["bridge"].as_str().unwrap();
        assert!(bridge.starts_with("oci-") && bridge.len() < 16, "{bridge}");
        assert_eq!(all["plugins"][0]["ipam"]["dataDir"], format!("/leases/{bridge}"));
        assert_eq!(all["plugins"][2]["ingressPolicy"], "same-bridge");
        let company = conflist(&wanted(&[]), &taken(&["10.0.0.0/8"], &[])).unwrap();
        assert_eq!(ranges(&company)[0][0]["subnet"], "172.17.0.0/16");
        assert!(conflist(&wanted(&[]), &taken(&["0.0.0.0/0"], &[])).unwrap_err().contains("no free subnet"));
        let message = conflist(&wanted(&["10.1.2.0/24"]), &taken(&["10.1.0.0/16"], &[])).unwrap_err();
        assert!(message.starts_with("shop: --subnet 10.1.2.0/24: overlaps 10.1.0.0/16"), "{message}");
        let host = Taken { host: vec!["10.64.0.0/16".parse().unwrap()], ..Taken::default() };
        assert_eq!(*ranges(&conflist(&wanted(&[]), &host).unwrap()), json!([[{"subnet": "10.65.0.0/16"}]]));
        assert_eq!(
            *ranges(&conflist(&wanted(&["10.64.1.0/24"]), &host).unwrap()),
            json!([[{"subnet": "10.64.1.0/24"}]])
        );
        let mut own = wanted(&[]);
        own.bridge = Some("br0".into());
        assert!(conflist(&own, &taken(&[], &["br0"])).unwrap_err().contains("br0: this host"));
        own.bridge = Some("a-name-with-sixteen".into());
        assert!(conflist(&own, &Taken::default()).unwrap_err().contains("not a valid name"));
    }

    #[test]
    fn the_default_network_is_the_same_one_unless_the_host_has_another_like_it() {
        let made = |taken: &Taken| conflist(&Wanted::default_network(taken), taken).unwrap();
        let usual = made(&taken(&["10.64.0.0/16"], &["br0"]));
        assert_eq!(usual["plugins"][0]["bridge"], "oci0");
        assert_eq!(*ranges(&usual), json!([[{"subnet": "10.63.0.0/16"}]]));
        for taken in [taken(&["10.63.4.0/24"], &[]), taken(&[], &["oci0"])] {
            let other = made(&taken);
            assert_ne!(other["plugins"][0]["bridge"], "oci0");
            assert_eq!(*ranges(&other), json!([[{"subnet": "10.64.0.0/16"}]]));
        }
    }

    #[test]
    fn ipv6_is_added_or_alone_and_has_a_route_out() {
        let routes = |value: &Value| value["plugins"][0]["ipam"]["routes"].clone();
        let alone = conflist(&wanted(&["fd77:7::/64"]), &Taken::default()).unwrap();
        assert_eq!((ranges(&alone).as_array().unwrap().len(), routes(&alone)), (1, json!([{"dst": "::/0"}])));
        let both = Wanted { ipv6: true, ..wanted(&["fd77:7::/64"]) };
        let both = conflist(&both, &Taken::default()).unwrap();
        assert_eq!(ranges(&both)[0][0]["subnet"], "10.64.0.0/16");
        assert_eq!(routes(&both), json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]));
        let drawn = conflist(&Wanted { ipv6: true, ..wanted(&[]) }, &Taken::default()).unwrap();
        assert!(ranges(&drawn)[1][0]["subnet"].as_str().unwrap().starts_with("fd"));
        let twice = conflist(&wanted(&["10.1.0.0/24", "10.2.0.0/24"]), &Taken::default()).unwrap_err();
        assert!(twice.contains("at most one of IPv4"), "{twice}");
        let inner = conflist(&Wanted { internal: true, ..wanted(&[]) }, &Taken::default()).unwrap();
        assert_eq!((&inner["plugins"][0]["isGateway"], routes(&inner)), (&json!(false), json!([])));
    }

    #[test]
    fn addresses_are_kept_within_the_range_and_off_the_reserved_ones() {
        let mut network = wanted(&["10.9.0.0/24"]);
        network.gateways = vec!["10.9.0.254".parse().unwrap()];
        network.ip_ranges = vec!["10.9.0.16/28".parse().unwrap()];
        network.reserved = vec!["10.9.0.20".parse().unwrap()];
        let made = conflist(&network, &Taken::default()).unwrap();
        let expected = json!([[
            {"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.16", "rangeEnd": "10.9.0.19", "gateway": "10.9.0.254"},
            {"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.21", "rangeEnd": "10.9.0.31", "gateway": "10.9.0.254"},
        ]]);
        assert_eq!(*ranges(&made), expected);
        for (option, mut stray) in
            [("--gateway", wanted(&[])), ("--aux-address", wanted(&[])), ("--ip-range", wanted(&[]))]
        {
            match option {
                "--gateway" => stray.gateways = vec!["9.9.9.9".parse().unwrap()],
                "--aux-address" => stray.reserved = vec!["9.9.9.9".parse().unwrap()],
                _ => stray.ip_ranges = vec!["9.9.9.0/24".parse().unwrap()],
            }
            let message = conflist(&stray, &Taken::default()).unwrap_err();
            assert!(message.contains(option) && message.contains("in no subnet"), "{message}");
        }
    }

    #[test]
    fn dockers_options_are_honoured_or_refused_by_name() {
        let with = |key: &str, value: &str| {
            let options = BTreeMap::from([(format!("com.docker.network.{key}"), value.to_owned())]);
            conflist(&Wanted { options, ..wanted(&[]) }, &Taken::default())
        };
        let beside = |driver, options: &[(&str, &str)]| {
            let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            conflist(&Wanted { driver, options, ..wanted(&["10.9.0.0/24"]) }, &Taken::default())
        };
        let made = beside(Driver::Macvlan, &[("parent", "lo"), ("macvlan_mode", "private")]).unwrap();
        let plugin = &made["plugins"][0];
        assert_eq!(
            (&plugin["type"], &plugin["master"], &plugin["mode"]),
            (&json!("macvlan"), &json!("lo"), &json!("private"))
        );
        assert_eq!(made["plugins"].as_array().unwrap().len(), 1);
        assert!(beside(Driver::Ipvlan, &[]).unwrap_err().contains("parent is missing"));
        assert!(beside(Driver::Ipvlan, &[("parent", "no-such-if0")]).unwrap_err().contains("no such interface"));
        assert!(beside(Driver::Ipvlan, &[("parent", "lo"), ("ipvlan_mode", "l9")]).unwrap_err().contains("l2, l3"));
        assert_eq!(with("bridge.name", "shop0").unwrap()["plugins"][0]["bridge"], "shop0");
        assert_eq!(with("driver.mtu", "1400").unwrap()["plugins"][0]["mtu"], 1400);
        assert_eq!(with("bridge.enable_ip_masquerade", "false").unwrap()["plugins"][0]["ipMasq"], false);
        assert_eq!(with("bridge.enable_icc", "false").unwrap()["plugins"][0]["portIsolation"], true);
        let bound = with("bridge.host_binding_ipv4", "127.0.0.1").unwrap();
        assert_eq!(bound["options"]["com.docker.network.bridge.host_binding_ipv4"], "127.0.0.1");
        let made = beside(Driver::Bridge, &[("--icc", "")]).unwrap();
        assert_eq!(made["options"], json!({"--icc": ""}));
        for (key, value) in [
            ("bridge.enable_icc", "x"),
            ("driver.mtu", "x"),
            ("bridge.unknown", "1"),
            ("bridge.host_binding_ipv4", "::1"),
        ] {
            assert!(with(key, value).unwrap_err().contains(key), "{key}");
        }
    }
}
