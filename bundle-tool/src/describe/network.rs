//! Networks as docker describes them, and what containers have of them.

use std::collections::BTreeMap;

use image_tool::address::home::Home;
use image_tool::show::document::NEVER;
use image_tool::show::format::List;
use image_tool::show::table;
use image_tool::show::template::{Struct, Value};
use jiff::Timestamp;
use serde_json::Value as Json;

use super::row;
use super::words::Words;
use crate::container::status::Container;
use crate::container::{conflist, network_folders};
use crate::network::cni::Conflist;
use crate::network::identity::identity;
use crate::network::state::Networks;

/// A network: one that a file describes, or `host` or `none`.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its name.
    pub name: String,
    conflist: Option<Conflist>,
}

/// docker's list.
pub const LIST: List<'static> = List {
    headings: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    narrowest: table::NARROW,
};

impl Network {
    /// All networks, by name.
    #[must_use]
    pub fn list(home: &Home) -> Vec<Self> {
        // `bridge` is listed even if nothing has used it yet, unless it cannot be described.
        let _ = conflist(home, "bridge");
        let known = Conflist::list(&network_folders(home));
        let mut all: Vec<Self> =
            known.into_iter().map(|own| Self { name: own.name.clone(), conflist: Some(own) }).collect();
        for name in ["host", "none"] {
            if !all.iter().any(|network| network.name == name) {
                all.push(Self { name: name.into(), conflist: None });
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The network that a word means: its name, its id, or the first digits of its id.
    #[must_use]
    pub fn find(home: &Home, word: &str) -> Option<Self> {
        let mut all = Self::list(home);
        let by_name = all.iter().position(|network| network.name == word);
        let mut by_id =
            all.iter().enumerate().filter(|(_, network)| !word.is_empty() && network.id().starts_with(word));
        let found = by_name.or_else(|| match (by_id.next(), by_id.next()) {
            (Some((index, _)), None) => Some(index),
            _ => None,
        });
        found.map(|index| all.swap_remove(index))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        identity("network", &self.name)
    }

    /// docker's word for what makes it.
    #[must_use]
    pub fn driver(&self) -> &str {
        match (&self.conflist, self.name.as_str()) {
            (None, "host") => "host",
            (None, _) => "null",
            (Some(own), _) if own.bridge().is_some() => "bridge",
            (Some(own), _) => own.plugins.first().and_then(|plugin| plugin.get("type")?.as_str()).unwrap_or("cni"),
        }
    }

    /// Whether docker makes it, and nobody can remove it.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        ["bridge", "host", "none"].contains(&self.name.as_str())
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let read = || {
            let json: Json = serde_json::from_slice(&std::fs::read(&self.conflist.as_ref()?.path).ok()?).ok()?;
            serde_json::from_value(json.get("labels")?.clone()).ok()
        };
        read().unwrap_or_default()
    }

    /// When its file was written.
    #[must_use]
    pub fn created(&self) -> Option<Timestamp> {
        let metadata = std::fs::metadata(&self.conflist.as_ref()?.path).ok()?;
        Timestamp::try_from(metadata.modified().ok()?).ok()
    }

    fn plugin(&self, field: &str) -> Option<&Json> {
        self.conflist.as_ref()?.plugins.iter().find_map(|plugin| plugin.get(field))
    }

    fn is_internal(&self) -> bool {
        self.conflist.is_some() && self.plugin("isGateway").and_then(Json::as_bool) == Some(false)
    }

    fn is_ipv6(&self) -> bool {
        self.conflist.as_ref().is_some_and(|own| own.subnets().iter().any(|subnet| subnet.is_ipv6()))
    }

    /// A row of docker's list.
    #[must_use]
    pub fn row(&self, truncates: bool) -> Value {
        let id = self.id();
        let labels = self.labels();
        let shown: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let created = self.created().unwrap_or(Timestamp::UNIX_EPOCH);
        Struct::new("*network.networkContext")
            .with("CreatedAt", created.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string())
            .with("Driver", self.driver())
            .with("ID", if truncates { &id[..12] } else { id.as_str() })
            .with("IPv6", self.is_ipv6().to_string())
            .with("Internal", self.is_internal().to_string())
            .with("Labels", shown.join(","))
            .with("Name", &self.name)
            .with("Scope", "local")
            .hidden(
                "Label",
                Value::Method(std::rc::Rc::new(move |key: &str| labels.get(key).cloned().unwrap_or_default().into())),
            )
            .into()
    }

    /// docker's document, with the containers that are on the network.
    #[must_use]
    pub fn document(&self, containers: &[Container]) -> Value {
        let subnets = self.conflist.as_ref().map(Conflist::subnets).unwrap_or_default();
        let gateways = self.gateways();
        let part = |subnet| self.conflist.as_ref()?.part(subnet);
        let pools = subnets.iter().map(|subnet| {
            let gateway = gateways.iter().find(|gateway| subnet.contains(**gateway)).map(ToString::to_string);
            Struct::new("network.IPAMConfig")
                .with("Subnet", subnet.to_string())
                .unless_empty("IPRange", part(*subnet).map(|part| part.to_string()).unwrap_or_default())
                .unless_empty("Gateway", gateway.unwrap_or_default())
        });
        let ipam = Struct::new("network.IPAM")
            .with("Driver", "default")
            .with("Options", if self.is_builtin() { Value::Map(None) } else { Value::map::<String, String>([]) })
            .with("Config", Value::list(pools));
        let networks = Networks::of_host();
        let on_it = containers.iter().filter(|container| container.is_up()).filter_map(|container| {
            let mut all = endpoints(container, &Words::default(), &networks).into_iter();
            let (_, own) = all.find(|(name, _)| *name == self.name)?;
            Some((container.id(), own.resource(&container.name())))
        });
        let created = self.created().map_or_else(|| NEVER.to_owned(), |time| time.to_string());
        Struct::new("types.NetworkResource")
            .with("Name", &self.name)
            .with("Id", self.id())
            .with("Created", created)
            .with("Scope", "local")
            .with("Driver", self.driver())
            .with("EnableIPv6", self.is_ipv6())
            .with("IPAM", ipam)
            .with("Internal", self.is_internal())
            .with("Attachable", false)
            .with("Ingress", false)
            .with("ConfigFrom", Struct::new("network.ConfigReference").with("Network", ""))
            .with("ConfigOnly", false)
            .with("Containers", Value::map(on_it))
            .with("Options", self.options())
            .with("Labels", Value::map(self.labels()))
            .into()
    }

    fn gateways(&self) -> Vec<std::net::IpAddr> {
        let ranges = self.plugin("ipam").and_then(|ipam| ipam.get("ranges")?.as_array());
        let ranges = ranges.into_iter().flatten().filter_map(Json::as_array).flatten();
        let given: Vec<_> = ranges.filter_map(|range| range.get("gateway")?.as_str()?.parse().ok()).collect();
        if !given.is_empty() || self.is_internal() {
            return given;
        }
        // The bridge plugin takes the first address.
        self.conflist
            .as_ref()
            .map(Conflist::subnets)
            .unwrap_or_default()
            .iter()
            .map(|subnet| subnet.hosts().0)
            .collect()
    }

    fn options(&self) -> Value {
        let bridge = self.conflist.as_ref().and_then(Conflist::bridge);
        let given = self.conflist.iter().flat_map(|own| &own.options);
        let mut all: BTreeMap<String, String> =
            given.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        let mut set = |key: &str, value: String| all.insert(format!("com.docker.network.{key}"), value);
        if let Some(bridge) = bridge {
            set("bridge.name", bridge.to_owned());
        }
        // Programs make networks with that of docker's own.
        let default = (self.name == "bridge").then(|| "1500".to_owned());
        if let Some(mtu) = self.plugin("mtu").map(ToString::to_string).or(default) {
            set("driver.mtu", mtu);
        }
        if self.name == "bridge" {
            set("bridge.default_bridge", "true".into());
            set("bridge.enable_icc", "true".into());
            set("bridge.enable_ip_masquerade", "true".into());
            set("bridge.host_binding_ipv4", "0.0.0.0".into());
        }
        Value::map(all)
    }
}

/// What a container has of a network.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    pub(super) id: String,
    network: String,
    pub(super) ip: String,
    pub(super) ip_bits: i64,
    pub(super) gateway: String,
    pub(super) ip6: String,
    pub(super) ip6_bits: i64,
    pub(super) gateway6: String,
    pub(super) mac: String,
    aliases: Vec<String>,
    links: Vec<String>,
    /// The addresses that the user asked for.
    wanted: Vec<(&'static str, String)>,
    link_local: Vec<String>,
    is_own: bool,
}

/// The networks of a container by name, and what it has of them; none if it shares those of another.
#[must_use]
pub fn endpoints(container: &Container, words: &Words, networks: &Networks) -> Vec<(String, Endpoint)> {
    let mut all: Vec<(String, Endpoint)> = endpoint(container, words, networks).into_iter().collect();
    let (id, is_up) = (container.id(), container.is_up());
    for plan in container.plan().into_iter().flat_map(|plan| plan.others) {
        let name = plan.network;
        let mut own = Endpoint { is_own: name != "bridge", ..Endpoint::default() };
        own.aliases = plan.names;
        own.links = plan.links.iter().map(|(container, alias)| format!("{container}:{alias}")).collect();
        let wanted = [("IPv4Address", plan.ip), ("IPv6Address", plan.ip6)];
        own.wanted = wanted.iter().filter_map(|(key, ip)| Some((*key, (*ip)?.to_string()))).collect();
        own.link_local = plan.link_local.iter().map(ToString::to_string).collect();
        if is_up {
            own.id = identity(&name, &id);
            own.network = identity("network", &name);
        }
        if let Some(result) = networks.result_of(&id, &name).filter(|_| is_up) {
            own.fill(&result);
        }
        all.push((name, own));
    }
    all
}

/// The first network of a container.
fn endpoint(container: &Container, words: &Words, networks: &Networks) -> Option<(String, Endpoint)> {
    let name = row::network(container)?;
    let id = container.id();
    let is_up = container.is_up();
    let mut own = Endpoint { is_own: name != "bridge" && name != "host" && name != "none", ..Endpoint::default() };
    if is_up {
        own.id = identity(&name, &id);
        own.network = identity("network", &name);
    }
    if own.is_own {
        own.aliases = words.all("network-alias").to_vec();
        own.aliases.extend(id.get(..12).map(str::to_owned));
        let links = container.plan().unwrap_or_default().links.into_iter();
        own.links = links.map(|(container, alias)| format!("{container}:{alias}")).collect();
    }
    let wanted = [("IPv4Address", words.last("ip")), ("IPv6Address", words.last("ip6"))];
    own.wanted = wanted.iter().filter(|(_, ip)| !ip.is_empty()).map(|(key, ip)| (*key, (*ip).to_owned())).collect();
    own.link_local = words.all("link-local-ip").to_vec();
    if let Some(result) = networks.result_of(&id, &name).filter(|_| is_up) {
        own.fill(&result);
    }
    Some((name, own))
}

impl Endpoint {
    fn fill(&mut self, result: &Json) {
        let text = |value: &Json, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        for address in result["ips"].as_array().into_iter().flatten() {
            let whole = text(address, "address");
            let (ip, bits) = whole.split_once('/').unwrap_or((&whole, "0"));
            let bits = bits.parse().unwrap_or_default();
            if ip.contains(':') {
                (self.ip6, self.ip6_bits, self.gateway6) = (ip.to_owned(), bits, text(address, "gateway"));
            } else {
                (self.ip, self.ip_bits, self.gateway) = (ip.to_owned(), bits, text(address, "gateway"));
            }
        }
        let inside = result["interfaces"].as_array().into_iter().flatten();
        let inside = inside.filter(|interface| interface["sandbox"].as_str().is_some_and(|path| !path.is_empty()));
        self.mac = inside.map(|interface| text(interface, "mac")).next().unwrap_or_default();
    }

    /// docker's `EndpointSettings`.
    pub(super) fn document(&self) -> Value {
        let is_plain = self.wanted.is_empty() && self.link_local.is_empty();
        let wanted = match (is_plain, self.is_own && self.aliases.len() > 1) {
            (true, false) => Value::NilPointer,
            _ => self
                .wanted
                .iter()
                .fold(Struct::new("*network.EndpointIPAMConfig"), |all, (key, ip)| all.with(key, ip))
                .unless_empty("LinkLocalIPs", Value::list(&self.link_local))
                .into(),
        };
        Struct::new("*network.EndpointSettings")
            .with("IPAMConfig", wanted)
            .with("Links", if self.links.is_empty() { Value::List(None) } else { Value::list(&self.links) })
            .with("Aliases", if self.is_own { Value::list(&self.aliases) } else { Value::List(None) })
            .with("NetworkID", &self.network)
            .with("EndpointID", &self.id)
            .with("Gateway", &self.gateway)
            .with("IPAddress", &self.ip)
            .with("IPPrefixLen", self.ip_bits)
            .with("IPv6Gateway", &self.gateway6)
            .with("GlobalIPv6Address", &self.ip6)
            .with("GlobalIPv6PrefixLen", self.ip6_bits)
            .with("MacAddress", &self.mac)
            .with("DriverOpts", Value::Map(None))
            .into()
    }

    /// docker's `EndpointResource`, in the document of the network.
    fn resource(&self, name: &str) -> Value {
        let with_bits = |ip: &str, bits: i64| if ip.is_empty() { String::new() } else { format!("{ip}/{bits}") };
        Struct::new("types.EndpointResource")
            .with("Name", name)
            .with("EndpointID", &self.id)
            .with("MacAddress", &self.mac)
            .with("IPv4Address", with_bits(&self.ip, self.ip_bits))
            .with("IPv6Address", with_bits(&self.ip6, self.ip6_bits))
            .into()
    }
}
