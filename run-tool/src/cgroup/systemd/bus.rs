//! The part of the D-Bus protocol that calls to systemd need: a socket, EXTERNAL authentication, calls with their replies, and the
//! signal that a job is done. A client library would add an async executor to every start, and libcgroups' own client has no signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::wire::{Body, Property, Reader};

const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const BUS: &str = "org.freedesktop.DBus";
const LIMIT: usize = 1 << 20;

/// An error reply.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refused {
    /// The D-Bus name of the error (`org.freedesktop.systemd1.UnitExists`).
    pub(crate) name: String,
    text: String,
}

/// A received message, with only the fields that are used.
#[derive(Debug, Default)]
struct Message {
    kind: u8,
    reply_to: u32,
    member: String,
    error: String,
    body: Vec<u8>,
}

/// A connection to systemd.
#[derive(Debug)]
pub(crate) struct Bus {
    stream: BufReader<UnixStream>,
    serial: u32,
    /// Jobs that are done, and their results, before `wait` has asked for them.
    done: Vec<(String, String)>,
}

impl Bus {
    /// Connects to the system's systemd, or to the user's.
    pub(crate) fn connect(user: bool) -> Result<Self> {
        if user {
            // Without a bus for the session, the user can connect to systemd directly.
            return user_address().and_then(|address| Self::dial(&address, true)).or_else(|error| {
                Self::dial(&format!("unix:path={}/systemd/private", user_folder()), false).map_err(|_| error)
            });
        }
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS")
            .unwrap_or_else(|_| "unix:path=/run/dbus/system_bus_socket".to_owned());
        // Early in the boot there is no bus yet, but root can connect to systemd directly.
        Self::dial(&address, true)
            .or_else(|error| Self::dial("unix:path=/run/systemd/private", false).map_err(|_| error))
    }

    fn dial(addresses: &str, broker: bool) -> Result<Self> {
        let mut failure = None;
        for address in addresses.split(';').filter(|address| !address.is_empty()) {
            match open(address) {
                Ok(stream) => return Self::greet(stream, broker),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| anyhow::anyhow!("no address")))
    }

    fn greet(mut stream: UnixStream, broker: bool) -> Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        // The other side knows who this is from the socket. An id of ours would be another one there if this is a user namespace.
        stream.write_all(b"\0AUTH EXTERNAL\r\n")?;
        let mut bus = Self { stream: BufReader::new(stream), serial: 0, done: Vec::new() };
        let mut line = String::new();
        (&mut bus.stream).take(1024).read_line(&mut line)?;
        if line.trim_end() == "DATA" {
            bus.stream.get_mut().write_all(b"DATA\r\n")?;
            line.clear();
            (&mut bus.stream).take(1024).read_line(&mut line)?;
        }
        if !line.starts_with("OK ") {
            bail!("error while authenticating connection: {}", line.trim_end());
        }
        bus.stream.get_mut().write_all(b"BEGIN\r\n")?;
        if broker {
            bus.call_at(BUS, "/org/freedesktop/DBus", BUS, "Hello", "", Body::default())?;
            let mut rule = Body::default();
            rule.text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
            bus.call_at(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", "s", rule)?;
            bus.call("Subscribe", "", Body::default())?;
        }
        Ok(bus)
    }

    fn call(&mut self, method: &str, signature: &str, body: Body) -> Result<Vec<u8>> {
        self.call_at(SERVICE, OBJECT, MANAGER, method, signature, body)
    }

