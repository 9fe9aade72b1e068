//! The rules of a network: a table of nf_tables for each bridge, which nobody else's rules are in.
//!
//! ```text
//! table inet oci-tools.BRIDGE {
//!     map any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }                 # ports on all addresses of the host
//!     map one4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }     # ports on one address
//!     chain raw { type filter hook prerouting priority raw; }       # the host's loopback addresses are not for containers
//!     chain prerouting, output { type nat …; }                      # published ports lead to containers
//!     chain postrouting { type nat …; }                             # who leaves the network does it under the host's address
//!     chain forward { type filter …; }                              # answers and published ports come in, nothing else does
//! }
//! ```
//!
//! `any6` and `one6` are the same for IPv6. A container's ports are elements of the maps, so that bringing one up or down is one change of
//! the table, which the kernel makes whole or not at all, and a packet takes one step however many ports there are.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_bindings::nftables::{self, CmpOps, CtKeys, MetaKeys, PayloadBase, SetFlags, VerdictCode};
use rustix::io::Errno;

use super::netlink::{Socket, is};
use super::rule::{self, Rule, Side};
use super::transaction::{Batch, NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6, header};
use crate::network::subnet::Subnet;
use crate::option::port::Protocol;

/// A port of the host that leads to one of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    /// The address and port of the host; an unspecified address for all of that family.
    pub(super) from: SocketAddr,
    pub(super) protocol: Protocol,
    /// The address and port of the container, of the same family.
    pub(super) to: SocketAddr,
}

/// What the rules of a network depend on.
#[derive(Clone, Debug)]
pub(super) struct Policy<'a> {
    pub(super) bridge: &'a str,
    pub(super) subnets: Vec<Subnet>,
    /// Whether containers leave the network under the address of the host.
    pub(super) masquerade: bool,
    /// Whether there is no way out of the network, nor in.
    pub(super) internal: bool,
    /// Whether containers of the network reach each other.
    pub(super) mutual: bool,
}

/// The name of a network's table.
pub(super) fn table(bridge: &str) -> String {
    format!("oci-tools.{bridge}")
}

// linux/netfilter.h, linux/netfilter_ipv4.h
const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;
/// How many elements are in a message, whose lists of attributes are limited to 64 KiB.
const ELEMENTS: usize = 512;

impl Batch {
    fn chain(&mut self, table: &str, name: &str, kind: &str, hook: u32, priority: i32) {
        let mut request = self.request().set_create().op_newchain_do(&header(NFPROTO_INET));
        let chain = request.encode().push_table_bytes(table.as_bytes()).push_name_bytes(name.as_bytes());
        let chain = chain.nested_hook().push_num(hook).push_priority(priority).end_nested();
        drop(chain.push_type_bytes(kind.as_bytes()));
    }

    fn rule(&mut self, table: &str, chain: &str, rule: Rule) {
        rule.append(self, NFPROTO_INET, table, chain, None);
    }

    fn map(&mut self, table: &str, map: &Map, id: u32) {
        let mut request = self.request().set_create().op_newset_do(&header(NFPROTO_INET));
        let set = request.encode().push_table_bytes(table.as_bytes()).push_name_bytes(map.name.as_bytes());
        let set = set.push_flags(SetFlags::Map as u32).push_key_type(map.key_type()).push_key_len(map.key_length());
        drop(set.push_data_type(map.data_type()).push_data_len(map.address_length() + 4).push_id(id));
    }

    fn elements(&mut self, table: &str, forwards: &[Forward], add: bool) {
        for map in &MAPS {
            let own: Vec<&Forward> = forwards.iter().filter(|forward| map.holds(forward)).collect();
            for some in own.chunks(ELEMENTS) {
                let request = self.request();
                let header = header(NFPROTO_INET);
                if add {
                    let mut request = request.set_create().op_newsetelem_do(&header);
                    map.push(request.encode(), table, some, true);
                } else {
                    let mut request = request.op_delsetelem_do(&header);
                    map.push(request.encode(), table, some, false);
                }
            }
        }
    }
}

/// One of the maps from ports of the host to those of containers.
struct Map {
    name: &'static str,
    ipv6: bool,
    /// Whether its ports are on one address of the host, which is then part of the key.
    one: bool,
}

const MAPS: [Map; 4] = [
    Map { name: "any4", ipv6: false, one: false },
    Map { name: "one4", ipv6: false, one: true },
    Map { name: "any6", ipv6: true, one: false },
    Map { name: "one6", ipv6: true, one: true },
];

impl Map {
    fn holds(&self, forward: &Forward) -> bool {
        forward.from.is_ipv6() == self.ipv6 && forward.from.ip().is_unspecified() != self.one
    }

