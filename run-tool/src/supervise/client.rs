//! A client of a container's supervisor: the caller's streams, terminal and signals are the container's until one of them ends.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags};

use super::attach::{self, LIMIT, Packet};
use super::keys::Keys;
use super::record::Stream;
use super::signals::signals_in;
use crate::kernel::error::Fails;
use crate::kernel::process::Process;
use crate::kernel::syscall;
use crate::kernel::terminal::Host;

/// Standard output was closed by its reader.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct OutputClosed;

/// The caller has pressed the detach keys: for docker's exec and attach that is an error.
#[derive(Debug, thiserror::Error)]
#[error("read escape sequence")]
pub(crate) struct Escaped;

/// The streams of the caller that are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Streams {
    /// Standard input.
    pub(crate) input: bool,
    /// Standard output, and a terminal's.
    pub(crate) output: bool,
    /// Standard error.
    pub(crate) error: bool,
}

impl Streams {
    /// Reads a list such as `stdin,stdout`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut streams = Self { input: false, output: false, error: false };
        for name in text.split(',').filter(|name| !name.is_empty()) {
            match name {
                "stdin" => streams.input = true,
                "stdout" => streams.output = true,
                "stderr" => streams.error = true,
                _ => bail!("--attach {text}: {name:?} is none of stdin, stdout and stderr"),
            }
        }
        Ok(streams)
    }
}

/// Why an attachment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The container has ended with this status.
    Exit(i32),
    /// The caller has pressed the detach keys, and the container runs on.
    Detached,
    /// A signal has ended the caller, and the container runs on.
    Signaled(i32),
}

/// How a caller is attached to a container.
#[derive(Debug)]
pub(crate) struct Client {
    /// The streams that are attached.
    pub(crate) streams: Streams,
    /// The keys that detach.
    pub(crate) keys: Keys,
    /// Whether signals are forwarded to the container.
    pub(crate) sig_proxy: bool,
    /// Whether to wait, after the container's end, until its supervisor has ended: a container with `--rm` is gone then.
    pub(crate) to_the_end: bool,
}

impl Client {
    /// Serves until the container ends or the caller detaches. Signals must be blocked. `process` is the container's init process;
    /// `None`: it has ended already.
    pub(crate) fn serve(&self, socket: &OwnedFd, process: Option<&Process>) -> Result<End> {
        let mut buffer = vec![0; LIMIT + 1];
        let hello = attach::receive(socket.as_fd(), &mut buffer).fails(|| "recv")?;
        let Some(Packet::Hello(terminal)) = Packet::decode(hello) else {
            bail!("unexpected answer from the supervisor")
        };
        let mut host = None;
        if terminal && self.streams.input && rustix::termios::isatty(rustix::stdio::stdin()) {
            let mut own = Host::find()?;
            own.set_raw(false)?;
            host = Some(own);
        }
        let signals = syscall::signalfd().fails(|| "signalfd")?;
        self.pass(socket, &signals, process, host.as_ref())
    }

    fn pass(&self, socket: &OwnedFd, signals: &OwnedFd, process: Option<&Process>, host: Option<&Host>) -> Result<End> {
        let stdin = rustix::stdio::stdin();
        let mut reads = self.streams.input;
        let mut keys = self.keys.clone();
        let mut status = None;
        let mut buffer = vec![0; LIMIT + 1];
        tell_size(socket, host);
        loop {
            let mut polled = vec![PollFd::new(socket, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            if reads {
                polled.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
            match rustix::event::poll(&mut polled, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result.fails(|| "poll")?,
            };
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(polled);
            if ready[0] {
                let packet = match attach::receive(socket.as_fd(), &mut buffer) {
                    Err(rustix::io::Errno::CONNRESET) => &[],
                    result => result.fails(|| "recv")?,
                };
                match (Packet::decode(packet), status) {
                    (Some(Packet::Output(stream, bytes)), _) => self.show(stream, bytes)?,
                    (Some(Packet::Exit(code)), _) if !self.to_the_end => return Ok(End::Exit(code)),
                    (Some(Packet::Exit(code)), _) => {
                        status = Some(code);
                        reads = false;
                    }
                    (_, Some(code)) => return Ok(End::Exit(code)),
                    _ => bail!("the supervisor is gone"),
                }
            }
            if ready[1] {
                for signal in signals_in(signals)? {
                    match signal {
                        libc::SIGWINCH => tell_size(socket, host),
                        libc::SIGCHLD | libc::SIGPIPE | libc::SIGURG => {}
                        signal if self.sig_proxy => {
                            // The container may have ended just now; the supervisor will report that.
                            let _ = process.map(|process| process.signal(signal));
                        }
                        libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT => {
                            return Ok(End::Signaled(signal));
                        }
                        _ => {}
                    }
                }
            }
            if reads && ready.get(2) == Some(&true) {
                let count = rustix::io::read(stdin, &mut buffer[..LIMIT]).unwrap_or(0);
                if count == 0 {
                    reads = false;
                    self.send(socket, &Packet::InputEnd)?;
                    continue;
                }
                if host.is_none() {
                    self.send(socket, &Packet::Input(&buffer[..count]))?;
                    continue;
                }
                let typed = keys.filter(&buffer[..count]);
                for piece in typed.bytes.chunks(LIMIT) {
                    self.send(socket, &Packet::Input(piece))?;
                }
                if typed.detaches {
                    return Ok(End::Detached);
                }
            }
        }
    }

    /// Sends input. If the supervisor has ended meanwhile, what it said before is still to be read.
    fn send(&self, socket: &OwnedFd, packet: &Packet<'_>) -> Result<()> {
        match attach::send(socket.as_fd(), packet) {
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Ok(()),
            result => result.fails(|| "send").map_err(Into::into),
        }
    }

    fn show(&self, stream: Stream, bytes: &[u8]) -> Result<()> {
        let result = match stream {
            Stream::Err if self.streams.error => std::io::stderr().write_all(bytes),
            Stream::Out if self.streams.output => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
            _ => Ok(()),
        };
        match result {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
            result => result.context("standard output"),
        }
    }
}

fn tell_size(socket: &OwnedFd, host: Option<&Host>) {
    if let Some((columns, rows)) = host.and_then(Host::size) {
        // If the supervisor is gone, receiving the next packet fails.
        let _ = attach::send(socket.as_fd(), &Packet::Size(columns, rows));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named() {
        let streams = Streams::parse("stdin,stderr").unwrap();
        assert_eq!(streams, Streams { input: true, output: false, error: true });
        assert_eq!(Streams::parse("").unwrap(), Streams { input: false, output: false, error: false });
        assert!(Streams::parse("stdio").is_err());
    }
}
