//! The parent's side: it answers a child's messages until the child's program runs.

use std::os::fd::OwnedFd;

use anyhow::{Result, bail};

use super::agent;
use super::child::{self, Child};
use super::talk::{Channel, Ends, Message};
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};

/// The parent's reactions to a child's messages.
pub(super) trait Parent {
    /// The name of the child in errors.
    const CHILD: &'static str;

    /// The mounts are made: run the hooks of the runtime namespace.
    fn run_hooks(&mut self) -> Result<()> {
        bail!("unexpected message {:?} from {}", Message::Hooks, Self::CHILD)
    }

    /// The child has no access to the source of a mount: open it and send it.
    fn open_tree(&mut self, _channel: &Channel, index: i32) -> Result<()> {
        bail!("unexpected message {:?} from {}", Message::Tree(index), Self::CHILD)
    }

    /// The child has sent the master of its terminal.
    fn prepare(&mut self, terminal: &OwnedFd) -> Result<()>;

    /// The child is set up completely.
    fn ready(&mut self) -> Result<()>;

    /// The child's seccomp filter has a listener: send it to the agent.
    fn hand_on(&mut self, listener: &OwnedFd) -> Result<()>;

    /// The error for a child that reported a failure. `ready`: it had been set up before.
    fn failed(&self, text: String, ready: bool) -> anyhow::Error;

    /// The error for a child that ended without a message.
    fn ended(&self) -> anyhow::Error;
}

/// Answers a child until its program runs or waits for `start`. The child must be in its groups and have its ids.
pub(super) fn answer<P: Parent>(parent: &mut P, channel: &Channel, pid: Pid) -> Result<Ends> {
    channel.send(&Message::Go)?;
    let mut ends = Ends::default();
    let mut ready = false;
    loop {
        match channel.receive()? {
            Some((Message::Tree(index), _)) => parent.open_tree(channel, index)?,
            Some((Message::Hooks, _)) => {
                parent.run_hooks()?;
                channel.send(&Message::Continue)?;
            }
            Some((Message::Pty, fd)) => {
                ends.terminal = fd;
                if let Some(terminal) = &ends.terminal {
                    parent.prepare(terminal)?;
                }
            }
            Some((Message::Pipe(number), Some(pipe))) => ends.pipes.push((number, pipe)),
            Some((Message::Ready, _)) => {
                parent.ready()?;
                ready = true;
                channel.send(&Message::Continue)?;
            }
            Some((Message::SeccompListener(fd), _)) => {
                let listener = agent::fetch(pid, fd)?;
                channel.send(&Message::Continue)?;
                parent.hand_on(&listener)?;
            }
            Some((Message::Waiting, _)) => return Ok(ends),
            Some((Message::Error(text), _)) => return Err(parent.failed(text, ready)),
            // execve has closed the child's end of the socket: the program runs.
            None if ready => return Ok(ends),
            None => return Err(parent.ended()),
            Some((message, _)) => bail!("unexpected message {message:?} from {}", P::CHILD),
        }
    }
}

/// Clones a child through an intermediate process, which is then reaped. The child is a child of this process too. Returns its id and
/// the parent's end of the channel. `what` is the message if the intermediate process cannot be cloned.
pub(super) fn clone_by_stage(
    child: &mut impl Child,
    (ours, theirs): (Channel, Channel),
    flags: u64,
    what: &'static str,
) -> Result<(Pid, Channel)> {
    let Some(stage) = syscall::clone(0, None).fails(|| what)? else {
        // Otherwise it would itself keep the parent's end open, and never notice the end of its parent.
        drop(ours);
        child::run_stage(child, &theirs, flags)
    };
    drop(theirs);
    let pid = match ours.receive()? {
        Some((Message::Pid(pid), _)) => Ok(pid),
        Some((Message::Error(text), _)) => Err(anyhow::anyhow!(text)),
        _ => Err(anyhow::anyhow!("the process that enters the namespaces ended unexpectedly")),
    };
    syscall::wait(stage, true)?;
    Ok((pid?, ours))
}
