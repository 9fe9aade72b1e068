//! A program that carries published ports where the kernel cannot: connections to ::1, which never leave the host, and those of a family of
//! addresses in which the container has none.
//!
//! It is one process for a container, started by the hook, which waits until its sockets are bound, so that a port that is taken is an
//! error of the start. It ends with the container's first process.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use image_tool::error::During as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::option::port::{self, Mapping, Protocol};

/// The process of a container's ports, by which it is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pid: i32,
    /// When it was started, in ticks since the host was: another process with its pid was not.
    started: u64,
}

/// A port of the host and the one of a container that it leads to: `PROTOCOL/ADDRESS:PORT/ADDRESS:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carriage {
    protocol: Protocol,
    from: SocketAddr,
    to: SocketAddr,
}

impl fmt::Display for Carriage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.protocol, self.from, self.to)
    }
}

impl FromStr for Carriage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let [protocol, from, to] = text.splitn(3, '/').collect::<Vec<_>>().try_into().ok()?;
            let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|each| each.as_str() == protocol)?;
            Some(Self { protocol, from: from.parse().ok()?, to: to.parse().ok()? })
        };
        read().ok_or_else(|| format!("{text:?} is not PROTOCOL/ADDRESS:PORT/ADDRESS:PORT"))
    }
}

/// The ports that the kernel cannot lead to a container with these addresses, and where they lead.
fn carried(ports: &[Mapping], ips: &[IpAddr]) -> Vec<Carriage> {
    let lead = |port: &Mapping| {
        let same = ips.iter().find(|ip| ip.is_ipv6() == port.ip.is_ipv6());
        let local = port.ip.is_ipv6() && (port.ip.is_unspecified() || port.ip.is_loopback());
        let to = match same {
            Some(ip) if local => ip,
            Some(_) => return None,
            None => ips.first()?,
        };
        // Only a program with sockets of SCTP could carry it, which the standard library has not.
        (port.protocol != Protocol::Sctp).then(|| Carriage {
            protocol: port.protocol,
            from: SocketAddr::new(port.ip, port.host),
            to: SocketAddr::new(*to, port.container),
        })
    };
    ports.iter().filter_map(lead).collect()
}

/// Starts the process for a container whose first process is `pid`, if one is needed.
pub(super) fn start(ports: &[Mapping], ips: &[IpAddr], pid: i32) -> Result<Option<Process>, Error> {
    let carried = carried(ports, ips);
    if carried.is_empty() {
        return Ok(None);
    }
    let program = std::env::current_exe().during("find", "/proc/self/exe")?;
    let mut command = Command::new(&program);
    command.arg("proxy").arg(pid.to_string()).args(carried.iter().map(ToString::to_string));
    // It outlives the hook: it must hold nothing of its caller, who may wait for the end of streams or unmount folders.
    command.env_clear().current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().during("run", &program)?;
    let mut answer = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).take(ANSWER).read_line(&mut answer).during("read", &program)?;
    }
    let started = started(child.id() as i32).filter(|_| answer.trim_end() == READY);
    match started {
        Some(started) => Ok(Some(Process { pid: child.id() as i32, started })),
        None => {
            // It has ended, or has nothing to carry.
            let _ = child.kill().and_then(|()| child.wait());
            Err(Error::Proxy(answer.trim_end().to_owned()))
        }
    }
}

/// What the process says once its sockets are bound; anything else is the reason why they cannot be.
const READY: &str = "ready";
const ANSWER: u64 = 4096;

/// As many open files as this user may have: each port takes one.
fn raise_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // With fewer, ports that do not fit are an error of their own.
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// When a process was started (proc_pid_stat(5)); `None` if there is none.
fn started(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name of the program may hold spaces and parentheses.
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

impl Process {
    /// Ends the process, and waits until its ports are free.
    pub(super) fn end(self) {
        let Ok(process) = pidfd(self.pid) else { return };
        if started(self.pid) != Some(self.started) {
            return;
        }
        // It may have ended by itself just now.
        let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
        let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience));
    }
}