    fn call_at(
        &mut self,
        to: &str,
        path: &str,
        interface: &str,
        method: &str,
        signature: &str,
        body: Body,
    ) -> Result<Vec<u8>> {
        self.serial += 1;
        let mut message = Body(vec![b'l', 1, 0, 1]);
        message.u32(body.0.len() as u32);
        message.u32(self.serial);
        message.array(8, |header| {
            for (code, kind, text) in [(1, "o", path), (6, "s", to), (2, "s", interface), (3, "s", method)] {
                header.align(8);
                header.0.push(code);
                header.signature(kind);
                header.text(text);
            }
            if !signature.is_empty() {
                header.align(8);
                header.0.push(8);
                header.signature("g");
                header.signature(signature);
            }
        });
        message.align(8);
        message.0.extend(body.0);
        self.stream.get_mut().write_all(&message.0).context("write to D-Bus")?;
        loop {
            let answer = self.receive()?;
            if answer.reply_to != self.serial {
                continue;
            }
            return match answer.kind {
                2 => Ok(answer.body),
                _ => {
                    let text = Reader(&answer.body, 0).text().unwrap_or_else(|_| answer.error.clone());
                    Err(Refused { name: answer.error, text }.into())
                }
            };
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let mut start = [0; 16];
        self.stream.read_exact(&mut start).context("read from D-Bus")?;
        if start[0] != b'l' {
            bail!("D-Bus message with another byte order");
        }
        let mut numbers = Reader(&start, 4);
        let (size, _, fields) = (numbers.u32()? as usize, numbers.u32()?, numbers.u32()? as usize);
        if size > LIMIT || fields > LIMIT {
            bail!("D-Bus message of {size} bytes is too long");
        }
        let mut rest = vec![0; fields.next_multiple_of(8) + size];
        self.stream.read_exact(&mut rest).context("read from D-Bus")?;
        let mut message = Message { kind: start[1], ..Message::default() };
        let mut header = Reader(&rest[..fields], 0);
        while header.1 < fields {
            header.align(8);
            let code = header.take(1)?[0];
            let text = match header.signature()?.as_str() {
                "s" | "o" => header.text()?,
                "g" => header.signature()?,
                "u" => {
                    let number = header.u32()?;
                    if code == 5 {
                        message.reply_to = number;
                    }
                    continue;
                }
                other => bail!("D-Bus header with a field of type {other}"),
            };
            match code {
                3 => message.member = text,
                4 => message.error = text,
                _ => {}
            }
        }
        message.body = rest.split_off(fields.next_multiple_of(8));
        if message.kind == 4 && message.member == "JobRemoved" {
            let mut body = Reader(&message.body, 0);
            let (_, job, _, result) = (body.u32()?, body.text()?, body.text()?, body.text()?);
            self.done.push((job, result));
        }
        Ok(message)
    }

    /// Waits for the end of a job and returns its result, `done` for a success.
    fn wait(&mut self, job: &str) -> Result<String> {
        loop {
            if let Some(index) = self.done.iter().position(|(done, _)| done == job) {
                return Ok(self.done.remove(index).1);
            }
            self.receive()?;
        }
    }

    /// Creates and starts a unit. Returns the result of the job.
    pub(crate) fn start_transient_unit(&mut self, unit: &str, properties: &[Property]) -> Result<String> {
        let mut body = Body::default();
        body.text(unit);
        body.text("replace");
        body.properties(properties);
        body.array(8, |_| {});
        let answer = self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)?;
        let job = Reader(&answer, 0).text()?;
        self.wait(&job)
    }

    /// Stops a unit. Returns the result of the job.
    pub(crate) fn stop_unit(&mut self, unit: &str) -> Result<String> {
        let mut body = Body::default();
        body.text(unit);
        body.text("replace");
        let answer = self.call("StopUnit", "ss", body)?;
        let job = Reader(&answer, 0).text()?;
        self.wait(&job)
    }

    /// Resets a failed unit, so that its name can be used again.
    pub(crate) fn reset_failed_unit(&mut self, unit: &str) -> Result<()> {
        let mut body = Body::default();
        body.text(unit);
        self.call("ResetFailedUnit", "s", body).map(drop)
    }

    /// Sets properties of a unit, until the next boot.
    pub(crate) fn set_unit_properties(&mut self, unit: &str, properties: &[Property]) -> Result<()> {
        let mut body = Body::default();
        body.text(unit);
        body.u32(1);
        body.properties(properties);
        self.call("SetUnitProperties", "sba(sv)", body).map(drop)
    }

    /// Moves a process into a unit's group, or into the sub-cgroup `below`.
    pub(crate) fn attach_process(&mut self, unit: &str, below: &str, pid: u32) -> Result<()> {
        let mut body = Body::default();
        body.text(unit);
        body.text(below);
        body.array(4, |body| body.u32(pid));
        self.call("AttachProcessesToUnit", "ssau", body).map(drop)
    }

    /// Reads a property of systemd itself that is a string.
    pub(crate) fn manager_property(&mut self, name: &str) -> Result<String> {
        let mut body = Body::default();
        body.text(MANAGER);
        body.text(name);
        let answer = self.call_at(SERVICE, OBJECT, "org.freedesktop.DBus.Properties", "Get", "ss", body)?;
        let mut answer = Reader(&answer, 0);
        match answer.signature()?.as_str() {
            "s" => answer.text(),
            other => bail!("systemd's {name} is of type {other}"),
        }
    }
}

/// Connects to a socket. If too many clients connect at once, the queue of the bus is full for a moment, so this tries again, for as long
/// as runc does.
fn connect(address: &SocketAddrUnix) -> Result<UnixStream> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(Duration::from_secs(15)))?;
    rustix::net::connect(&socket, address)?;
    Ok(UnixStream::from(socket))
}

