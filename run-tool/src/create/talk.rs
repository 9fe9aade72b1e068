//! The protocol between run-tool (the parent) and the process that it clones to become a program of a container (the child): packets
//! over a socket pair, one message each.
//!
//! | | child | parent |
//! | --- | --- | --- |
//! | 1 | If user or time namespaces must be entered first, an intermediate process clones the child, sends `Pid`, and exits. | Waits for it. |
//! | 2 | Starts in its version 2 group. If there are version 1 groups, it moves itself there and reports with `Entered`. | Moves the child if it could not move itself. Sets limits, ids, OOM score and network devices, then sends `Go`. |
//! | 3 | Joins namespaces and makes the mounts. For a source that it may not open, it sends `Tree`. | Answers with `Tree` and a descriptor, or with `Error`. |
//! | 4 | The mounts are made: `Hooks`. | Runs the prestart and createRuntime hooks, then sends `Continue`. |
//! | 5 | Enters its root. Without a console socket it sends its terminal: `Pty` with a descriptor. In the foreground without a terminal it sends the ends of pipes before 3: `Pipe`. | Keeps them. |
//! | 6 | Everything is set up: `Ready`. | Sets the resource limits, stores the state, then sends `Continue`. |
//! | 7 | If its seccomp filter has a listener: `SeccompListener`. | Copies the descriptor, sends `Continue`, then passes the descriptor to the agent. |
//! | 8 | With `create`, it is about to wait for `start`: `Waiting`. | Stops listening. |
//! | 9 | execve closes its end of the socket. | Sees the end: the program runs. |
//!
//! A child of exec skips 3, 4 and 8. The child may send `Log` (a record for the log) at any time, and `Error` as its last message.
//! `child` and `parent` hold what both kinds of children have in common; the rest of each side is in `init`, `first` and `exec`.
//! A supervisor uses `Pid` and `Error` as well, to tell its caller how the first start went.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use anyhow::{Result, bail};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

use crate::cgroup::entrance::Entrance;
use crate::kernel::error::Fails;
use crate::kernel::log::{self, Level};
use crate::kernel::socket::{next_size, receive_fd, send_fd};
use crate::kernel::syscall;

const LIMIT: usize = 32 * 1024;

/// The other side ended while its answer was expected.
#[derive(Debug, thiserror::Error)]
#[error("the other process ended while {0} was expected")]
pub(crate) struct Gone(String);

/// A message from one side to the other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Parent: the child is in its groups and has its ids. Begin.
    Go,
    /// Child: whether it could move into its groups.
    Entered(bool),
    /// Intermediate process: the id of the child.
    Pid(i32),
    /// Child: the mounts are made. Run the hooks of the runtime namespace.
    Hooks,
    /// Parent: the request is done. Continue.
    Continue,
    /// Child: everything is set up.
    Ready,
    /// Child: the number of its descriptor for the seccomp listener. Duplicate it.
    SeccompListener(i32),
    /// Child: the master of the terminal (with a descriptor).
    Pty,
    /// Child: the other end of the pipe that is its standard stream of this number (with a descriptor).
    Pipe(i32),
    /// Child: the index of a mount whose source the parent must open. Parent: the answer (with a descriptor).
    Tree(i32),
    /// Child: about to wait for `start`.
    Waiting,
    /// Child: a record for the log.
    Log(Level, String),
    /// Child: why it failed. Its last message.
    Error(String),
}

