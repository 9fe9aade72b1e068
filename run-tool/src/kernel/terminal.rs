//! Terminals: the container's pseudoterminal, and the caller's own terminal. The latter is in raw mode while the container runs.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Termios, Winsize};

use crate::kernel::error::Fails;
use crate::kernel::syscall;
use anyhow::{Result, bail};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Allocates a pty from the container's own devpts. Returns its master and its slave.
pub(crate) fn allocate() -> Result<(OwnedFd, OwnedFd)> {
    const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty()).fails(|| "open /dev/pts/ptmx")?;
    let stat = rustix::fs::fstat(&handle).fails(|| "fstat /dev/pts/ptmx")?;
    let statfs = rustix::fs::fstatfs(&handle).fails(|| "fstatfs /dev/pts/ptmx")?;
    // An image could have put another device there, which root would then open (CVE-2025-52565).
    if statfs.f_type != DEVPTS_SUPER_MAGIC || stat.st_ino != 2 || stat.st_rdev != rustix::fs::makedev(5, 2) {
        bail!("verify ptmx handle: /dev/pts/ptmx is not that of a real devpts mount");
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = rustix::fs::open("/dev/pts", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .fails(|| "open /dev/pts")?;
    let master = rustix::fs::openat(&parent, "ptmx", flags, Mode::empty()).fails(|| "open /dev/pts/ptmx")?;
    // It could have been exchanged between the check and the open, so check what is open now.
    let opened = rustix::fs::fstat(&master).fails(|| "fstat /dev/pts/ptmx")?;
    let statfs = rustix::fs::fstatfs(&master).fails(|| "fstatfs /dev/pts/ptmx")?;
    if statfs.f_type != DEVPTS_SUPER_MAGIC || opened.st_rdev != stat.st_rdev {
        bail!("verify ptmx handle: /dev/pts/ptmx changed while it was opened");
    }
    rustix::pty::unlockpt(&master).fails(|| "unlockpt")?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .fails(|| "failed to get peer end of newly-allocated console")?;
    Ok((master, slave))
}

/// Sets the size of a terminal. A zero leaves it as it is.
pub(crate) fn resize(terminal: BorrowedFd<'_>, width: u16, height: u16) -> Result<()> {
    if width != 0 && height != 0 {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size).fails(|| "ioctl(TIOCSWINSZ)")?;
    }
    Ok(())
}

/// Makes the slave the standard streams and the controlling terminal of this process, which must be a session leader.
pub(crate) fn become_controlling(slave: &OwnedFd) -> Result<()> {
    for number in 0..3 {
        syscall::dup_to(slave.as_fd(), number).fails(|| "dup3")?;
    }
    rustix::process::ioctl_tiocsctty(slave).fails(|| "ioctl(setctty)")?;
    Ok(())
}

/// Prepares the container's pty to be shown in the caller's terminal, before anything writes to it. As in runc, newlines are not
/// translated. It gets the size of the caller's terminal.
pub(crate) fn prepare(master: &OwnedFd) -> Result<()> {
    let mut attributes = rustix::termios::tcgetattr(master).fails(|| "tcgetattr")?;
    attributes.output_modes.remove(OutputModes::ONLCR);
    rustix::termios::tcsetattr(master, OptionalActions::Now, &attributes).fails(|| "tcsetattr")?;
    copy_size(master);
    Ok(())
}

/// Gives a pty the size of the caller's terminal, if that has one.
pub(crate) fn copy_size(master: &OwnedFd) {
    let _ = Host::find().map(|host| host.copy_size(master.as_fd()));
}

/// The caller's terminal. When it is dropped its settings are restored.
#[derive(Debug)]
pub(crate) struct Host {
    file: File,
    before: Option<Termios>,
}

impl Host {
    /// Finds the terminal: the first of the standard streams that is one, or the controlling terminal.
    pub(crate) fn find() -> Result<Self> {
        for number in [2, 1, 0] {
            if let Some(stream) = syscall::borrow_fd(number)
                && rustix::termios::isatty(stream)
            {
                let file = stream.try_clone_to_owned().fails(|| "dup of the terminal")?;
                return Ok(Self { file: file.into(), before: None });
            }
        }
        let file = File::open(Path::new("/dev/tty")).fails(|| "open /dev/tty")?;
        Ok(Self { file, before: None })
    }

    /// Switches to raw mode, so that every key goes to the container. With `newlines` they are translated here, because the container's
    /// pty does not ([`prepare`]).
    pub(crate) fn set_raw(&mut self, newlines: bool) -> Result<()> {
        let before = rustix::termios::tcgetattr(&self.file).fails(|| "tcgetattr")?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.output_modes.set(OutputModes::OPOST, newlines);
        rustix::termios::tcsetattr(&self.file, OptionalActions::Now, &raw)
            .fails(|| "failed to set the terminal from the stdin")?;
        self.before = Some(before);
        Ok(())
    }

    /// The number of columns and rows.
    pub(crate) fn size(&self) -> Option<(u16, u16)> {
        rustix::termios::tcgetwinsize(&self.file).ok().map(|size| (size.ws_col, size.ws_row))
    }

    /// Gives the container's terminal the size of this one.
    pub(crate) fn copy_size(&self, master: BorrowedFd<'_>) -> io::Result<()> {
        let size = rustix::termios::tcgetwinsize(&self.file)?;
        rustix::termios::tcsetwinsize(master, size)?;
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // The terminal may be gone; then there is nobody to tell.
            let _ = rustix::termios::tcsetattr(&self.file, OptionalActions::Now, before);
        }
    }
}

/// Sends the master to the listener at `--console-socket`.
pub(crate) fn send_to_socket(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<()> {
    super::socket::send_fd(socket, b"/dev/ptmx", master).fails(|| "sendmsg of the console")?;
    Ok(())
}
