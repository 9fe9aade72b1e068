//! `attach`: the standard streams of a supervised container, by way of its supervisor's socket.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::event::{PollFd, PollFlags};

use super::global::Global;
use super::stdout::StdoutClosed;
use crate::container::Container;
use crate::kernel::error::Fails;
use crate::kernel::syscall;
use crate::kernel::terminal::Host;
use crate::supervise::attach::{self, LIMIT, Packet};
use crate::supervise::record::Stream;
use crate::supervise::signals::signals_in;

/// Attach to the standard streams of a container.
///
/// The container must have been started with `run --detach --log-driver`, so that it has a supervisor. The command exits with the
/// container's status. If the container has a terminal, the detach keys end the command and leave the container running.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Key sequence that detaches, as in docker.
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: String,
    /// Do not attach standard input.
    #[arg(long)]
    no_stdin: bool,
    /// Forward received signals to the container.
    #[arg(long, value_name = "true|false", default_value = "true", default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// ID of the container.
    id: String,
}

/// The reason why an attachment ended.
enum End {
    Exit(i32),
    Detached,
}

impl Attach {
    /// Returns the exit status.
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        let container = global.named(&self.id)?;
        if container.state.log.is_none() {
            bail!(
                "{}: container has no supervisor (start it with run-tool run --detach --log-driver json-file)",
                self.id
            );
        }
        if !container.is_alive() {
            bail!("{}: container not running", self.id);
        }
        let keys = attach::parse_keys(&self.detach_keys)?;
        let socket = attach::connect(&container.folder)?;
        let mut buffer = vec![0; LIMIT + 1];
        let hello = attach::receive(socket.as_fd(), &mut buffer).fails(|| "recv")?;
        let Some(Packet::Hello(terminal)) = Packet::decode(hello) else {
            bail!("{}: unexpected answer from the supervisor", self.id)
        };
        let stdin = rustix::stdio::stdin();
        let mut host = None;
        syscall::block_signals().fails(|| "sigprocmask")?;
        if terminal && !self.no_stdin && rustix::termios::isatty(stdin) {
            let mut own = Host::find()?;
            own.set_raw()?;
            host = Some(own);
        }
        match self.serve(&container, &socket, host.as_ref(), &keys)? {
            End::Exit(status) => Ok(status as u8),
            End::Detached => Ok(0),
        }
    }

    fn serve(&self, container: &Container, socket: &OwnedFd, host: Option<&Host>, keys: &[u8]) -> Result<End> {
        let signals = syscall::signalfd().fails(|| "signalfd")?;
        let stdin = rustix::stdio::stdin();
        let mut reads = !self.no_stdin;
        let mut matched = 0;
        let mut buffer = vec![0; LIMIT + 1];
        self.tell_size(socket, host);
        loop {
            let mut polled = vec![PollFd::new(socket, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
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
                let packet = attach::receive(socket.as_fd(), &mut buffer).fails(|| "recv")?;
                match Packet::decode(packet) {
                    Some(Packet::Output(stream, bytes)) => show(stream, bytes)?,
                    Some(Packet::Exit(status)) => return Ok(End::Exit(status)),
                    _ => bail!("{}: the supervisor is gone", self.id),
                }
            }
            if ready[1] {
                for signal in signals_in(&signals)? {
                    match signal {
                        libc::SIGWINCH => self.tell_size(socket, host),
                        libc::SIGCHLD | libc::SIGPIPE | libc::SIGURG => {}
                        signal if self.sig_proxy => {
                            // The container may have ended just now; the supervisor will report that.
                            let _ = container.signal(signal);
                        }
                        libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT => return Ok(End::Detached),
                        _ => {}
                    }
                }
            }
            if ready.get(2) == Some(&true) {
                let count = rustix::io::read(stdin, &mut buffer[..LIMIT]).unwrap_or(0);
                if count == 0 {
                    reads = false;
                    attach::send(socket.as_fd(), &Packet::InputEnd).fails(|| "send")?;
                    continue;
                }
                if host.is_some() && detaches(keys, &buffer[..count], &mut matched) {
                    return Ok(End::Detached);
                }
                attach::send(socket.as_fd(), &Packet::Input(&buffer[..count])).fails(|| "send")?;
            }
        }
    }

    fn tell_size(&self, socket: &OwnedFd, host: Option<&Host>) {
        if let Some((columns, rows)) = host.and_then(Host::size) {
            // If the supervisor is gone, receiving the next packet fails.
            let _ = attach::send(socket.as_fd(), &Packet::Size(columns, rows));
        }
    }
}

/// Whether the detach keys have been pressed in a row. `matched` counts the keys matched so far.
fn detaches(keys: &[u8], bytes: &[u8], matched: &mut usize) -> bool {
    for byte in bytes {
        *matched = match keys.get(*matched) {
            Some(key) if key == byte => *matched + 1,
            _ if keys.first() == Some(byte) => 1,
            _ => 0,
        };
        if !keys.is_empty() && *matched == keys.len() {
            return true;
        }
    }
    false
}

fn show(stream: Stream, bytes: &[u8]) -> Result<()> {
    let result = match stream {
        Stream::Err => std::io::stderr().write_all(bytes),
        Stream::Out => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        }
    };
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        result => result.context("standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_must_be_pressed_in_a_row() {
        let mut matched = 0;
        assert!(!detaches(&[16, 17], &[16, b'x', 17], &mut matched));
        assert!(!detaches(&[16, 17], &[16, 16], &mut matched));
        assert!(detaches(&[16, 17], &[17], &mut matched));
        assert!(!detaches(&[], b"abc", &mut matched));
    }
}
