//! The protocol between a supervisor and attached clients: packets over a Unix socket in the container's folder.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Result;
use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::termios::Winsize;

use crate::container::supervisor::{SOCKET, address, open};
use crate::kernel::error::Fails;
use crate::supervise::record::Stream;

/// The greatest number of bytes of input or output in a packet.
pub(crate) const LIMIT: usize = 16 * 1024;

/// The limit for input that the container has not read yet, in bytes. Beyond it clients must wait.
const QUEUE: usize = 64 * 1024;

/// A packet from the supervisor or from a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// Supervisor: whether the container has a terminal. The first packet.
    Hello(bool),
    /// Supervisor: output of the container.
    Output(Stream, &'a [u8]),
    /// Supervisor: the container has ended with this exit status.
    Exit(i32),
    /// Client: input for the container.
    Input(&'a [u8]),
    /// Client: the end of its input.
    InputEnd,
    /// Client: the columns and rows of its terminal.
    Size(u16, u16),
}

impl<'a> Packet<'a> {
    fn encode(&self) -> Vec<u8> {
        let (tag, rest): (u8, Vec<u8>) = match self {
            Packet::Hello(terminal) => (b'h', vec![u8::from(*terminal)]),
            Packet::Output(Stream::Out, bytes) => (b'o', bytes.to_vec()),
            Packet::Output(Stream::Err, bytes) => (b'e', bytes.to_vec()),
            Packet::Exit(status) => (b'x', status.to_ne_bytes().to_vec()),
            Packet::Input(bytes) => (b'i', bytes.to_vec()),
            Packet::InputEnd => (b'q', Vec::new()),
            Packet::Size(columns, rows) => (b's', [columns.to_ne_bytes(), rows.to_ne_bytes()].concat()),
        };
        [vec![tag], rest].concat()
    }

    /// Parses a packet. `None`: it is not valid.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        Some(match tag {
            b'h' => Packet::Hello(rest == [1]),
            b'o' => Packet::Output(Stream::Out, rest),
            b'e' => Packet::Output(Stream::Err, rest),
            b'x' => Packet::Exit(i32::from_ne_bytes(rest.try_into().ok()?)),
            b'i' => Packet::Input(rest),
            b'q' => Packet::InputEnd,
            b's' => {
                let (columns, rows) = (rest.get(..2)?.try_into().ok()?, rest.get(2..)?.try_into().ok()?);
                Packet::Size(u16::from_ne_bytes(columns), u16::from_ne_bytes(rows))
            }
            _ => return None,
        })
    }
}

/// Sends a packet.
pub(crate) fn send(socket: BorrowedFd<'_>, packet: &Packet<'_>) -> rustix::io::Result<()> {
    loop {
        match rustix::net::send(socket, &packet.encode(), SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return result.map(drop),
        }
    }
}

/// Receives the bytes of a packet. None: the other side has closed.
pub(crate) fn receive<'a>(socket: BorrowedFd<'_>, buffer: &'a mut [u8]) -> rustix::io::Result<&'a [u8]> {
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok((_, count)) => return Ok(&buffer[..count]),
        }
    }
}

/// A client of a supervisor.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    /// Packets that it has not taken yet.
    queue: VecDeque<Vec<u8>>,
    /// Whether the container was started with it, and its input is the container's: that ends with the client.
    is_first: bool,
}

