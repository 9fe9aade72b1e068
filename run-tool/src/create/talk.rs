//! The talk between run-tool and the process that becomes the container's: packets over a socket pair, one message each.
//!
//! The end of the talk is the end of the socket: the child's end is closed by the kernel at a successful execve.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

use crate::kernel::error::Fails;
use crate::kernel::log::{self, Level};

const LIMIT: usize = 32 * 1024;

/// The other side went while it was to answer.
#[derive(Debug, thiserror::Error)]
#[error("the other process ended while {0} was expected")]
pub(crate) struct Gone(String);

/// What one side tells the other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Parent: you are in your groups and have your ids; begin.
    Go,
    /// Child: I have moved into my groups, or could not.
    Entered(bool),
    /// Intermediate child: the container's process has this id.
    Pid(i32),
    /// Child: the mounts are there; run the hooks of the runtime namespace.
    Hooks,
    /// Parent: done, go on.
    Continue,
    /// Child: set up; parent: stored, go on with `Continue`.
    Ready,
    /// Child: this descriptor of mine is the seccomp listener; take it.
    SeccompListener(i32),
    /// Child: this is the pty (with a descriptor).
    Pty,
    /// Child: open the source of this mount for me; the answer (with a descriptor) is the same.
    Tree(i32),
    /// Child: about to wait for `start`.
    Waiting,
    /// Child: a record for the log.
    Log(Level, String),
    /// Child: failed, for this reason.
    Error(String),
}

/// As much of a text as fits into a packet.
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

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (one, other) = pair.fails(|| "socketpair")?;
        Ok((Self(one), Self(other)))
    }

    /// Tells the other side something.
    pub(crate) fn send(&self, message: &Message) -> Result<()> {
        let bytes = message.encode();
        loop {
            // A plain write: it passes even a seccomp filter that traps sendmsg. The child has SIGPIPE's default action only
            // right before execve, when it sends no more.
            match rustix::io::write(&self.0, &bytes) {
                Err(rustix::io::Errno::INTR) => {}
                result => {
                    result.fails(|| "write to the container's process")?;
                    return Ok(());
                }
            }
        }
    }

    /// Tells the other side something and hands it a descriptor.
    pub(crate) fn send_fd(&self, message: &Message, fd: BorrowedFd<'_>) -> Result<()> {
        send_fd(self.0.as_fd(), &message.encode(), fd).fails(|| "sendmsg")?;
        Ok(())
    }

    /// Another handle of the same end.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Waits for a message, and a descriptor that may come with it. `None`: the other side is gone. Records for the log are
    /// written on the way.
    pub(crate) fn receive(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        loop {
            match self.receive_one()? {
                Some((Message::Log(level, text), _)) => log::record(level, &text),
                other => return Ok(other),
            }
        }
    }

    fn receive_one(&self) -> Result<Option<(Message, Option<OwnedFd>)>> {
        let mut bytes = vec![0; LIMIT];
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

    /// Has the parent open the source of a mount.
    pub(crate) fn ask_for_tree(&self, index: i32) -> Result<OwnedFd> {
        self.send(&Message::Tree(index))?;
        match self.receive()? {
            Some((Message::Tree(_), Some(tree))) => Ok(tree),
            Some((Message::Error(text), _)) => bail!(text),
            other => bail!("unexpected answer {other:?} for a mount"),
        }
    }

    /// Waits for a certain message.
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

/// Receives bytes, and a descriptor that may come with them, from a Unix socket. No bytes: the other side is gone.
pub(crate) fn receive_fd(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> rustix::io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut buffers = [IoSliceMut::new(bytes)];
        match rustix::net::recvmsg(socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result?,
        }
    };
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            fd = fds.into_iter().next();
        }
    }
    Ok((received.bytes, fd))
}

/// Sends a descriptor with some bytes over a Unix socket.
pub(crate) fn send_fd(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "the buffer has room for one descriptor");
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A path that fits an address: one that is too long is reached through its folder, which is open as long as what is returned.
pub(crate) fn reach(path: &Path) -> Result<(Option<OwnedFd>, PathBuf)> {
    let (true, Some(parent), Some(name)) = (path.as_os_str().len() > 100, path.parent(), path.file_name()) else {
        return Ok((None, path.to_owned()));
    };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let folder =
        rustix::fs::open(parent, flags, rustix::fs::Mode::empty()).fails(|| format!("open {}", parent.display()))?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok((Some(folder), short))
}

/// How long a socket that nobody listens at yet is waited for.
const LISTENER: Duration = Duration::from_secs(1);

/// Connects to a Unix socket, for which the program that listens at it may only just have been started beside run-tool: runc is
/// slow enough never to be there first, and there are callers that count on it (runc's own tests start `recvtty` so).
pub(crate) fn connect(path: &Path) -> Result<OwnedFd> {
    let fail = || format!("dial unix {}", path.display());
    let (_folder, address) = reach(path)?;
    let address = rustix::net::SocketAddrUnix::new(&address).fails(fail)?;
    let deadline = Instant::now() + LISTENER;
    loop {
        // One that was refused is not used again.
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .fails(fail)?;
        match rustix::net::connect(&socket, &address) {
            // Not there, or there and not listened at.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED) if Instant::now() < deadline => {
                sleep(Duration::from_millis(2));
            }
            result => {
                result.fails(|| format!("dial unix {}: connect", path.display()))?;
                return Ok(socket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive() {
        let (one, other) = Channel::pair().unwrap();
        one.send(&Message::Error("é".into())).unwrap();
        assert_eq!(other.receive().unwrap().unwrap().0, Message::Error("é".into()));
        one.send_fd(&Message::Pty, one.as_fd()).unwrap();
        assert!(matches!(other.receive().unwrap(), Some((Message::Pty, Some(_)))));
        drop(one);
        assert!(other.receive().unwrap().is_none());
    }

    #[test]
    fn whoever_is_about_to_listen_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        std::thread::scope(|scope| {
            let connection = scope.spawn(|| connect(&path));
            // Time to be there too early.
            sleep(Duration::from_millis(30));
            let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            connection.join().unwrap().unwrap();
        });
        let error = connect(&folder.path().join("nobody")).unwrap_err();
        assert!(format!("{error:#}").ends_with("nobody: connect: no such file or directory"), "{error:#}");
    }
}
