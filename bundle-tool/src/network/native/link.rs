//! The interfaces of a network: its bridge on the host, and a pair of virtual interfaces for each container, one end of which is a port of
//! the bridge and the other in the container's namespace.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_bindings::rt_link::{self, Ifinfomsg, PushLinkAttrs};
use netlink_bindings::utils::{Pusher, finalize_nested_header, push_header, push_nested_header};
use netlink_bindings::{rt_addr, rt_route};
use rustix::io::Errno;

use super::netlink::{Socket, is};
use crate::network::subnet::Subnet;

/// A hardware address.
pub(super) type Mac = [u8; 6];

/// What is asked of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) struct Link {
    /// Its number, which is not given again while the host runs.
    pub(in crate::network) index: u32,
    pub(super) mac: Mac,
}

/// An address with the prefix of its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) bits: u8,
}

/// The end of a container's pair of interfaces.
pub(super) struct Port<'a> {
    /// The name of the end on the host.
    pub(super) name: &'a str,
    /// The number of the bridge.
    pub(super) bridge: u32,
    /// Whether containers of the bridge must not reach this one.
    pub(super) isolated: bool,
    pub(super) mtu: Option<u32>,
    /// The namespace of the container.
    pub(super) namespace: BorrowedFd<'a>,
    /// The name of the end in the container.
    pub(super) inner: &'a str,
    pub(super) mac: Mac,
}

// linux/if.h, linux/if_link.h, linux/veth.h, linux/rtnetlink.h
const IFF_UP: u32 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const BRIDGE_MODE_HAIRPIN: u8 = 1;
const IFA_F_NODAD: u32 = 2;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;

fn header(index: u32, up: bool) -> Ifinfomsg {
    let mut header = Ifinfomsg::new();
    header.ifi_index = index as i32;
    if up {
        (header.ifi_flags, header.ifi_change) = (IFF_UP, IFF_UP);
    }
    header
}

fn family(ip: IpAddr) -> u8 {
    let family = if ip.is_ipv4() { rustix::net::AddressFamily::INET } else { rustix::net::AddressFamily::INET6 };
    family.as_raw() as u8
}

/// The interface of that name; `None` if there is none.
pub(in crate::network) fn find(socket: &Socket, name: &str) -> io::Result<Option<Link>> {
    let mut request = rt_link::Request::new().op_getlink_do(&header(0, false));
    request.encode().push_ifname_bytes(name.as_bytes());
    let mut found = None;
    let answer = socket.ask(&request, |(header, attributes)| {
        let mac = attributes.get_address().ok().and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        found = Some(Link { index: header.ifi_index as u32, mac });
    });
    match answer {
        Err(error) if is(&error, Errno::NODEV) => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(found),
    }
}

/// The names of a bridge's ports.
pub(super) fn ports(socket: &Socket, bridge: u32) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    socket.ask(&rt_link::Request::new().op_getlink_dump(&header(0, false)), |(_, attributes)| {
        if attributes.get_master().is_ok_and(|master| master == bridge) {
            names.extend(attributes.get_ifname().ok().map(|name| name.to_string_lossy().into_owned()));
        }
    })?;
    Ok(names)
}

/// Makes a bridge, unless there is an interface of that name, and gives it addresses.
pub(super) fn bridge(
    socket: &Socket,
    name: &str,
    mac: Mac,
    mtu: Option<u32>,
    addresses: &[Address],
) -> io::Result<Link> {
    if find(socket, name)?.is_none() {
        let mut chain = rt_link::Chained::new(0);
        let mut request = chain.request().set_create().set_excl().op_newlink_do(&header(0, true));
        let attributes = with_mtu(request.encode().push_ifname_bytes(name.as_bytes()).push_address(&mac), mtu);
        // Nobody on a bridge of containers asks who listens to which group, and without a querier memberships are forgotten.
        attributes.nested_linkinfo().nested_data_bridge().push_mcast_snooping(0);
        drop(request);
        socket.carry_out(chain.finalize().buf())?;
    }
    let link = find(socket, name)?.ok_or(Errno::NODEV)?;
    give(socket, link.index, addresses)?;
    Ok(link)
}