impl Client {
    /// Sends what is queued, as far as possible without waiting. Returns whether the client is still there.
    fn flush(&mut self) -> bool {
        while let Some(packet) = self.queue.front() {
            match rustix::net::send(&self.socket, packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => drop(self.queue.pop_front()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Sends a packet after those before it. Returns whether the client is still there.
    fn tell(&mut self, packet: &Packet<'_>) -> bool {
        self.queue.push_back(packet.encode());
        self.flush()
    }
}

/// The supervisor's side: a listener and the attached clients.
///
/// A client that does not read holds the container up, as in docker: while a packet waits for it, no further output is read.
#[derive(Debug)]
pub(crate) struct Server {
    /// `None`: the first client is the only one.
    listener: Option<OwnedFd>,
    clients: Vec<Client>,
    terminal: bool,
    /// Where input is written to: the terminal, or the pipe that is the container's standard input. `None`: nowhere.
    input: Option<OwnedFd>,
    waiting: VecDeque<u8>,
    /// Whether the input stays open when a client's ends.
    is_kept: bool,
    ended: bool,
}

/// Those who wait for the end of the supervisor's work. They see it when this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Witnesses {
    _listener: Option<OwnedFd>,
    _clients: Vec<Client>,
}

impl Server {
    /// Keeps the container's input open when a client's ends, as docker does where the container was started detached.
    pub(crate) fn keep_input(self, is_kept: bool) -> Self {
        Self { is_kept, ..self }
    }

    /// Listens in a container's folder. `first` is the socket of a client that the container is started with.
    pub(crate) fn listen(
        folder: &Path,
        terminal: bool,
        input: Option<OwnedFd>,
        first: Option<OwnedFd>,
    ) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).fails(|| "socket")?;
        let path = folder.join(SOCKET);
        // The previous run may have left its socket.
        let _ = std::fs::remove_file(&path);
        // The mode is set before the socket has a name, so that nobody else can connect in between.
        rustix::fs::fchmod(&listener, Mode::from_raw_mode(0o600)).fails(|| "fchmod of a socket")?;
        rustix::net::bind(&listener, &address(&open(folder)?)?).fails(|| format!("bind {}", path.display()))?;
        rustix::net::listen(&listener, 16).fails(|| "listen")?;
        Self::begin(Some(listener), terminal, input, first)
    }

    /// Serves one client at most, for a program on the terminal `input`, if it has one.
    pub(crate) fn of_one(client: Option<OwnedFd>, input: Option<OwnedFd>) -> Result<Self> {
        Self::begin(None, input.is_some(), input, client)
    }

    fn begin(
        listener: Option<OwnedFd>,
        terminal: bool,
        input: Option<OwnedFd>,
        first: Option<OwnedFd>,
    ) -> Result<Self> {
        if let Some(input) = &input {
            // A container that does not read its input must not block the supervisor.
            do_not_wait(input)?;
        }
        let mut server = Self {
            listener,
            clients: Vec::new(),
            terminal,
            input,
            waiting: VecDeque::new(),
            is_kept: false,
            ended: false,
        };
        if let Some(socket) = first {
            do_not_wait(&socket)?;
            server.add(socket, true);
        }
        Ok(server)
    }

    fn add(&mut self, socket: OwnedFd, is_first: bool) {
        let mut client = Client { socket, queue: VecDeque::new(), is_first };
        if client.tell(&Packet::Hello(self.terminal)) {
            self.clients.push(client);
        }
    }

    /// Whether output waits for a client, so that no more may be read.
    pub(crate) fn is_behind(&self) -> bool {
        self.clients.iter().any(|client| !client.queue.is_empty())
    }

    /// The descriptors to poll, and for what: the listener, the clients, and the container if there is input for it.
    pub(crate) fn watched(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let mut watched: Vec<_> = self.listener.iter().map(|listener| (listener.as_fd(), PollFlags::IN)).collect();
        let room = self.waiting.len() < QUEUE;
        for client in &self.clients {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, room);
            flags.set(PollFlags::OUT, !client.queue.is_empty());
            watched.push((client.socket.as_fd(), flags));
        }
        if let (false, Some(input)) = (self.waiting.is_empty(), &self.input) {
            watched.push((input.as_fd(), PollFlags::OUT));
        }
        watched
    }

    /// Accepts clients, takes their packets and writes input, as far as possible without waiting.
    pub(crate) fn serve(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accept = |listener: &OwnedFd| rustix::net::accept_with(listener, flags).ok();
        while let Some(client) = self.listener.as_ref().and_then(accept) {
            self.add(client, false);
        }
        self.clients.retain_mut(Client::flush);
        let mut buffer = vec![0; LIMIT + 1];
        let mut index = 0;
        while index < self.clients.len() && self.waiting.len() < QUEUE {
            let packet = receive(self.clients[index].socket.as_fd(), &mut buffer);
            match packet.map(|bytes| (bytes.is_empty(), Packet::decode(bytes))) {
                Ok((false, Some(packet))) => self.take(&packet),
                Err(Errno::AGAIN) => index += 1,
                // The client is gone, or does not follow the protocol.
                _ => {
                    let gone = self.clients.remove(index);
                    if gone.is_first {
                        self.take(&Packet::InputEnd);
                    }
                }
            }
        }
        self.feed();
    }

    fn take(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Input(bytes) if self.input.is_some() => self.waiting.extend(*bytes),
            Packet::InputEnd => self.ended = !self.terminal && !self.is_kept,
            Packet::Size(columns, rows) => {
                if let Some(input) = self.input.as_ref().filter(|_| self.terminal) {
                    let size = Winsize { ws_row: *rows, ws_col: *columns, ws_xpixel: 0, ws_ypixel: 0 };
                    // Fails if the terminal has hung up.
                    let _ = rustix::termios::tcsetwinsize(input, size);
                }
            }
            _ => {}
        }
    }

    /// Writes queued input to the container.
    fn feed(&mut self) {
        while let (Some(input), false) = (&self.input, self.waiting.is_empty()) {
            let (first, _) = self.waiting.as_slices();
            match rustix::io::write(input, first) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.waiting.clear();
                    self.input = None;
                }
            }
        }
        if self.ended {
            self.input = None;
        }
    }

    /// Sends output to all clients.
    pub(crate) fn show(&mut self, stream: Stream, bytes: &[u8]) {
        for piece in bytes.chunks(LIMIT) {
            self.clients.retain_mut(|client| client.tell(&Packet::Output(stream, piece)));
        }
    }

    /// Tells all clients that the container has ended.
    pub(crate) fn end(mut self, status: i32) -> Witnesses {
        self.clients.retain_mut(|client| client.tell(&Packet::Exit(status)));
        Witnesses { _listener: self.listener, _clients: self.clients }
    }
}

fn do_not_wait(descriptor: &OwnedFd) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(descriptor).fails(|| "fcntl")?;
    rustix::fs::fcntl_setfl(descriptor, flags | OFlags::NONBLOCK).fails(|| "fcntl").map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_as_they_were() {
        for packet in [
            Packet::Hello(true),
            Packet::Output(Stream::Err, b"x"),
            Packet::Exit(-3),
            Packet::Input(b""),
            Packet::InputEnd,
            Packet::Size(80, 24),
        ] {
            assert_eq!(Packet::decode(&packet.encode()), Some(packet));
        }
        assert_eq!(Packet::decode(b"x1"), None);
        assert_eq!(Packet::decode(b""), None);
    }
}
