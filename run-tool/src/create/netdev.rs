//! `linux.netDevices`: network devices of the host that are moved into a container's network namespace.
//!
//! Four messages of rtnetlink(7) are implemented here. Only error numbers and addresses are read from the kernel's answers, so
//! attributes that a newer kernel adds cannot be misunderstood.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::LinuxNetDevice;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::kernel::error::{Fails, Failure};
use crate::kernel::{log, syscall};

/// Devices by their names on the host.
pub(crate) type Devices = HashMap<String, LinuxNetDevice>;

/// The size of the receive buffer. The kernel splits a dump to fit it.
const LIMIT: usize = 32 * 1024;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct ifaddrmsg`.
const ADDRESS: usize = 8;

/// Checks the devices of a configuration.
pub(crate) fn check(devices: &Devices, namespace: bool, rootless: bool) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    if !namespace {
        bail!("unable to move network devices without a NET namespace");
    }
    if rootless {
        bail!("network devices are not supported for rootless containers");
    }
    for (name, device) in devices.iter().collect::<BTreeMap<_, _>>() {
        let inside = device.name().as_ref().filter(|name| !name.is_empty());
        if let Some(name) = [Some(name), inside].into_iter().flatten().find(|name| !valid(name)) {
            bail!("invalid network device name {name:?}");
        }
    }
    Ok(())
}

/// Whether a name is valid for a device: runc's rule, which follows the kernel's.
fn valid(name: &str) -> bool {
    (1..=libc::IFNAMSIZ).contains(&name.len()) && !matches!(name, "." | "..") && !name.contains(['/', ':', ' '])
}

/// Moves devices, in the order of their names. If one fails, those moved before stay in the namespace. When it ends the kernel returns
/// physical devices to the host.
pub(crate) fn move_all(devices: &Devices, namespace: BorrowedFd<'_>, path: &str) -> Result<()> {
    let (here, there) = (Route::open()?, Route::open_in(namespace)?);
    for (name, device) in devices.iter().collect::<BTreeMap<_, _>>() {
        let inside = device.name().as_deref().filter(|name| !name.is_empty()).unwrap_or(name);
        log::debug(|| format!("attaching network device {name} as {inside} to network namespace {path}"));
        move_one(&here, &there, name, inside, namespace, path)
            .with_context(|| format!("move netDevice {name} to namespace {path}"))?;
    }
    Ok(())
}

fn move_one(
    here: &Route,
    there: &Route,
    name: &str,
    inside: &str,
    namespace: BorrowedFd<'_>,
    path: &str,
) -> Result<()> {
    let index = here.find(name).with_context(|| format!("link not found for interface {name} on runtime namespace"))?;
    // Read before the device is set down, which removes its IPv6 addresses.
    let addresses = here.addresses(index).fails(|| "fail to get ip addresses")?;
    here.set_up(index, false).fails(|| "fail to set link down")?;
    // Name and namespace are changed in one request, because either name may be taken on the other side.
    let request = Request::link(index, 0, 0)
        .attribute(libc::IFLA_IFNAME, &[inside.as_bytes(), b"\0"].concat())
        .attribute(libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
    here.ask(request).fails(|| format!("fail to move network device {name} to network namespace {path}"))?;
    let index =
        there.find(inside).with_context(|| format!("link not found for interface {inside} on namespace {path} "))?;
    for address in addresses.iter().filter(|address| address.moves()) {
        there.ask(address.request(index)).fails(|| format!("fail to set up address {address} on namespace {path}"))?;
    }
    there.set_up(index, true).fails(|| format!("fail to set up interface {inside} on namespace {path}"))?;
    Ok(())
}

/// A message to the kernel, without its length.
struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: i32, fixed: &[&[u8]]) -> Self {
        let flags = (libc::NLM_F_REQUEST | flags) as u16;
        let mut bytes = vec![0; 4];
        bytes.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
        // Sequence number and port are not needed: there is one request at a time.
        bytes.extend([0; 8]);
        bytes.extend(fixed.concat());
        Self(bytes)
    }

    /// A change of a device (RTM_NEWLINK).
    fn link(index: u32, flags: i32, mask: i32) -> Self {
        let fixed = [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), mask.to_ne_bytes()];
        Self::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &fixed.each_ref().map(|part| part.as_slice()))
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.0.extend([length.to_ne_bytes(), kind.to_ne_bytes()].concat());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// An address of a device, with the fields of the kernel's message.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    family: u8,
    prefix: u8,
    flags: u8,
    scope: u8,
    index: u32,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Parses `struct ifaddrmsg` and the attributes after it.
    fn parse(body: &[u8]) -> Option<Self> {
        let (fixed, mut rest) = body.split_at_checked(ADDRESS)?;
        let index = u32::from_ne_bytes(fixed[4..].try_into().ok()?);
        let mut attributes = Vec::new();
        while let Some((length, kind)) = halves(rest) {
            let value = rest.get(4..usize::from(length))?;
            attributes.push((kind, value.to_vec()));
            rest = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        }
        Some(Self { family: fixed[0], prefix: fixed[1], flags: fixed[2], scope: fixed[3], index, attributes })
    }

    /// Whether the address is kept: only permanent ones of global scope. Others depend on the network that the device leaves.
    fn moves(&self) -> bool {
        u32::from(self.flags) & libc::IFA_F_PERMANENT != 0 && self.scope == libc::RT_SCOPE_UNIVERSE
    }

    /// A request to add the address to another device. The label is left out, because it contains the old name.
    fn request(&self, index: u32) -> Request {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let fixed: [&[u8]; 2] = [&[self.family, self.prefix, 0, self.scope], &index.to_ne_bytes()];
        let kept = [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST];
        let kept = self.attributes.iter().filter(|(kind, _)| kept.contains(kind));
        kept.fold(Request::new(libc::RTM_NEWADDR, flags, &fixed), |request, (kind, value)| {
            request.attribute(*kind, value)
        })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value =
            |wanted| self.attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| value.as_slice());
        // On a point-to-point device IFA_ADDRESS is the peer's.
        let value = value(libc::IFA_LOCAL).or(value(libc::IFA_ADDRESS)).unwrap_or_default();
        if let Ok(bytes) = <[u8; 4]>::try_from(value) {
            write!(formatter, "{}/{}", std::net::Ipv4Addr::from(bytes), self.prefix)
        } else if let Ok(bytes) = <[u8; 16]>::try_from(value) {
            write!(formatter, "{}/{}", std::net::Ipv6Addr::from(bytes), self.prefix)
        } else {
            write!(formatter, "{value:02x?}/{}", self.prefix)
        }
    }
}

/// The length and the kind of an attribute.
fn halves(bytes: &[u8]) -> Option<(u16, u16)> {
    let number = |range: std::ops::Range<usize>| Some(u16::from_ne_bytes(bytes.get(range)?.try_into().ok()?));
    Some((number(0..2)?, number(2..4)?))
}

/// An rtnetlink socket, for the network namespace in which it was created.
struct Route(OwnedFd);

impl Route {
    fn open() -> Result<Self, Failure> {
        // Protocol 0 is NETLINK_ROUTE.
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map(Self)
            .fails(|| "socket")
    }

    fn open_in(namespace: BorrowedFd<'_>) -> Result<Self> {
        let path = "/proc/self/ns/net";
        let own = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).fails(|| path)?;
        syscall::setns(namespace, libc::CLONE_NEWNET).fails(|| "failed to setns into net namespace")?;
        let socket = Self::open();
        syscall::setns(own.as_fd(), libc::CLONE_NEWNET).fails(|| "failed to setns back into net namespace")?;
        Ok(socket?)
    }

    /// The index of a device.
    fn find(&self, name: &str) -> Result<u32> {
        match rustix::net::netdevice::name_to_index(&self.0, name) {
            Err(Errno::NODEV) => bail!("Link not found"),
            result => Ok(result.fails(|| "ioctl SIOCGIFINDEX")?),
        }
    }

    fn set_up(&self, index: u32, up: bool) -> io::Result<()> {
        self.ask(Request::link(index, if up { libc::IFF_UP } else { 0 }, libc::IFF_UP))
    }

    fn addresses(&self, index: u32) -> io::Result<Vec<Address>> {
        let mut found = Vec::new();
        let request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[&[0; ADDRESS]]);
        self.exchange(request, |kind, body| {
            if kind == libc::RTM_NEWADDR {
                let address = Address::parse(body).ok_or(Errno::BADMSG)?;
                if address.index == index {
                    found.push(address);
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn ask(&self, request: Request) -> io::Result<()> {
        self.exchange(request, |_, _| Ok(()))
    }

    /// Sends a request and reads messages up to the last one of the answer.
    fn exchange(&self, request: Request, mut each: impl FnMut(u16, &[u8]) -> io::Result<()>) -> io::Result<()> {
        rustix::net::send(&self.0, &request.finish(), SendFlags::empty())?;
        let mut buffer = vec![0; LIMIT];
        loop {
            let length = match rustix::net::recv(&self.0, buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                result => result?.1,
            };
            let mut rest = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
            while rest.len() >= HEADER {
                let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                let kind = u16::from_ne_bytes([rest[4], rest[5]]);
                let body = rest.get(HEADER..length).ok_or(Errno::BADMSG)?;
                if [libc::NLMSG_ERROR, libc::NLMSG_DONE].contains(&kind.into()) {
                    let code = body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                    return if code < 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(()) };
                }
                each(kind, body)?;
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(text: &str) -> Devices {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn invalid_devices_are_refused_in_runcs_words() {
        let message =
            |text: &str, namespace, rootless| check(&devices(text), namespace, rootless).unwrap_err().to_string();
        let good = r#"{"eth0": {"name": "c0"}, "eth1": {}, "eth2": {"name": ""}}"#;
        assert!(check(&devices(good), true, false).is_ok());
        assert!(check(&devices("{}"), false, true).is_ok());
        assert_eq!(message(good, false, false), "unable to move network devices without a NET namespace");
        assert_eq!(message(good, true, true), "network devices are not supported for rootless containers");
        for name in ["", ".", "..", "eth0/", "a:b", "a b", "seventeen-letters"] {
            let text = format!(r#"{{"{name}": {{}}}}"#);
            assert_eq!(message(&text, true, false), format!("invalid network device name {name:?}"));
        }
        assert_eq!(message(r#"{"eth0": {"name": "a/b"}}"#, true, false), "invalid network device name \"a/b\"");
    }

    #[test]
    fn an_address_is_added_without_its_label() {
        let body = [
            &[2, 24, 0x80, 0, 7, 0, 0, 0][..],
            &[8, 0, 1, 0, 10, 0, 0, 2],
            &[8, 0, 2, 0, 10, 0, 0, 1],
            &[7, 0, 3, 0, b'e', b'0', 0, 0],
        ];
        let address = Address::parse(&body.concat()).unwrap();
        assert!(address.moves());
        assert_eq!((address.index, address.to_string()), (7, "10.0.0.1/24".to_owned()));
        let request = address.request(9).finish();
        let expected = [&[2, 24, 0, 0, 9, 0, 0, 0][..], body[1], body[2]].concat();
        assert_eq!(request[HEADER..], expected);
        assert_eq!(request[0], 40);
        assert!(Address::parse(&[2, 24, 0x80, 0, 7, 0, 0, 0, 99, 0, 1, 0]).is_none());
        assert!(Address::parse(&[2, 24, 0x80, 0, 7, 0, 0, 0, 0, 0, 1, 0]).is_none());
    }
}
