//! Published and exposed ports: the syntax of `-p` and `--expose`, and the assignment of host ports.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// Why a port cannot be exposed or published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A published port that does not parse.
    #[error("{0:?} is not a valid port (expected [[HOST_IP:]HOST_PORT:]CONTAINER_PORT[/tcp|udp|sctp])")]
    Publish(String),
    /// An exposed port that does not parse.
    #[error("invalid range format for --expose: {0:?} (expected PORT[-PORT][/tcp|udp|sctp])")]
    Expose(String),
    /// The two ranges of a published port differ in length.
    #[error("{0:?}: the ranges of host and container ports differ in length")]
    Ranges(String),
    /// A program of this host, or another container, has the port.
    #[error("listen {0}: bind: address already in use (publish another port, or -p {container} for a free one)", container = .1)]
    InUse(String, u16),
    /// No port of a range is free.
    #[error("no free port in {0} on this host")]
    NoneFree(String),
    /// The port cannot be bound: the address is not this host's, or the port is below 1024 and the user not root.
    #[error("port {port}")]
    Bind {
        /// The address, port and protocol.
        port: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// The Transmission Control Protocol.
    Tcp,
    /// The User Datagram Protocol.
    Udp,
    /// The Stream Control Transmission Protocol.
    Sctp,
}

impl Protocol {
    /// The name as docker and CNI spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    fn split(text: &str) -> Option<(&str, Self)> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "sctp" => Self::Sctp,
            _ => return None,
        };
        Some((ports, protocol))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Ports of a container, from `--expose` or an image's `ExposedPorts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expose {
    ports: RangeInclusive<u16>,
    protocol: Protocol,
}

impl Expose {
    /// Each of the ports, with the protocol.
    pub fn ports(&self) -> impl Iterator<Item = (u16, Protocol)> + '_ {
        self.ports.clone().map(|port| (port, self.protocol))
    }
}

impl FromStr for Expose {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Expose(text.into());
        let (ports, protocol) = Protocol::split(text).ok_or_else(wrong)?;
        Ok(Self { ports: range(ports).ok_or_else(wrong)?, protocol })
    }
}

/// A `-p`: ports of the container, and those of the host that lead to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    ip: Option<IpAddr>,
    host: Option<RangeInclusive<u16>>,
    container: RangeInclusive<u16>,
    protocol: Protocol,
}

impl Publish {
    /// Each of the container's ports, with the protocol.
    pub fn container_ports(&self) -> impl Iterator<Item = (u16, Protocol)> + '_ {
        self.container.clone().map(|port| (port, self.protocol))
    }

    /// Each of the container's ports, with the host's address and port if they are given (docker's `PortBindings`).
    pub fn bindings(&self) -> Vec<(u16, Protocol, Option<IpAddr>, Option<u16>)> {
        let host = |index: usize| match &self.host {
            Some(host) if host.len() == self.container.len() => host.clone().nth(index),
            _ => None,
        };
        let ports = self.container.clone().enumerate();
        ports.map(|(index, port)| (port, self.protocol, self.ip, host(index))).collect()
    }

    /// The mappings whose host port is given.
    pub(crate) fn fixed(&self) -> Vec<Mapping> {
        match &self.host {
            Some(host) if host.len() == self.container.len() => {
                let ip = self.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                let pairs = host.clone().zip(self.container.clone());
                pairs.map(|(host, container)| Mapping { container, protocol: self.protocol, ip, host }).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl FromStr for Publish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Publish(text.into());
        let (ports, protocol) = Protocol::split(text).ok_or_else(wrong)?;
        let (rest, container) = ports.rsplit_once(':').map_or((None, ports), |(rest, last)| (Some(rest), last));
        let container = range(container).ok_or_else(wrong)?;
        let (ip, host) = match rest {
            None => (None, None),
            Some(rest) => match rest.rsplit_once(':') {
                None => (None, Some(rest)),
                Some((ip, host)) => {
                    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
                    let ip = if bare.is_empty() { None } else { Some(bare.parse::<IpAddr>().map_err(|_| wrong())?) };
                    (ip, Some(host))
                }
            },
        };
        let host = match host {
            // For docker, 0 is any port, as for bind(2).
            None | Some("" | "0") => None,
            Some(host) => Some(range(host).ok_or_else(wrong)?),
        };
        // A range of host ports for a single container port means any of them.
        if host.as_ref().is_some_and(|host| container.len() != 1 && host.len() != container.len()) {
            return Err(Error::Ranges(text.into()));
        }
        Ok(Self { ip, host, container, protocol })
    }
}

/// Reads `8000` or `8000-8010`; 0 is not a port.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| -> Option<u16> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse().ok().filter(|port| *port > 0) } else { None }
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

/// A port of the host that leads to a port of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapping {
    /// The port in the container.
    pub container: u16,
    /// The protocol of both ports.
    pub protocol: Protocol,
    /// The address of the host; unspecified for all.
    pub ip: IpAddr,
    /// The port on the host.
    pub host: u16,
}