fn with_mtu<P: Pusher>(attributes: PushLinkAttrs<P>, mtu: Option<u32>) -> PushLinkAttrs<P> {
    match mtu {
        Some(mtu) => attributes.push_mtu(mtu),
        None => attributes,
    }
}

/// Gives an interface addresses, and sets it up.
fn give(socket: &Socket, index: u32, addresses: &[Address]) -> io::Result<()> {
    for address in addresses {
        let mut chain = rt_addr::Chained::new(0);
        let mut header = rt_addr::Ifaddrmsg::new();
        (header.ifa_family, header.ifa_prefixlen, header.ifa_index) = (family(address.ip), address.bits, index);
        let mut request = chain.request().set_change().op_newaddr_do(&header);
        let attributes = request.encode().push_local(address.ip).push_address(address.ip);
        match (address.ip, Subnet::of(address.ip, address.bits).map(Subnet::broadcast)) {
            (IpAddr::V4(_), Some(IpAddr::V4(broadcast))) => drop(attributes.push_broadcast(broadcast)),
            // Addresses are given out here, so that nobody need be asked whether one is taken, and it can be used at once.
            _ => drop(attributes.push_flags(IFA_F_NODAD)),
        }
        drop(request);
        socket.carry_out(chain.finalize().buf())?;
    }
    let mut chain = rt_link::Chained::new(0);
    drop(chain.request().op_newlink_do(&header(index, true)));
    socket.carry_out(chain.finalize().buf())
}

/// Makes a container's pair of interfaces, and returns the end on the host.
pub(super) fn port(socket: &Socket, port: &Port<'_>) -> io::Result<Link> {
    let mut chain = rt_link::Chained::new(0);
    let mut request = chain.request().set_create().set_excl().op_newlink_do(&header(0, true));
    let attributes = request.encode().push_ifname_bytes(port.name.as_bytes()).push_master(port.bridge);
    let mut info = with_mtu(attributes, port.mtu).nested_linkinfo().push_kind(c"veth");
    // The specifications do not describe what is in a pair: `struct ifinfomsg` and the attributes of the other end.
    let data = push_nested_header(info.as_vec_mut(), IFLA_INFO_DATA);
    let peer = push_header(info.as_vec_mut(), VETH_INFO_PEER, 0);
    info.as_vec_mut().extend(header(0, false).as_slice());
    let inner = PushLinkAttrs::new(info.as_vec_mut()).push_ifname_bytes(port.inner.as_bytes()).push_address(&port.mac);
    drop(with_mtu(inner, port.mtu).push_net_ns_fd(port.namespace.as_raw_fd() as u32));
    finalize_nested_header(info.as_vec_mut(), peer);
    finalize_nested_header(info.as_vec_mut(), data);
    drop(info);
    drop(request);
    let mut request = chain.request().op_newlink_do(&header(0, false));
    let attributes = request.encode().push_ifname_bytes(port.name.as_bytes());
    // Where packets between ports pass the firewall (br_netfilter), a container that calls itself by a published port needs the hairpin.
    let slave = attributes.nested_linkinfo().nested_slave_data_bridge().push_mode(BRIDGE_MODE_HAIRPIN);
    drop(slave.push_isolated(port.isolated.into()));
    drop(request);
    socket.carry_out(chain.finalize().buf())?;
    Ok(find(socket, port.name)?.ok_or(Errno::NODEV)?)
}

