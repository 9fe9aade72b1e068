//! The child's side between clone and execve, as far as it is the same for the init process and for `exec`.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::process::{DumpableBehavior, Pid as RustixPid, PidfdFlags, Signal};

use super::talk::{Channel, Ends, Message};
use crate::kernel::device::is_null;
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};
use crate::kernel::{socket, terminal};
use crate::program::Program;

/// A process that is to become a program in a container.
pub(super) trait Child {
    /// In the intermediate process: enters the namespaces that only apply to its children.
    fn enter_first(&self) -> Result<()>;

    /// In the child: sets everything up and executes the program. Returns only if execve fails.
    fn set_up(&mut self, channel: &Channel) -> Result<anyhow::Error>;
}

/// Runs the child. It never returns from here.
pub(super) fn run(child: &mut impl Child, channel: &Channel) -> ! {
    channel.take_log();
    let error = match child.set_up(channel) {
        Ok(error) | Err(error) => error,
    };
    channel.fail(&error)
}

/// Runs the intermediate process: it clones the child with `flags` as a child of its own parent, and exits.
pub(super) fn run_stage(child: &mut impl Child, channel: &Channel, flags: u64) -> ! {
    let stage = || -> Result<Option<Pid>> {
        child.enter_first()?;
        syscall::clone(flags | libc::CLONE_PARENT as u64, None).fails(|| "clone").map_err(Into::into)
    };
    match stage() {
        Ok(None) => run(child, channel),
        Ok(Some(pid)) => {
            // If the parent is gone there is nobody to tell.
            let _ = channel.send(&Message::Pid(pid));
            syscall::exit(0)
        }
        Err(error) => channel.fail(&error),
    }
}

/// Lets this process die with its parent: nobody else can complete a half-made container.
pub(super) fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).fails(|| "prctl(PR_SET_PDEATHSIG)")?;
    Ok(())
}

/// Keeps other processes in the container from inspecting this one while it still has access to the host (CVE-2016-9962). The kernel
/// resets this when the ids change.
pub(super) fn hide() -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).fails(|| "prctl(PR_SET_DUMPABLE)")?;
    Ok(())
}

/// Replaces the standard streams, if the caller's are not to be used.
pub(super) fn set_streams(streams: Option<[OwnedFd; 3]>) -> Result<()> {
    for (number, stream) in streams.iter().flatten().enumerate() {
        syscall::dup_to(stream.as_fd(), number as i32).fails(|| "dup3")?;
    }
    Ok(())
}

/// Puts pipes in place of the caller's streams and sends the other ends to the parent: what the caller has passed is not the
/// container's, and could be truncated or given away by it. `/dev/null` stays, since nothing can be done with it.
pub(super) fn make_pipes(channel: &Channel) -> Result<()> {
    for number in 0..3 {
        let stream = syscall::borrow_fd(number);
        if stream.is_some_and(|stream| rustix::fs::fstat(stream).is_ok_and(|stat| is_null(&stat))) {
            continue;
        }
        let (theirs, ours) = Ends::pipe(number)?;
        channel.send_fd(&Message::Pipe(number), ours.as_fd())?;
        syscall::dup_to(theirs.as_fd(), number).fails(|| "dup3")?;
    }
    Ok(())
}

/// Gives the program a terminal, and sends its master to the console socket or to the parent. `show` is called with the slave.
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

/// Sends a pidfd of this process to the socket, if there is one (`--pidfd-socket`).
pub(super) fn send_pidfd(socket: Option<OwnedFd>) -> Result<()> {
    let Some(socket) = socket else { return Ok(()) };
    let own = RustixPid::from_raw(std::process::id() as i32).context("pid")?;
    let pidfd = rustix::process::pidfd_open(own, PidfdFlags::empty()).fails(|| "failed to setup pidfd: pidfd_open")?;
    socket::send_fd(socket.as_fd(), b"standard", pidfd.as_fd()).fails(|| "failed to send pidfd on socket")?;
    Ok(())
}

/// Waits for the parent's last steps and takes on the program's user and restrictions. Returns the file to execute.
pub(super) fn take_on(program: &mut Program, channel: &Channel) -> Result<CString> {
    program.settle()?;
    channel.tell_and_wait(&Message::Ready)?;
    program.take_on(&|listener| channel.hand_over_listener(listener))
}