impl Mapping {
    /// Whether both use the same port of the host. The two families have ports of their own.
    pub fn collides(&self, other: &Self) -> bool {
        let any = |ip: &IpAddr| ip.is_unspecified();
        self.host == other.host
            && self.protocol == other.protocol
            && self.ip.is_ipv4() == other.ip.is_ipv4()
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }

    /// Fails if a program of this host has the port. Which ports lead to containers is known by `network`.
    pub fn check(&self) -> Result<(), Error> {
        match self.bind() {
            // A family that this host has not is nobody's; only an address of its own must be one.
            Err(Error::Bind { source, .. }) if self.ip.is_unspecified() && is_absent(&source) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// A socket with the port, which listens if the protocol has connections.
    pub(crate) fn bind(&self) -> Result<OwnedFd, Error> {
        let bind = || -> io::Result<OwnedFd> {
            let (kind, protocol) = match self.protocol {
                Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
                Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
                Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
            };
            let family = if self.ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol))?;
            if self.ip.is_ipv6() {
                sockopt::set_ipv6_v6only(&socket, true)?;
            }
            if self.protocol == Protocol::Tcp {
                // Connections that have ended a moment ago do not hold the port.
                sockopt::set_socket_reuseaddr(&socket, true)?;
            }
            rustix::net::bind(&socket, &SocketAddr::new(self.ip, self.host))?;
            if kind == SocketType::STREAM {
                rustix::net::listen(&socket, BACKLOG)?;
            }
            Ok(socket)
        };
        let name = || format!("{}/{}", SocketAddr::new(self.ip, self.host), self.protocol);
        bind().map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::InUse(name(), self.container),
            _ => Error::Bind { port: name(), source },
        })
    }
}

/// The connections that wait to be accepted, of which a kernel allows fewer if it is set so.
const BACKLOG: i32 = 4096;

/// Whether the host has no such family of addresses, or no such protocol.
fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT, Errno::SOCKTNOSUPPORT];
    absent.iter().any(|each| error.raw_os_error() == Some(each.raw_os_error()))
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}/{}", SocketAddr::new(self.ip, self.host), self.container, self.protocol)
    }
}

impl FromStr for Mapping {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Publish(text.into());
        let (host, container) = text.split_once("->").ok_or_else(wrong)?;
        let (container, protocol) = Protocol::split(container).ok_or_else(wrong)?;
        let host: SocketAddr = host.parse().map_err(|_| wrong())?;
        Ok(Self { container: container.parse().map_err(|_| wrong())?, protocol, ip: host.ip(), host: host.port() })
    }
}