    fn address_length(&self) -> u32 {
        if self.ipv6 { 16 } else { 4 }
    }

    fn key_length(&self) -> u32 {
        // Every part of a concatenation takes whole registers of four bytes.
        8 + if self.one { self.address_length() } else { 0 }
    }

    // The types are those of nft, for what it prints; the kernel knows lengths only. Parts of a concatenation have six bits each.
    fn address_type(&self) -> u32 {
        if self.ipv6 { 8 } else { 7 }
    }

    fn key_type(&self) -> u32 {
        const PROTOCOL_AND_SERVICE: u32 = (12 << 6) + 13;
        if self.one { (self.address_type() << 12) + PROTOCOL_AND_SERVICE } else { PROTOCOL_AND_SERVICE }
    }

    fn data_type(&self) -> u32 {
        (self.address_type() << 6) + 13
    }

    fn key(&self, forward: &Forward) -> Vec<u8> {
        let mut key = if self.one { octets(forward.from.ip()) } else { Vec::new() };
        key.extend([number(forward.protocol), 0, 0, 0]);
        key.extend(forward.from.port().to_be_bytes());
        key.extend([0; 2]);
        key
    }

    fn push<P: netlink_bindings::utils::Pusher>(
        &self,
        list: nftables::PushSetelemListAttrs<P>,
        table: &str,
        forwards: &[&Forward],
        with_data: bool,
    ) {
        let list = list.push_table_bytes(table.as_bytes()).push_set_bytes(self.name.as_bytes());
        let mut elements = list.nested_elements();
        for forward in forwards {
            let mut element = elements.nested_elem().nested_key().push_value(&self.key(forward)).end_nested();
            if with_data {
                let mut data = octets(forward.to.ip());
                data.extend(forward.to.port().to_be_bytes());
                data.extend([0; 2]);
                element = element.nested_data().push_value(&data).end_nested();
            }
            elements = element.end_nested();
        }
    }

    /// The rule that leads packets for the map's ports to containers.
    fn rule(&self) -> Rule {
        let family = if self.ipv6 { NFPROTO_IPV6 } else { NFPROTO_IPV4 };
        let mut rule = Rule::new().family(family);
        let mut register = rule::FIRST;
        if self.one {
            let (offset, length) = Side::Destination.place(self.ipv6);
            rule = rule.payload(PayloadBase::NetworkHeader, offset, length, register);
            register += length / 4;
        } else {
            if self.ipv6 {
                // The kernel sends nothing from ::1 to an interface: the port is served there by a program.
                rule =
                    rule.address(Side::Destination, CmpOps::Neq, LOOPBACK6.parse().expect("the constant is a subnet"));
            }
            rule = rule.local();
        }
        rule = rule.meta(MetaKeys::L4Proto, register);
        // The destination port is at the same place for TCP, UDP and SCTP.
        rule = rule.payload(PayloadBase::TransportHeader, 2, 2, register + 1);
        rule.lookup(self.name, rule::FIRST, rule::FIRST).dnat(
            family,
            rule::FIRST,
            rule::FIRST + self.address_length() / 4,
        )
    }
}