/// How many connections are carried at once; each takes two threads.
const CONNECTIONS: usize = 8192;
/// How long an exchange of datagrams is remembered, as in docker.
const DATAGRAMS: Duration = Duration::from_secs(90);
/// What a thread needs to copy from one socket to another.
const STACK: usize = 128 << 10;
/// The largest datagram.
const DATAGRAM: usize = 64 << 10;

/// Something that has a socket.
enum Door {
    Stream(TcpListener),
    /// With the sockets to the container by client; they last as long as their threads.
    Datagram(Arc<UdpSocket>, HashMap<SocketAddr, Weak<UdpSocket>>),
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stream(socket) => socket.as_fd(),
            Self::Datagram(socket, _) => socket.as_fd(),
        }
    }
}

impl Door {
    fn open(carriage: &Carriage) -> Result<Self, port::Error> {
        let mapping = Mapping {
            container: carriage.to.port(),
            protocol: carriage.protocol,
            ip: carriage.from.ip(),
            host: carriage.from.port(),
        };
        let socket = mapping.bind()?;
        Ok(match carriage.protocol {
            Protocol::Tcp => Self::Stream(socket.into()),
            _ => Self::Datagram(Arc::new(socket.into()), HashMap::new()),
        })
    }

    /// Carries what has come: a connection, or a datagram. `count` is held by each thread.
    fn serve(&mut self, to: SocketAddr, count: &Arc<()>) -> io::Result<()> {
        match self {
            Self::Stream(listener) => {
                let (client, _) = listener.accept()?;
                if Arc::strong_count(count) < CONNECTIONS {
                    let count = Arc::clone(count);
                    thread(move || drop((carry(&client, to), count)))?;
                }
                Ok(())
            }
            Self::Datagram(socket, exchanges) => {
                let mut buffer = vec![0; DATAGRAM];
                let (length, client) = socket.recv_from(&mut buffer)?;
                exchanges.retain(|_, exchange| exchange.strong_count() > 0);
                let exchange = match exchanges.get(&client).and_then(Weak::upgrade) {
                    Some(exchange) => exchange,
                    None if Arc::strong_count(count) >= CONNECTIONS => return Ok(()),
                    None => {
                        let exchange = Arc::new(exchange(to)?);
                        exchanges.insert(client, Arc::downgrade(&exchange));
                        let (answers, door, count) = (Arc::clone(&exchange), Arc::clone(socket), Arc::clone(count));
                        thread(move || drop((answer(&answers, &door, client), answers, count)))?;
                        exchange
                    }
                };
                exchange.send(&buffer[..length]).map(drop)
            }
        }
    }
}

fn thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().stack_size(STACK).spawn(work).map(drop)
}

/// Carries a connection both ways, until both sides have closed theirs.
fn carry(client: &TcpStream, to: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(to)?;
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        // Whichever side breaks off, the other must learn that there is no more.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || copy(&server, client))?;
        copy(client, &server);
        Ok(())
    })
}

/// A socket that sends to the container, and takes only its answers.
fn exchange(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(DATAGRAMS))?;
    Ok(socket)
}