/// Assigns a host port to each published port: the given one, a free one of the given range, or any free one. With `all`, exposed ports
/// that are not published get free ones as well. `taken` are the ports that lead to other containers. A port that is published on no
/// address in particular is so on `default`, or on all addresses of both families.
pub fn assign(
    publish: &[Publish],
    expose: &[Expose],
    all: bool,
    default: Option<IpAddr>,
    taken: &[Mapping],
) -> Result<Vec<Mapping>, Error> {
    let mut found: Vec<Mapping> = Vec::new();
    let mut wanted = publish.to_vec();
    if all {
        let published: BTreeSet<(u16, Protocol)> = publish.iter().flat_map(Publish::container_ports).collect();
        for (port, protocol) in expose.iter().flat_map(Expose::ports).filter(|port| !published.contains(port)) {
            wanted.push(Publish { ip: None, host: None, container: port..=port, protocol });
        }
    }
    for each in &wanted {
        let ips = match each.ip.or(default) {
            Some(ip) => vec![ip],
            None => both_families(),
        };
        for (index, container) in each.container.clone().enumerate() {
            // The same port of each family.
            let mappings = |host| -> Vec<Mapping> {
                ips.iter().map(|ip| Mapping { container, protocol: each.protocol, ip: *ip, host }).collect()
            };
            let free = |mappings: &[Mapping], found: &[Mapping]| {
                mappings.iter().try_for_each(|mapping| match check(mapping, found, taken) {
                    // The network's own address may be there only when its bridge is.
                    Err(Error::Bind { source, .. })
                        if Some(mapping.ip) == default && source.kind() == io::ErrorKind::AddrNotAvailable =>
                    {
                        Ok(())
                    }
                    outcome => outcome,
                })
            };
            let first = ips[0];
            let chosen = match &each.host {
                Some(host) if each.container.len() == 1 && host.len() > 1 => {
                    let mut candidates = host.clone().map(mappings);
                    candidates
                        .find(|mappings| free(mappings, &found).is_ok())
                        .ok_or_else(|| Error::NoneFree(format!("{}-{}/{}", host.start(), host.end(), each.protocol)))?
                }
                Some(host) => {
                    let mappings =
                        mappings(host.start() + u16::try_from(index).expect("a range of ports has at most 65535"));
                    free(&mappings, &found)?;
                    mappings
                }
                None => {
                    let mut candidates =
                        std::iter::repeat_with(|| ephemeral(first, each.protocol)).take(64).flatten().map(mappings);
                    candidates
                        .find(|mappings| free(mappings, &found).is_ok())
                        .ok_or_else(|| Error::NoneFree(format!("{first}/{}", each.protocol)))?
                }
            };
            found.extend(chosen);
        }
    }
    found.sort();
    Ok(found)
}

/// All addresses of this host: those of IPv4, and those of IPv6 if it has any.
fn both_families() -> Vec<IpAddr> {
    let mut ips = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    // The addresses of all interfaces; there is no such file without IPv6, and none in it where that is disabled.
    if std::fs::read_to_string("/proc/self/net/if_inet6").is_ok_and(|text| !text.is_empty()) {
        ips.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
    ips
}

/// Fails if the port leads to a container or a program has it.
fn check(mapping: &Mapping, found: &[Mapping], taken: &[Mapping]) -> Result<(), Error> {
    match taken.iter().chain(found).find(|other| other.collides(mapping)) {
        Some(_) => {
            let address = SocketAddr::new(mapping.ip, mapping.host);
            Err(Error::InUse(format!("{address}/{}", mapping.protocol), mapping.container))
        }
        None => mapping.check(),
    }
}

/// A port that the kernel considers free.
fn ephemeral(ip: IpAddr, protocol: Protocol) -> Option<u16> {
    let address = SocketAddr::new(ip, 0);
    let bound = match protocol {
        Protocol::Udp => UdpSocket::bind(address).and_then(|socket| socket.local_addr()),
        Protocol::Tcp | Protocol::Sctp => TcpListener::bind(address).and_then(|socket| socket.local_addr()),
    };
    bound.ok().map(|address| address.port())
}

/// The column PORTS of docker ps: published and exposed ports. As in docker, consecutive ones are a range if they are the same on the host
/// and in the container, or exposed only; others stand each on its own, at the end.
pub fn summary(mappings: &[Mapping], expose: &[Expose]) -> String {
    let published: BTreeSet<(u16, Protocol)> =
        mappings.iter().map(|mapping| (mapping.container, mapping.protocol)).collect();
    let exposed: BTreeSet<(u16, Protocol)> = expose.iter().flat_map(Expose::ports).collect();
    let only_exposed = exposed.difference(&published).map(|(port, protocol)| (*port, None, *protocol));
    let mapped = mappings.iter().map(|mapping| (mapping.container, Some((mapping.ip, mapping.host)), mapping.protocol));
    let mut all: Vec<_> = mapped.chain(only_exposed).collect();
    all.sort();
    let (mut words, mut each, mut ranges) = (Vec::new(), Vec::new(), Vec::<Range>::new());
    for (port, host, protocol) in all {
        if let Some((ip, public)) = host.filter(|(_, public)| *public != port) {
            each.push(format!("{}:{public}->{port}/{protocol}", shown(ip)));
            continue;
        }
        let ip = host.map(|(ip, _)| ip);
        match ranges.iter_mut().find(|range| (range.ip, range.protocol) == (ip, protocol)) {
            None => ranges.push(Range { ip, protocol, first: port, last: port }),
            Some(range) if range.last.checked_add(1) == Some(port) => range.last = port,
            Some(range) => {
                words.push(range.to_string());
                (range.first, range.last) = (port, port);
            }
        }
    }
    words.extend(ranges.iter().map(ToString::to_string));
    words.extend(each);
    words.join(", ")
}

/// Consecutive ports that are the same on the host and in the container, or exposed only.
struct Range {
    ip: Option<IpAddr>,
    protocol: Protocol,
    first: u16,
    last: u16,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ip, protocol, first, last } = self;
        let span = if first == last { first.to_string() } else { format!("{first}-{last}") };
        match ip {
            Some(ip) => write!(f, "{}:{span}->{span}/{protocol}", shown(*ip)),
            None => write!(f, "{span}/{protocol}"),
        }
    }
}