/// Sets up the end of a pair that is in a container: its addresses, and default routes by the gateways.
pub(super) fn configure(socket: &Socket, name: &str, addresses: &[Address], gateways: &[IpAddr]) -> io::Result<()> {
    let link = find(socket, name)?.ok_or(Errno::NODEV)?;
    give(socket, link.index, addresses)?;
    for gateway in gateways {
        let mut chain = rt_route::Chained::new(0);
        let mut header = rt_route::Rtmsg::new();
        (header.rtm_family, header.rtm_table, header.rtm_protocol) = (family(*gateway), RT_TABLE_MAIN, RTPROT_BOOT);
        header.rtm_type = rt_route::RtmType::Unicast as u8;
        let mut request = chain.request().set_create().set_excl().op_newroute_do(&header);
        drop(request.encode().push_gateway(*gateway).push_oif(link.index));
        drop(request);
        match socket.carry_out(chain.finalize().buf()) {
            // Another network of the container leads out.
            Err(error) if is(&error, Errno::EXIST) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Removes interfaces, at once: the kernel waits for the rest of itself once for all of them. Those that are gone are no error.
pub(super) fn remove(socket: &Socket, names: &[&str]) -> io::Result<()> {
    let mut present = Vec::new();
    for name in names {
        present.extend(find(socket, name)?);
    }
    let mut chain = rt_link::Chained::new(0);
    if let [link] = present[..] {
        drop(chain.request().op_dellink_do(&header(link.index, false)));
    } else {
        let Some(first) = present.first() else { return Ok(()) };
        for link in &present {
            let mut request = chain.request().op_newlink_do(&header(link.index, false));
            drop(request.encode().push_group(GROUP | first.index));
            drop(request);
        }
        let mut request = chain.request().op_dellink_do(&header(0, false));
        drop(request.encode().push_group(GROUP | first.index));
        drop(request);
    }
    match socket.carry_out(chain.finalize().buf()) {
        Err(error) if is(&error, Errno::NODEV) => Ok(()),
        outcome => outcome,
    }
}

/// The group of interfaces that are removed at once is this and the number of one of them, which nobody else gives.
const GROUP: u32 = 0x6f63_0000;

/// The subnets of interfaces, with the number of the interface.
pub(in crate::network) fn addresses(socket: &Socket) -> io::Result<Vec<(Subnet, u32)>> {
    let mut found = Vec::new();
    socket.ask(&rt_addr::Request::new().op_getaddr_dump(&rt_addr::Ifaddrmsg::new()), |(header, attributes)| {
        // Of a link between two points, this is the other one.
        let subnet = attributes.get_address().ok().and_then(|ip| Subnet::of(ip, header.ifa_prefixlen));
        found.extend(subnet.map(|subnet| (subnet, header.ifa_index)));
    })?;
    Ok(found)
}

/// The subnets that routes of all tables lead to, with the number of the interface. Default routes lead to everything and so say nothing.
pub(in crate::network) fn routes(socket: &Socket) -> io::Result<Vec<(Subnet, u32)>> {
    let mut found = Vec::new();
    socket.ask(&rt_route::Request::new().op_getroute_dump(&rt_route::Rtmsg::new()), |(header, attributes)| {
        if header.rtm_type == rt_route::RtmType::Unicast as u8 && header.rtm_dst_len > 0 {
            let subnet = attributes.get_dst().ok().and_then(|ip| Subnet::of(ip, header.rtm_dst_len));
            found.extend(subnet.map(|subnet| (subnet, attributes.get_oif().unwrap_or_default())));
        }
    })?;
    Ok(found)
}

/// The names of all interfaces, by their numbers.
pub(in crate::network) fn names(socket: &Socket) -> io::Result<Vec<(u32, String)>> {
    let mut found = Vec::new();
    socket.ask(&rt_link::Request::new().op_getlink_dump(&header(0, false)), |(header, attributes)| {
        if let Ok(name) = attributes.get_ifname() {
            found.push((header.ifi_index as u32, name.to_string_lossy().into_owned()));
        }
    })?;
    Ok(found)
}