/// Cuts a text to the size of a packet.
fn cut(text: &str) -> Vec<u8> {
    text.as_bytes()[..text.len().min(LIMIT - 1)].to_vec()
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let (tag, rest) = match self {
            Message::Go => (b'g', Vec::new()),
            Message::Entered(entered) => (b'i', vec![u8::from(*entered)]),
            Message::Pid(pid) => (b'p', pid.to_ne_bytes().to_vec()),
            Message::Hooks => (b'h', Vec::new()),
            Message::Continue => (b'c', Vec::new()),
            Message::Ready => (b'r', Vec::new()),
            Message::SeccompListener(fd) => (b's', fd.to_ne_bytes().to_vec()),
            Message::Pty => (b't', Vec::new()),
            Message::Pipe(number) => (b'o', number.to_ne_bytes().to_vec()),
            Message::Tree(index) => (b'm', index.to_ne_bytes().to_vec()),
            Message::Waiting => (b'w', Vec::new()),
            Message::Log(Level::Debug, text) => (b'0', cut(text)),
            Message::Log(Level::Warning, text) => (b'1', cut(text)),
            Message::Log(Level::Error, text) => (b'2', cut(text)),
            Message::Error(text) => (b'e', cut(text)),
        };
        let mut bytes = vec![tag];
        bytes.extend(rest);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let number = || rest.try_into().ok().map(i32::from_ne_bytes);
        let text = || String::from_utf8_lossy(rest).into_owned();
        Some(match tag {
            b'g' => Message::Go,
            b'i' => Message::Entered(rest == [1]),
            b'p' => Message::Pid(number()?),
            b'h' => Message::Hooks,
            b'c' => Message::Continue,
            b'r' => Message::Ready,
            b's' => Message::SeccompListener(number()?),
            b't' => Message::Pty,
            b'o' => Message::Pipe(number()?),
            b'm' => Message::Tree(number()?),
            b'w' => Message::Waiting,
            b'0' => Message::Log(Level::Debug, text()),
            b'1' => Message::Log(Level::Warning, text()),
            b'2' => Message::Log(Level::Error, text()),
            b'e' => Message::Error(text()),
            _ => return None,
        })
    }
}

/// This side's ends of a child's standard streams, as far as the child has sent them.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// The master of its terminal.
    pub(crate) terminal: Option<OwnedFd>,
    /// Pipes, with the number of the stream at the other end.
    pub(crate) pipes: Vec<(i32, OwnedFd)>,
}

impl Ends {
    /// Makes a pipe for the standard stream of a number: the child's end, and this side's.
    pub(crate) fn pipe(number: i32) -> Result<(OwnedFd, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).fails(|| "pipe")?;
        Ok(if number == 0 { (read, write) } else { (write, read) })
    }
}

