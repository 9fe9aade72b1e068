//! The connections that the kernel remembers. Those of datagrams outlive their container, and would lead what comes next to its address.

use std::io;
use std::net::IpAddr;

use netlink_bindings::consts;
use netlink_bindings::utils::{finalize_nested_header, push_header, push_nested_header};

use super::netlink::{Socket, message};
use super::transaction::{NFPROTO_IPV4, NFPROTO_IPV6};

// linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_conntrack.h: NFNL_SUBSYS_CTNETLINK and IPCTNL_MSG_CT_DELETE
const DELETE: u16 = (1 << 8) + 2;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// Of the tuple, only the source's address counts.
const SOURCE: u32 = 1;

/// Forgets the connections that are answered from an address. A kernel that does not know the filter (before Linux 6.8) refuses the request,
/// and forgets them in time.
pub(super) fn forget(socket: &Socket, ip: IpAddr) -> io::Result<()> {
    socket.carry_out(&request(ip))
}

fn request(ip: IpAddr) -> Vec<u8> {
    let (family, kind) = if ip.is_ipv4() { (NFPROTO_IPV4, CTA_IP_V4_SRC) } else { (NFPROTO_IPV6, CTA_IP_V6_SRC) };
    // `struct nfgenmsg`
    let mut body = vec![family, 0, 0, 0];
    let tuple = push_nested_header(&mut body, CTA_TUPLE_REPLY);
    let addresses = push_nested_header(&mut body, CTA_TUPLE_IP);
    match ip {
        IpAddr::V4(ip) => put(&mut body, kind, &ip.octets()),
        IpAddr::V6(ip) => put(&mut body, kind, &ip.octets()),
    }
    finalize_nested_header(&mut body, addresses);
    finalize_nested_header(&mut body, tuple);
    let filter = push_nested_header(&mut body, CTA_FILTER);
    put(&mut body, CTA_FILTER_REPLY_FLAGS, &SOURCE.to_ne_bytes());
    finalize_nested_header(&mut body, filter);
    message(DELETE, (consts::NLM_F_REQUEST | consts::NLM_F_ACK) as u16, &body)
}

fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    push_header(body, kind, value.len() as u16);
    body.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_address_that_answers_and_nothing_else() {
        let bytes = request("10.9.0.2".parse().unwrap());
        let tuple = [[16, 0, 2, 0x80], [12, 0, 1, 0x80], [8, 0, 1, 0], [10, 9, 0, 2]].concat();
        let filter = [[12, 0, 25, 0x80], [8, 0, 2, 0], 1u32.to_ne_bytes()].concat();
        assert_eq!(bytes[16..], [vec![2, 0, 0, 0], tuple, filter].concat());
        assert_eq!(request("fd00::2".parse().unwrap()).len(), bytes.len() + 12);
    }
}
