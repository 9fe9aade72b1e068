//! Pseudoterminals: one for the container, and the caller's own in raw mode meanwhile.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Termios, Winsize};

use crate::kernel::error::Fails;
use crate::kernel::syscall;
use anyhow::{Result, bail};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A new pty of the container's own devpts: its master and its slave.
pub(crate) fn allocate() -> Result<(OwnedFd, OwnedFd)> {
    const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty()).fails(|| "open /dev/pts/ptmx")?;
    let stat = rustix::fs::fstat(&handle).fails(|| "fstat /dev/pts/ptmx")?;
    let statfs = rustix::fs::fstatfs(&handle).fails(|| "fstatfs /dev/pts/ptmx")?;
    // An image could have put another device there, to be opened as root (CVE-2025-52565).
    if statfs.f_type != DEVPTS_SUPER_MAGIC || stat.st_ino != 2 || stat.st_rdev != rustix::fs::makedev(5, 2) {
        bail!("verify ptmx handle: /dev/pts/ptmx is not that of a real devpts mount");
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = rustix::fs::open("/dev/pts", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .fails(|| "open /dev/pts")?;
    let master = rustix::fs::openat2(&parent, "ptmx", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        .fails(|| "open /dev/pts/ptmx")?;
    // Between the two opens it could have been exchanged: the one that counts is the one that is open.
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

/// Sets the size, unless it is zero.
pub(crate) fn resize(terminal: BorrowedFd<'_>, width: u16, height: u16) -> Result<()> {
    if width != 0 && height != 0 {
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size).fails(|| "ioctl(TIOCSWINSZ)")?;
    }
    Ok(())
}

/// Makes the slave the standard streams and the controlling terminal of the caller, who leads a session.
pub(crate) fn become_controlling(slave: &OwnedFd) -> Result<()> {
    for number in 0..3 {
        syscall::dup_to(slave.as_fd(), number).fails(|| "dup3")?;
    }
    rustix::process::ioctl_tiocsctty(slave).fails(|| "ioctl(setctty)")?;
    Ok(())
}

/// Prepares the container's pty to be shown in the caller's terminal, before anything writes to it: no translation of
/// newlines, as with runc, and the same size.
pub(crate) fn prepare(master: &OwnedFd) -> Result<()> {
    let mut attributes = rustix::termios::tcgetattr(master).fails(|| "tcgetattr")?;
    attributes.output_modes.remove(OutputModes::ONLCR);
    rustix::termios::tcsetattr(master, OptionalActions::Now, &attributes).fails(|| "tcsetattr")?;
    // A terminal without a size gives none.
    let _ = Host::find().map(|host| host.copy_size(master.as_fd()));
    Ok(())
}

/// The terminal that the caller sits at. Dropping it puts its settings back.
#[derive(Debug)]
pub(crate) struct Host {
    file: File,
    before: Option<Termios>,
}

impl Host {
    /// Finds the caller's terminal among the standard streams, or the controlling terminal.
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

    /// Every key goes to the container, from now on.
    pub(crate) fn set_raw(&mut self) -> Result<()> {
        let before = rustix::termios::tcgetattr(&self.file).fails(|| "tcgetattr")?;
        let mut raw = before.clone();
        raw.make_raw();
        // Lines end with a return here, once for all, since the container's pty no longer adds it (`prepare`).
        raw.output_modes.insert(OutputModes::OPOST);
        rustix::termios::tcsetattr(&self.file, OptionalActions::Now, &raw)
            .fails(|| "failed to set the terminal from the stdin")?;
        self.before = Some(before);
        Ok(())
    }

    /// Its columns and rows.
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
            // The terminal may be gone, and there is nobody to tell.
            let _ = rustix::termios::tcsetattr(&self.file, OptionalActions::Now, before);
        }
    }
}

/// Sends the master to whoever listens at `--console-socket`.
pub(crate) fn send_to_socket(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<()> {
    super::socket::send_fd(socket, b"/dev/ptmx", master).fails(|| "sendmsg of the console")?;
    Ok(())
}
