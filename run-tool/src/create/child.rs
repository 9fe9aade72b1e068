//! The child's side of the talk, as far as the first process and those of exec do the same between the clone and execve.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::process::{DumpableBehavior, Pid as RustixPid, PidfdFlags, Signal};

use super::talk::{Channel, Message};
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};
use crate::kernel::{socket, terminal};
use crate::program::Program;

/// A process that is to become a program in a container.
pub(super) trait Child {
    /// The process in between: enters what holds only for its children.
    fn enter_first(&self) -> Result<()>;

    /// The process itself: becomes the program. Returns only if execve failed.
    fn set_up(&mut self, channel: &Channel) -> Result<anyhow::Error>;
}

/// The process itself, which never returns from here.
pub(super) fn run(child: &mut impl Child, channel: &Channel) -> ! {
    channel.take_log();
    let error = match child.set_up(channel) {
        Ok(error) | Err(error) => error,
    };
    channel.fail(&error)
}

/// The process in between: clones the process itself with `flags`, as a child of its own parent, and goes.
pub(super) fn run_stage(child: &mut impl Child, channel: &Channel, flags: u64) -> ! {
    let stage = || -> Result<Option<Pid>> {
        child.enter_first()?;
        syscall::clone(flags | libc::CLONE_PARENT as u64, None).fails(|| "clone").map_err(Into::into)
    };
    match stage() {
        Ok(None) => run(child, channel),
        Ok(Some(pid)) => {
            // Nobody to tell if the parent is gone.
            let _ = channel.send(&Message::Pid(pid));
            syscall::exit(0)
        }
        Err(error) => channel.fail(&error),
    }
}

/// Without its parent a half-made container has no purpose.
pub(super) fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
    Ok(())
}

/// Keeps others in the container from looking into this process while it still holds what is the host's (CVE-2016-9962). The
/// kernel forgets it when the ids change.
pub(super) fn hide() -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).fails(|| "prctl(PR_SET_DUMPABLE)")?;
    Ok(())
}

/// Takes over streams that are not the caller's.
pub(super) fn set_streams(streams: Option<[OwnedFd; 3]>) -> Result<()> {
    for (number, stream) in streams.iter().flatten().enumerate() {
        syscall::dup_to(stream.as_fd(), number as i32).fails(|| "dup3")?;
    }
    Ok(())
}

/// Gives the program a terminal, whose other end goes to the console socket or to the parent. `show` may put it elsewhere too.
pub(super) fn make_terminal(
    console: Option<OwnedFd>,
    (width, height): (u16, u16),
    channel: &Channel,
    show: impl FnOnce(&OwnedFd) -> Result<()>,
) -> Result<()> {
    let (master, slave) = terminal::allocate()?;
    terminal::resize(master.as_fd(), width, height)?;
    show(&slave)?;
    match console {
        Some(socket) => terminal::send_to_socket(socket.as_fd(), master.as_fd())?,
        None => channel.send_fd(&Message::Pty, master.as_fd())?,
    }
    terminal::become_controlling(&slave)
}

/// Sends a descriptor of this process to `--pidfd-socket`, if there is one.
pub(super) fn send_pidfd(socket: Option<OwnedFd>) -> Result<()> {
    let Some(socket) = socket else { return Ok(()) };
    let own = RustixPid::from_raw(std::process::id() as i32).context("pid")?;
    let pidfd = rustix::process::pidfd_open(own, PidfdFlags::empty()).fails(|| "failed to setup pidfd: pidfd_open")?;
    socket::send_fd(socket.as_fd(), b"standard", pidfd.as_fd()).fails(|| "failed to send pidfd on socket")?;
    Ok(())
}

/// Has the parent do the last that it does, and takes on the program's rights. Gives the file to execute.
pub(super) fn take_on(program: &mut Program, channel: &Channel) -> Result<CString> {
    program.settle()?;
    channel.tell_and_wait(&Message::Ready)?;
    let path = program.take_on(&|listener| channel.hand_over_listener(listener))?;
    // Changing the user has cleared it already; a program that starts as root must not have it either.
    rustix::process::set_parent_process_death_signal(None).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
    Ok(path)
}