/// An address as docker ps has it before a port.
fn shown(ip: IpAddr) -> String {
    match ip {
        IpAddr::V6(ip) if ip.is_unspecified() => "::".into(),
        IpAddr::V6(ip) => format!("[{ip}]"),
        IpAddr::V4(ip) => ip.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn publish(text: &str) -> Publish {
        text.parse().unwrap()
    }

    #[test]
    fn publish_is_read_as_docker_reads_it() {
        let v4 = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let cases = [
            ("80", (None, None, 80..=80, Protocol::Tcp)),
            ("9999:8888", (None, Some(9999..=9999), 8888..=8888, Protocol::Tcp)),
            ("53:53/udp", (None, Some(53..=53), 53..=53, Protocol::Udp)),
            ("127.0.0.1:80:80", (v4("127.0.0.1"), Some(80..=80), 80..=80, Protocol::Tcp)),
            ("127.0.0.1::80", (v4("127.0.0.1"), None, 80..=80, Protocol::Tcp)),
            ("[::1]:80:81/sctp", (v4("::1"), Some(80..=80), 81..=81, Protocol::Sctp)),
            ("8000-8001:80-81", (None, Some(8000..=8001), 80..=81, Protocol::Tcp)),
            ("8000-8010:80", (None, Some(8000..=8010), 80..=80, Protocol::Tcp)),
            ("0:80", (None, None, 80..=80, Protocol::Tcp)),
            ("127.0.0.1:0:80/udp", (v4("127.0.0.1"), None, 80..=80, Protocol::Udp)),
        ];
        for (text, (ip, host, container, protocol)) in cases {
            assert_eq!(publish(text), Publish { ip, host, container, protocol }, "{text}");
        }
        for text in [
            "",
            ":",
            "a",
            "80:",
            "0",
            "65536",
            "80/x",
            "1:2:3",
            "2-1",
            "1.2.3:80:80",
            "80:80-81",
            "8000-8001:80-82",
            "-1",
            "+1",
            "0-1:80",
            "0:0",
        ] {
            assert!(text.parse::<Publish>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_that_somebody_has_is_refused_in_one_line() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let outcome = assign(&[publish(&format!("127.0.0.1:{port}:80"))], &[], false, None, &[]);
        let message = outcome.unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "listen 127.0.0.1:{port}/tcp: bind: address already in use (publish another port, or -p 80 for a free one)"
            )
        );
    }

    #[test]
    fn a_port_of_another_container_is_taken_though_nobody_listens() {
        let first = assign(&[publish("127.0.0.1::80")], &[], false, None, &[]).unwrap();
        let again = publish(&format!("{}:81", first[0].host));
        assert!(matches!(assign(&[again], &[], false, None, &first), Err(Error::InUse(..))));
    }

    #[test]
    fn a_port_of_the_host_leads_to_one_port() {
        let twice = publish(&format!("127.0.0.1:{}:80", ephemeral(Ipv4Addr::LOCALHOST.into(), Protocol::Tcp).unwrap()));
        assert!(matches!(assign(&[twice.clone(), twice], &[], false, None, &[]), Err(Error::InUse(..))));
    }

    #[test]
    fn free_ports_are_found_for_ranges_and_for_all_exposed() {
        let expose = ["90/udp".parse().unwrap(), "80".parse().unwrap()];
        let found = assign(&[publish("127.0.0.1::80")], &expose, true, "127.0.0.1".parse().ok(), &[]).unwrap();
        assert_eq!(
            found.iter().map(|each| (each.container, each.protocol)).collect::<Vec<_>>(),
            [(80, Protocol::Tcp), (90, Protocol::Udp)]
        );
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        if port < u16::MAX - 8 {
            let found =
                assign(&[publish(&format!("127.0.0.1:{port}-{}:80", port + 8))], &[], false, None, &[]).unwrap();
            assert_ne!(found[0].host, port);
        }
    }

    #[test]
    fn a_port_on_no_address_is_on_all_of_both_families() {
        let found = assign(&[publish("80")], &[], false, None, &[]).unwrap();
        let ips: Vec<String> = found.iter().map(|mapping| mapping.ip.to_string()).collect();
        assert_eq!(ips, both_families().iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(found.iter().all(|mapping| mapping.host == found[0].host));
        let bound = assign(&[publish("80")], &[], false, Some("127.0.0.1".parse().unwrap()), &[]).unwrap();
        assert_eq!((bound.len(), bound[0].ip.to_string().as_str()), (1, "127.0.0.1"));
        let ports = ["0.0.0.0:80->80/tcp", "[::]:80->80/tcp", "10.0.0.1:80->80/tcp"]
            .map(|text| text.parse::<Mapping>().unwrap());
        assert!(!ports[0].collides(&ports[1]) && ports[0].collides(&ports[2]));
        // Each family has its socket.
        if found.len() == 2 {
            let held: Vec<OwnedFd> = found.iter().map(|mapping| mapping.bind().unwrap()).collect();
            assert!(found.iter().all(|mapping| matches!(mapping.check(), Err(Error::InUse(..)))));
            drop(held);
        }
    }

    #[test]
    fn the_summary_is_docker_pss() {
        let mapping = |text: &str| text.parse::<Mapping>().unwrap();
        assert_eq!(summary(&[mapping("0.0.0.0:5000->5000/tcp")], &[]), "0.0.0.0:5000->5000/tcp");
        let many = [mapping("0.0.0.0:8000->80/tcp"), mapping("0.0.0.0:8001->81/tcp"), mapping("127.0.0.1:53->53/udp")];
        let expose = ["80".parse().unwrap(), "443".parse().unwrap()];
        assert_eq!(
            summary(&many, &expose),
            "127.0.0.1:53->53/udp, 443/tcp, 0.0.0.0:8000->80/tcp, 0.0.0.0:8001->81/tcp"
        );
        let range =
            ["0.0.0.0:80->80/tcp", "0.0.0.0:81->81/tcp", "[::]:80->80/tcp", "[::]:81->81/tcp", "0.0.0.0:90->90/tcp"];
        assert_eq!(
            summary(&range.map(mapping), &["8000-8002/udp".parse().unwrap()]),
            "0.0.0.0:80-81->80-81/tcp, 0.0.0.0:90->90/tcp, :::80-81->80-81/tcp, 8000-8002/udp"
        );
        let both = [mapping("0.0.0.0:8000->80/tcp"), mapping("[::]:8000->80/tcp")];
        assert_eq!(summary(&both, &[]), "0.0.0.0:8000->80/tcp, :::8000->80/tcp");
        assert_eq!(summary(&[], &[]), "");
        assert_eq!(summary(&[mapping("[::1]:8000->80/tcp")], &[]), "[::1]:8000->80/tcp");
    }

    proptest! {
        #[test]
        fn a_mapping_prints_as_it_is_read(ip in any::<IpAddr>(), host in 1u16.., container in 1u16.., udp in any::<bool>()) {
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            let mapping = Mapping { container, protocol, ip, host };
            prop_assert_eq!(mapping.to_string().parse::<Mapping>().unwrap(), mapping);
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "[0-9:./a-u\\[\\]-]{0,24}") {
            let _ = text.parse::<Publish>();
            let _ = text.parse::<Expose>();
            let _ = text.parse::<Mapping>();
        }
    }
}