/// One end of the socket pair.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Creates both ends.
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (one, other) = pair.fails(|| "socketpair")?;
        Ok((Self(one), Self(other)))
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: &Message) -> Result<()> {
        let bytes = message.encode();
        loop {
            // A plain write passes even a seccomp filter that traps sendmsg.
            match rustix::io::write(&self.0, &bytes) {
                Err(rustix::io::Errno::INTR) => {}
                result => {
                    result.fails(|| "write to the container's process")?;
                    return Ok(());
                }
            }
        }
    }

    /// Sends a message with a descriptor.
    pub(crate) fn send_fd(&self, message: &Message, fd: BorrowedFd<'_>) -> Result<()> {
        send_fd(self.0.as_fd(), &message.encode(), fd).fails(|| "sendmsg")?;
        Ok(())
    }

    /// From now on, sends this process's log records to the other side.
    pub(crate) fn take_log(&self) {
        if let Ok(end) = self.0.try_clone() {
            let end = Self(end);
            log::send_to(Box::new(move |level, text| {
                // If the parent is gone there is no log.
                let _ = end.send(&Message::Log(level, text.to_owned()));
            }));
        }
    }

    /// Waits for a message, and the descriptor that may come with it. `None`: the other side is gone. Log records are written to the
    /// log.
    pub(crate) fn receive(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        loop {
            match self.receive_one()? {
                Some((Message::Log(level, text), _)) => log::record(level, &text),
                other => return Ok(other),
            }
        }
    }

    fn receive_one(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        // Packets may be long, but hardly any is: a buffer for the longest would be zeroed each time, here and in the child.
        let size = match next_size(self.0.as_fd()) {
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            result => result.fails(|| "recv")?,
        };
        let mut bytes = vec![0; size];
        let (count, fd) = match receive_fd(self.0.as_fd(), &mut bytes) {
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            result => result.fails(|| "recvmsg")?,
        };
        if count == 0 {
            return Ok(None);
        }
        match Message::decode(&bytes[..count]) {
            Some(message) => Ok(Some((message, fd))),
            None => bail!("invalid message from the container's process"),
        }
    }

    /// In the child: enters its groups, and reports the result if the parent cannot know it.
    pub(crate) fn enter(&self, entrance: Entrance) -> Result<()> {
        match entrance.enter() {
            Some(entered) => self.send(&Message::Entered(entered)),
            None => Ok(()),
        }
    }

    /// In the parent: whether the child is in its groups.
    pub(crate) fn entered(&self, entrance: Entrance) -> Result<bool> {
        if let Some(entered) = entrance.entered() {
            return Ok(entered);
        }
        match self.receive()? {
            Some((Message::Entered(entered), _)) => Ok(entered),
            Some((Message::Error(text), _)) => bail!(text),
            _ => bail!("the new process ended unexpectedly"),
        }
    }

    /// In the child: sends a request and waits until it is done.
    pub(crate) fn tell_and_wait(&self, message: &Message) -> Result<()> {
        self.send(message)?;
        self.expect(&Message::Continue)
    }

    /// In the child: lets the parent duplicate the listener of the seccomp filter. Under that filter, it takes read and write only.
    pub(crate) fn hand_over_listener(&self, listener: RawFd) -> Result<()> {
        self.send(&Message::SeccompListener(listener))?;
        let mut bytes = [0; 16];
        let count = loop {
            match rustix::io::read(&self.0, &mut bytes) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result.fails(|| "read from the parent")?,
            }
        };
        match Message::decode(&bytes[..count]) {
            Some(Message::Continue) => Ok(()),
            _ => Err(Gone(format!("{:?}", Message::Continue)).into()),
        }
    }

    /// In the child: lets the parent open the source of a mount.
    pub(crate) fn ask_for_tree(&self, index: usize) -> Result<OwnedFd> {
        self.send(&Message::Tree(index as i32))?;
        match self.receive()? {
            Some((Message::Tree(_), Some(tree))) => Ok(tree),
            Some((Message::Error(text), _)) => bail!(text),
            other => bail!("unexpected answer {other:?} for a mount"),
        }
    }

    /// In the child: reports an error and exits.
    pub(crate) fn fail(&self, error: &anyhow::Error) -> ! {
        let text = format!("{error:#}");
        // A parent that ended while its answer was expected has reported its own error.
        let gone = error.chain().any(|cause| cause.is::<Gone>());
        if self.send_last(&Message::Error(text.clone())).is_err() && !gone {
            // The parent no longer listens. As in runc, the error goes to the container's standard error.
            log::say(&text);
        }
        syscall::exit(1)
    }

    /// Sends a message without a signal if the other side is gone: shortly before execve, SIGPIPE has its default action again.
    fn send_last(&self, message: &Message) -> Result<()> {
        match rustix::net::send(&self.0, &message.encode(), SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => bail!("the other process has ended"),
            // The seccomp filter stops this call.
            Err(_) => self.send(message),
            Ok(_) => Ok(()),
        }
    }

    /// Waits for one particular message.
    pub(crate) fn expect(&self, wanted: &Message) -> Result<()> {
        match self.receive()? {
            Some((message, _)) if message == *wanted => Ok(()),
            Some((message, _)) => bail!("unexpected message {message:?}, expected {wanted:?}"),
            None => Err(Gone(format!("{wanted:?}")).into()),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive() {
        let (one, other) = Channel::pair().unwrap();
        for text in ["é".to_owned(), "é".repeat(10_000)] {
            one.send(&Message::Error(text.clone())).unwrap();
            assert_eq!(other.receive().unwrap().unwrap().0, Message::Error(text));
        }
        one.send_fd(&Message::Pty, one.as_fd()).unwrap();
        assert!(matches!(other.receive().unwrap(), Some((Message::Pty, Some(_)))));
        drop(one);
        assert!(other.receive().unwrap().is_none());
    }
}