const LOOPBACK6: &str = "::1/128";
const LOOPBACK4: &str = "127.0.0.0/8";
// linux/netfilter/nf_conntrack_common.h
const CT_ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const IPS_DST_NAT: u32 = 1 << 5;

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The number of a protocol in IP's header.
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// Whether a network has its table.
pub(super) fn exists(socket: &Socket, bridge: &str) -> io::Result<bool> {
    let mut request = nftables::Request::new().op_gettable_do(&header(NFPROTO_INET));
    request.encode().push_name_bytes(table(bridge).as_bytes());
    match socket.ask(&request, |_| {}) {
        Ok(()) => Ok(true),
        Err(error) if is(&error, Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the table of a network, with these ports in it.
pub(super) fn create(socket: &Socket, policy: &Policy<'_>, forwards: &[Forward]) -> io::Result<()> {
    let table = table(policy.bridge);
    let mut batch = Batch::new();
    let mut request = batch.request().set_create().set_excl().op_newtable_do(&header(NFPROTO_INET));
    drop(request.encode().push_name_bytes(table.as_bytes()));
    drop(request);
    let families: Vec<bool> = [false, true]
        .into_iter()
        .filter(|ipv6| policy.subnets.iter().any(|subnet| subnet.is_ipv6() == *ipv6))
        .collect();
    for (map, id) in MAPS.iter().zip(1..) {
        batch.map(&table, map, id);
    }
    batch.elements(&table, forwards, true);
    // Interfaces of containers take packets for 127.0.0.0/8, so that published ports can lead there from the host's.
    batch.chain(&table, "raw", "filter", PREROUTING, RAW);
    let loopback = LOOPBACK4.parse().expect("the constant is a subnet");
    batch.rule(
        &table,
        "raw",
        Rule::new()
            .interface(MetaKeys::Iifname, CmpOps::Eq, policy.bridge)
            .address(Side::Destination, CmpOps::Eq, loopback)
            .verdict(VerdictCode::Drop),
    );
    if !policy.internal {
        for (chain, hook) in [("prerouting", PREROUTING), ("output", OUTPUT)] {
            batch.chain(&table, chain, "nat", hook, DSTNAT);
            for map in MAPS.iter().filter(|map| families.contains(&map.ipv6)) {
                batch.rule(&table, chain, map.rule());
            }
        }
        batch.chain(&table, "postrouting", "nat", POSTROUTING, SRCNAT);
        for rule in departures(policy) {
            batch.rule(&table, "postrouting", rule);
        }
    }
    batch.chain(&table, "forward", "filter", FORWARD, FILTER);
    for rule in passages(policy) {
        batch.rule(&table, "forward", rule);
    }
    batch.commit(socket)
}

/// Who gets the address of the host: containers that leave the network, and what comes back to the network by a published port, since its
/// answer would else not pass the host.
fn departures(policy: &Policy<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for subnet in &policy.subnets {
        if policy.masquerade {
            let rule = Rule::new().address(Side::Source, CmpOps::Eq, *subnet);
            rules.push(rule.interface(MetaKeys::Oifname, CmpOps::Neq, policy.bridge).masquerade());
        }
        let rule = Rule::new().address(Side::Source, CmpOps::Eq, *subnet).interface(
            MetaKeys::Oifname,
            CmpOps::Eq,
            policy.bridge,
        );
        rules.push(rule.connection(CtKeys::Status, IPS_DST_NAT).masquerade());
    }
    let loopback = LOOPBACK4.parse().expect("the constant is a subnet");
    let local = Rule::new().address(Side::Source, CmpOps::Eq, loopback);
    rules.push(local.interface(MetaKeys::Oifname, CmpOps::Eq, policy.bridge).masquerade());
    rules
}

/// What may pass between the network and others.
fn passages(policy: &Policy<'_>) -> Vec<Rule> {
    let from = || Rule::new().interface(MetaKeys::Iifname, CmpOps::Eq, policy.bridge);
    let to = |rule: Rule| rule.interface(MetaKeys::Oifname, CmpOps::Eq, policy.bridge);
    // Packets between containers pass here where the host has br_netfilter.
    let inner = to(from()).verdict(if policy.mutual { VerdictCode::Accept } else { VerdictCode::Drop });
    if policy.internal {
        return vec![inner, from().verdict(VerdictCode::Drop), to(Rule::new()).verdict(VerdictCode::Drop)];
    }
    vec![
        to(Rule::new()).connection(CtKeys::State, CT_ESTABLISHED_OR_RELATED).verdict(VerdictCode::Accept),
        to(Rule::new()).connection(CtKeys::Status, IPS_DST_NAT).verdict(VerdictCode::Accept),
        inner,
        to(Rule::new()).verdict(VerdictCode::Drop),
    ]
}

/// Adds a container's ports to the table of its network.
pub(super) fn publish(socket: &Socket, bridge: &str, forwards: &[Forward]) -> io::Result<()> {
    if forwards.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.elements(&table(bridge), forwards, true);
    batch.commit(socket)
}

/// Takes a container's ports out of the table of its network. Those that are not there are no error.
pub(super) fn withdraw(socket: &Socket, bridge: &str, forwards: &[Forward]) -> io::Result<()> {
    let take_out = |some: &[Forward]| {
        let mut batch = Batch::new();
        batch.elements(&table(bridge), some, false);
        match batch.commit(socket) {
            Err(error) if is(&error, Errno::NOENT) => Ok(false),
            outcome => outcome.map(|()| true),
        }
    };
    if forwards.is_empty() || take_out(forwards)? {
        return Ok(());
    }
    // Somebody has taken out some of them, which has kept the others.
    forwards.iter().try_for_each(|forward| take_out(std::slice::from_ref(forward)).map(drop))
}

/// Removes the table of a network, if there is one.
pub(super) fn remove(socket: &Socket, bridge: &str) -> io::Result<()> {
    let mut batch = Batch::new();
    let mut request = batch.request().op_deltable_do(&header(NFPROTO_INET));
    drop(request.encode().push_name_bytes(table(bridge).as_bytes()));
    drop(request);
    match batch.commit(socket) {
        Err(error) if is(&error, Errno::NOENT) => Ok(()),
        outcome => outcome,
    }
}