fn open(address: &str) -> Result<UnixStream> {
    let fail = || format!("error while dialing {address:?}");
    let Some(parameters) = address.strip_prefix("unix:") else { bail!("{}: not a Unix socket", fail()) };
    for (key, value) in parameters.split(',').filter_map(|parameter| parameter.split_once('=')) {
        match key {
            "path" => return connect(&SocketAddrUnix::new(value).with_context(fail)?).with_context(fail),
            "abstract" => {
                return connect(&SocketAddrUnix::new_abstract_name(value.as_bytes()).with_context(fail)?)
                    .with_context(fail);
            }
            _ => {}
        }
    }
    bail!("{}: no path", fail())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The runtime folder of the user's own systemd, which su and cron do not name.
fn user_folder() -> String {
    variable("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{}", rustix::process::geteuid().as_raw()))
}

/// The address of the user's bus.
fn user_address() -> Result<String> {
    if let Some(address) = variable("DBUS_SESSION_BUS_ADDRESS") {
        return Ok(address);
    }
    let path = std::path::Path::new(&user_folder()).join("bus");
    if path.exists() {
        return Ok(format!("unix:path={}", path.display()));
    }
    bail!(
        "could not detect DBUS_SESSION_BUS_ADDRESS from the environment; make sure you have installed the dbus-user-session or \
         dbus-daemon package; note you may need to re-login"
    )
}

#[cfg(test)]
mod tests {
    use super::super::wire::Value;
    use super::*;

    /// Encodes a message from the bus.
    fn message(kind: u8, reply_to: u32, member: &str, signature: &str, body: &Body) -> Vec<u8> {
        let mut message = Body(vec![b'l', kind, 0, 1]);
        message.u32(body.0.len() as u32);
        message.u32(1);
        message.array(8, |header| {
            header.0.push(5);
            header.signature("u");
            header.u32(reply_to);
            for (code, kind, text) in [(3, "s", member), (4, "s", member)] {
                header.align(8);
                header.0.push(code);
                header.signature(kind);
                header.text(text);
            }
            header.align(8);
            header.0.push(8);
            header.signature("g");
            header.signature(signature);
        });
        message.align(8);
        message.0.extend(&body.0);
        message.0
    }

    #[test]
    fn connect_waits_for_a_bus_with_a_full_queue() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let address = SocketAddrUnix::new(&path).unwrap();
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        // The queue has room for one client.
        let first = UnixStream::connect(&path).unwrap();
        let second = std::thread::spawn(move || open(&format!("unix:path={}", path.display())).map(drop));
        drop(rustix::net::accept(&listener).unwrap());
        drop(rustix::net::accept(&listener).unwrap());
        second.join().unwrap().unwrap();
        drop(first);
    }

    #[test]
    fn a_job_that_is_done_before_the_reply_comes_is_not_missed() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let systemd = std::thread::spawn(move || {
            let mut reader = BufReader::new(theirs.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, "\0AUTH EXTERNAL\r\n");
            theirs.write_all(b"DATA\r\n").unwrap();
            line.clear();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, "DATA\r\n");
            theirs.write_all(b"OK 1234\r\n").unwrap();
            line.clear();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, "BEGIN\r\n");
            for call in 1..=2 {
                let mut start = [0; 16];
                reader.read_exact(&mut start).unwrap();
                let mut numbers = Reader(&start, 4);
                let (size, _, fields) =
                    (numbers.u32().unwrap(), numbers.u32().unwrap(), numbers.u32().unwrap() as usize);
                let mut rest = vec![0; fields.next_multiple_of(8) + size as usize];
                reader.read_exact(&mut rest).unwrap();
                let mut job = Body::default();
                job.u32(7);
                for text in ["/job/7", "x.scope", "done"] {
                    job.text(text);
                }
                let mut answer = Body::default();
                if call == 1 {
                    theirs.write_all(&message(4, 0, "JobRemoved", "uoss", &job)).unwrap();
                    answer.text("/job/7");
                    theirs.write_all(&message(2, call, "", "o", &answer)).unwrap();
                } else {
                    answer.text("Unit x.scope not loaded.");
                    theirs.write_all(&message(3, call, "org.freedesktop.systemd1.NoSuchUnit", "s", &answer)).unwrap();
                }
            }
        });
        let mut bus = Bus::greet(ours, false).unwrap();
        let properties = [("Delegate".to_owned(), Value::Bool(true))];
        assert_eq!(bus.start_transient_unit("x.scope", &properties).unwrap(), "done");
        let error = bus.stop_unit("x.scope").unwrap_err();
        assert_eq!(error.to_string(), "Unit x.scope not loaded.");
        assert_eq!(error.downcast::<Refused>().unwrap().name, "org.freedesktop.systemd1.NoSuchUnit");
        systemd.join().unwrap();
    }
}
