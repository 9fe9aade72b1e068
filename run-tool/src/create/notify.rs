//! sd_notify(3): the container reports readiness, and run-tool passes it on to the `NOTIFY_SOCKET` of its caller.
//!
//! The container gets a socket of its own. run-tool passes on only the first line of the first datagram that begins with `READY=`,
//! and adds which process is the main one. A container may tell the host's systemd nothing else.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;

use crate::kernel::error::Fails;
use crate::kernel::process::Process;
use crate::kernel::syscall::Pid;
use crate::kernel::{log, socket};
use crate::rootfs::mount::Mount;
use crate::rootfs::option;

/// The folder of the socket, in the container's folder.
pub(crate) const FOLDER: &str = "notify";

/// The mount point of that folder in the container.
pub(crate) const INSIDE: &str = "/run/notify";

/// The variable that tells the container's program where the socket is.
pub(crate) const VARIABLE: &str = "NOTIFY_SOCKET=/run/notify/notify.sock";

const SOCKET: &str = "notify.sock";

/// The caller's socket, if there is one.
pub(crate) fn host() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|host| !host.is_empty())
}

/// The mount that makes the socket visible in the container.
pub(crate) fn mount(folder: &Path) -> Mount {
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned);
    Mount {
        source: folder.join(FOLDER),
        destination: PathBuf::from(INSIDE),
        kind: "bind".to_owned(),
        options: option::parse(&options),
        id_maps: None,
    }
}

/// Creates the folder of the socket. When a container is started `again` the folder exists.
pub(crate) fn make_folder(folder: &Path, again: bool) -> Result<()> {
    let path = folder.join(FOLDER);
    match fs::DirBuilder::new().mode(0o755).create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && again => {}
        result => result.fails(|| format!("mkdir {}", path.display()))?,
    }
    Ok(())
}

/// Creates the folder of the socket, and the socket unless `start` does that. When a container is started `again`, its supervisor has
/// reported readiness before, so nobody listens.
pub(crate) fn prepare(folder: &Path, host: &OsString, again: bool, wait_for_start: bool) -> Result<Option<Notify>> {
    make_folder(folder, again)?;
    if wait_for_start || again {
        return Ok(None);
    }
    Notify::listen(folder, host.clone()).map(Some)
}

/// The container's socket, and the caller's.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: UnixDatagram,
    host: OsString,
    told: bool,
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Notify {
    /// Listens at the container's socket.
    pub(crate) fn listen(folder: &Path, host: OsString) -> Result<Self> {
        let path = folder.join(FOLDER).join(SOCKET);
        let name = || format!("listen unixgram {}: bind", path.display());
        let (_folder, short) = socket::reach(&path)?;
        let socket = UnixDatagram::bind(short).fails(name)?;
        // The container may run as any user.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).fails(|| format!("chmod {}", path.display()))?;
        Self::new(socket.into(), host)
    }

    /// Takes over a socket that another process has bound.
    pub(crate) fn new(socket: OwnedFd, host: OsString) -> Result<Self> {
        let socket = UnixDatagram::from(socket);
        socket.set_nonblocking(true).fails(|| "O_NONBLOCK")?;
        Ok(Self { socket, host, told: false })
    }

    /// Waits until the container is ready or has ended, and passes readiness on with `main` as the main process.
    pub(crate) fn wait(mut self, container: Option<&Process>, main: Pid) -> Result<()> {
        loop {
            // Checked before the socket is read, so that a message sent just before the end counts.
            let ended = match container {
                None => true,
                Some(process) => process.wait(Some(self.socket.as_fd()), None).fails(|| "poll notify socket")?.ended,
            };
            if let Some(barrier) = self.serve(main)? {
                return wait_for(&barrier);
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Reads the datagrams that have come and passes readiness on. All others are discarded, so that the container never waits for a
    /// reader. After readiness it returns a pipe that is closed when the host has read everything.
    pub(crate) fn serve(&mut self, main: Pid) -> Result<Option<OwnedFd>> {
        loop {
            // runc's size. Without room for them, the kernel closes descriptors that are sent along.
            let mut buffer = [0; 4096];
            let count = match self.socket.recv(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).fails(|| "read of the notify socket").map_err(Into::into),
            };
            if let Some(line) = ready(&buffer[..count]).filter(|_| !self.told) {
                self.told = true;
                return self.tell(line, main).map(Some);
            }
        }
    }

    fn tell(&self, line: &[u8], main: Pid) -> Result<OwnedFd> {
        let name = || format!("dial unixgram {}", self.host.display());
        let client = UnixDatagram::unbound().fails(name)?;
        match self.host.as_bytes().strip_prefix(b"@") {
            Some(name_of) => {
                let address = SocketAddr::from_abstract_name(name_of).fails(name)?;
                client.connect_addr(&address).fails(name)?;
            }
            None => {
                let (_folder, short) = socket::reach(Path::new(&self.host))?;
                client.connect(short).fails(name)?;
            }
        }
        client.send(&[line, b"\n"].concat()).fails(name)?;
        client.send(format!("MAINPID={main}\n").as_bytes()).fails(name)?;
        let (end, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).fails(|| "pipe")?;
        socket::send_fd(client.as_fd(), b"BARRIER=1", theirs.as_fd()).fails(name)?;
        Ok(end)
    }
}

/// Logs a failure to pass readiness on. It does not stop the container.
pub(crate) fn report<T>(result: Result<T>) {
    if let Err(error) = result {
        log::warn(&format!("NOTIFY_SOCKET: {error:#}"));
    }
}

/// The line of a datagram to pass on. `None`: the datagram does not begin with `READY=`.
fn ready(datagram: &[u8]) -> Option<&[u8]> {
    if datagram.starts_with(b"READY=") { datagram.split(|byte| *byte == b'\n').next() } else { None }
}

/// Waits until the host has closed its end of a barrier (sd_notify_barrier(3)).
fn wait_for(barrier: &OwnedFd) -> Result<()> {
    let half_a_minute = Timespec { tv_sec: 30, tv_nsec: 0 };
    let ready = loop {
        match rustix::event::poll(&mut [PollFd::new(barrier, PollFlags::IN)], Some(&half_a_minute)) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result.fails(|| "poll barrier")?,
        }
    };
    if ready == 0 {
        log::warn("Timeout after waiting 30s for barrier. Ignored.");
    } else if rustix::io::read(barrier, &mut [0; 1]) != Ok(0) {
        bail!("unexpected read from synchronization pipe");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ready_line_at_the_beginning_of_a_datagram_is_passed_on() {
        assert_eq!(ready(b"READY=1\nMAINPID=1\nSTATUS=x"), Some(&b"READY=1"[..]));
        assert_eq!(ready(b"READY=1"), Some(&b"READY=1"[..]));
        for datagram in [&b"STATUS=x\nREADY=1"[..], b"MAINPID=1\n", b" READY=1", b"ready=1", b""] {
            assert_eq!(ready(datagram), None);
        }
    }
}