/// Carries the answers to a client until there has been none for a while.
fn answer(exchange: &UdpSocket, door: &UdpSocket, client: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        match exchange.recv(&mut buffer) {
            // A client that is gone is forgotten when it has asked nothing for a while.
            Ok(length) => drop(door.send_to(&buffer[..length], client)),
            // The container has nobody on the port, now.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

/// Carries ports until the process `pid` ends. When the sockets are bound, it says so on standard output and closes that.
pub fn run(pid: i32, carriages: &[Carriage]) -> io::Result<()> {
    raise_limit();
    let opened = || -> Result<_, Box<dyn std::error::Error>> {
        let doors = carriages.iter().map(|carriage| Ok((Door::open(carriage)?, carriage.to)));
        Ok((pidfd(pid)?, doors.collect::<Result<Vec<_>, port::Error>>()?))
    };
    let mut output = io::stdout();
    let (life, mut doors) = match opened() {
        Ok(opened) => opened,
        Err(error) => return writeln!(output, "{error}"),
    };
    writeln!(output, "{READY}")?;
    let null = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    let count = Arc::new(());
    loop {
        let mut fds = vec![PollFd::new(&life, PollFlags::IN)];
        fds.extend(doors.iter().map(|(door, _)| PollFd::new(door, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            return Ok(());
        }
        for ((door, to), _) in doors.iter_mut().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            // A client that is gone already, or one too many: the others go on.
            let _ = door.serve(*to, &count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_kernel_carries_what_it_can() {
        let led = |port: &str, ips: &[&str]| {
            let ips: Vec<IpAddr> = ips.iter().map(|text| ip(text)).collect();
            carried(&[port.parse().unwrap()], &ips).first().map(|carriage| carriage.to.to_string())
        };
        let (v4, v6) = ("10.9.0.2", "fd00::2");
        assert_eq!(led("0.0.0.0:8000->80/tcp", &[v4, v6]), None);
        assert_eq!(led("127.0.0.1:8000->80/tcp", &[v4]), None);
        assert_eq!(led("0.0.0.0:8000->80/tcp", &[v6]), Some("[fd00::2]:80".into()));
        assert_eq!(led("[::]:8000->80/tcp", &[v4]), Some("10.9.0.2:80".into()));
        assert_eq!(led("[::]:8000->80/udp", &[v4, v6]), Some("[fd00::2]:80".into()), "for ::1 alone");
        assert_eq!(led("[::1]:8000->80/tcp", &[v4, v6]), Some("[fd00::2]:80".into()));
        assert_eq!(led("[fd00:9::1]:8000->80/tcp", &[v4, v6]), None);
        assert_eq!(led("[::]:8000->80/sctp", &[v4]), None);
    }

    #[test]
    fn a_carriage_prints_as_it_is_read() {
        for text in ["tcp/[::]:80/10.9.0.2:80", "udp/127.0.0.1:53/[fd00::2]:53"] {
            assert_eq!(text.parse::<Carriage>().unwrap().to_string(), text);
        }
        for text in ["", "tcp", "tcp/x/y", "sctp/[::]:80/10.9.0.2:80", "tcp/[::]:80"] {
            assert!(text.parse::<Carriage>().is_err(), "{text}");
        }
    }

    #[test]
    fn connections_and_datagrams_are_carried_both_ways() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (to, from) = (server.local_addr().unwrap(), listener.local_addr().unwrap());
        let count = Arc::new(());
        let mut client = TcpStream::connect(from).unwrap();
        Door::Stream(listener).serve(to, &count).unwrap();
        client.write_all(b"asked").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (mut peer, _) = server.accept().unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "asked");
        peer.write_all(b"answered").unwrap();
        drop(peer);
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answered");

        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let from = socket.local_addr().unwrap();
        let mut door = Door::Datagram(Arc::new(socket), HashMap::new());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"asked", from).unwrap();
        door.serve(server.local_addr().unwrap(), &count).unwrap();
        let mut buffer = [0; 16];
        let (length, peer) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"asked");
        server.send_to(b"answered", peer).unwrap();
        let (length, sender) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], sender), (&b"answered"[..], from));
    }

    #[test]
    fn a_process_that_is_gone_is_not_ended_again() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id() as i32;
        let process = Process { pid, started: started(pid).unwrap() };
        Process { started: process.started + 1, ..process }.end();
        assert!(child.try_wait().unwrap().is_none(), "another process with this pid");
        process.end();
        assert!(!child.wait().unwrap().success());
        process.end();
    }
}
