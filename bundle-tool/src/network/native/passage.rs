//! Rules among those of others, where those would drop what a network's own table lets pass.
//!
//! A packet must be let pass by every table that sees it. Docker and ufw set the policy of iptables' chain FORWARD to DROP; there, rules at
//! the chain's end let the packets of a bridge pass, after all rules by which somebody decides on them. What must not pass is dropped by the
//! network's own table. firewalld, whose rules end in a rejection, is told that the subnets are trusted, as podman does.

use std::io;

use netlink_bindings::nftables::{self, CmpOps, MetaKeys, VerdictCode};
use rustix::io::Errno;

use super::netlink::{Socket, is};
use super::rule::Rule;
use super::ruleset::table;
use super::transaction::{Batch, NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6, header};
use crate::network::firewall;
use crate::network::subnet::Subnet;

const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";

/// The families, with their program of the older iptables and the list of its tables in this network namespace.
const FAMILIES: [(u8, &str, &str); 2] = [
    (NFPROTO_IPV4, "iptables-legacy", "/proc/self/net/ip_tables_names"),
    (NFPROTO_IPV6, "ip6tables-legacy", "/proc/self/net/ip6_tables_names"),
];

/// Lets the packets of a bridge pass where others drop them. `fresh` says that the network has just come up: what takes a program is done
/// only then, the rest also if somebody has set the policy since.
pub(super) fn open(socket: &Socket, bridge: &str, subnets: &[Subnet], fresh: bool) -> io::Result<()> {
    for (family, legacy, tables) in FAMILIES {
        if drops(socket, family)? && own_rules(socket, family, bridge)?.is_empty() {
            let mut batch = Batch::new();
            for key in [MetaKeys::Iifname, MetaKeys::Oifname] {
                // As iptables writes `-i BRIDGE -j ACCEPT`, so that it can print it.
                let rule = Rule::new().interface(key, CmpOps::Eq, bridge).counter().verdict(VerdictCode::Accept);
                rule.append(&mut batch, family, TABLE, CHAIN, Some(&comment(bridge)));
            }
            batch.commit(socket)?;
            tracing::info!("{CHAIN} of {TABLE} drops packets by default: those of {bridge} are let pass at its end");
        }
        if fresh && has_filter(tables) {
            firewall::let_pass(legacy, CHAIN, bridge, &table(bridge));
        }
    }
    if fresh && has_firewalld(socket)? {
        firewall::trust(subnets, true);
    }
    Ok(())
}

/// Removes what [`open`] has added.
pub(super) fn close(socket: &Socket, bridge: &str, subnets: &[Subnet]) -> io::Result<()> {
    for (family, legacy, tables) in FAMILIES {
        let mut batch = Batch::new();
        let handles = own_rules(socket, family, bridge)?;
        for handle in &handles {
            let mut request = batch.request().op_delrule_do(&header(family));
            let rule = request.encode().push_table_bytes(TABLE.as_bytes()).push_chain_bytes(CHAIN.as_bytes());
            drop(rule.push_handle(*handle));
        }
        if !handles.is_empty() {
            batch.commit(socket)?;
        }
        if has_filter(tables) {
            firewall::no_longer_let_pass(legacy, CHAIN, &table(bridge));
        }
    }
    if has_firewalld(socket)? {
        firewall::trust(subnets, false);
    }
    Ok(())
}

/// A comment as nft and iptables know it: its kind, its length, and the text with a NUL.
fn comment(bridge: &str) -> Vec<u8> {
    let text = table(bridge);
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Whether iptables' chain FORWARD drops what none of its rules decide on.
fn drops(socket: &Socket, family: u8) -> io::Result<bool> {
    let mut request = nftables::Request::new().op_getchain_do(&header(family));
    drop(request.encode().push_table_bytes(TABLE.as_bytes()).push_name_bytes(CHAIN.as_bytes()));
    let mut drops = false;
    let answer = socket.ask(&request, |(_, attributes)| {
        drops = attributes.get_policy().is_ok_and(|policy| policy == VerdictCode::Drop as u32);
    });
    or_absent(answer).map(|()| drops)
}

/// The handles of the rules that are ours.
fn own_rules(socket: &Socket, family: u8, bridge: &str) -> io::Result<Vec<u64>> {
    let mut request = nftables::Request::new().op_getrule_dump(&header(family));
    drop(request.encode().push_table_bytes(TABLE.as_bytes()).push_chain_bytes(CHAIN.as_bytes()));
    let (mut handles, own) = (Vec::new(), comment(bridge));
    let answer = socket.ask(&request, |(_, attributes)| {
        // A kernel may answer with the rules of all tables.
        let here = attributes.get_table().is_ok_and(|name| name.to_bytes() == TABLE.as_bytes())
            && attributes.get_chain().is_ok_and(|name| name.to_bytes() == CHAIN.as_bytes());
        if here && attributes.get_userdata().is_ok_and(|comment| comment == own) {
            handles.extend(attributes.get_handle().ok());
        }
    });
    or_absent(answer).map(|()| handles)
}

fn has_firewalld(socket: &Socket) -> io::Result<bool> {
    let mut request = nftables::Request::new().op_gettable_do(&header(NFPROTO_INET));
    drop(request.encode().push_name_bytes(b"firewalld"));
    let mut found = false;
    or_absent(socket.ask(&request, |_| found = true)).map(|()| found)
}

fn has_filter(tables: &str) -> bool {
    std::fs::read_to_string(tables).is_ok_and(|names| names.lines().any(|name| name == TABLE))
}

fn or_absent(answer: io::Result<()>) -> io::Result<()> {
    match answer {
        Err(error) if is(&error, Errno::NOENT) => Ok(()),
        other => other,
    }
}
