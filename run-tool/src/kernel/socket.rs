//! Unix sockets: passing of descriptors, paths that are too long for an address, and listeners that come late.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

use super::error::Fails;

/// Waits for a packet, and returns its size. Zero: the other side has closed.
pub(crate) fn next_size(socket: BorrowedFd<'_>) -> rustix::io::Result<usize> {
    let nothing: &mut [u8] = &mut [];
    loop {
        match rustix::net::recv(socket, &mut *nothing, RecvFlags::PEEK | RecvFlags::TRUNC) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map(|(_, size)| size),
        }
    }
}

/// Receives bytes from a Unix socket, and the descriptor that may come with them. No bytes: the other side has closed.
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

/// Sends bytes with a descriptor over a Unix socket.
pub(crate) fn send_fd(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "the buffer has room for one descriptor");
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A path that fits into a socket address. If it is too long it leads through `/proc/self/fd` and the returned folder, which must
/// stay open until the path has been used.
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

/// How long `connect` waits for a listener.
const LISTENER: Duration = Duration::from_secs(1);

/// Connects to a Unix socket. The program that is to listen may just be starting: some callers start it at the same time as the
/// runtime (runc's own tests do so with `recvtty`) and rely on runc to be slower.
pub(crate) fn connect(path: &Path) -> Result<OwnedFd> {
    let fail = || format!("dial unix {}", path.display());
    let (_folder, address) = reach(path)?;
    let address = rustix::net::SocketAddrUnix::new(&address).fails(fail)?;
    let deadline = Instant::now() + LISTENER;
    loop {
        // A socket whose connection was refused cannot be used again.
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .fails(fail)?;
        match rustix::net::connect(&socket, &address) {
            // The file does not exist yet, or nobody listens yet.
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
    fn connect_waits_for_a_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        std::thread::scope(|scope| {
            let connection = scope.spawn(|| connect(&path));
            // Give `connect` time to be too early.
            sleep(Duration::from_millis(30));
            let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            connection.join().unwrap().unwrap();
        });
        let error = connect(&folder.path().join("nobody")).unwrap_err();
        assert!(format!("{error:#}").ends_with("nobody: connect: no such file or directory"), "{error:#}");
    }
}
