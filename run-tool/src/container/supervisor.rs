//! The socket of a container's supervisor, a file in the container's folder. It is open as long as the supervisor has work to do, which is
//! longer than the container runs.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::kernel::error::Fails;
use crate::kernel::procfs::proc_path;

/// The socket's name in the container's folder.
pub(crate) const SOCKET: &str = "attach.sock";

/// How long a command waits for a supervisor.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The address of the socket in a folder, by a path that is short enough for a socket address.
pub(crate) fn address(folder: &OwnedFd) -> Result<SocketAddrUnix> {
    let path = format!("{}/{SOCKET}", proc_path(folder.as_fd()));
    SocketAddrUnix::new(path.as_str()).fails(|| path).map_err(Into::into)
}

/// Opens a container's folder for `address`.
pub(crate) fn open(folder: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty()).fails(|| format!("open {}", folder.display())).map_err(Into::into)
}

/// Connects to the supervisor of the container in a folder.
pub(crate) fn connect(folder: &Path) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .fails(|| "socket")?;
    rustix::net::connect(&socket, &address(&open(folder)?)?)
        .fails(|| format!("connect {}", folder.join(SOCKET).display()))?;
    Ok(socket)
}

/// Waits until the supervisor of a container that has ended has done its work: until then it writes to the container's folder, and takes away
/// what the container held. Returns whether it has within the limit; at once if there is none.
pub(crate) fn wait(folder: &Path, limit: Duration) -> bool {
    let Ok(socket) = connect(folder) else { return true };
    let deadline = Instant::now() + limit;
    let mut buffer = [0; 1];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut polled = [PollFd::new(&socket, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
        // A packet longer than the buffer is cut; all that matters is the end.
        match rustix::net::recv(&socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, 1..)) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Ok((_, 0)) | Err(_) => return true,
        }
    }
}
