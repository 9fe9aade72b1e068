//! The parent's side of the talk: a child is answered until its program runs.

use std::os::fd::OwnedFd;

use anyhow::{Result, bail};

use super::agent;
use super::child::{self, Child};
use super::talk::{Channel, Message};
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, Pid};

/// What the parent does at the words of its child.
pub(super) trait Parent {
    /// What the child is called in errors.
    const CHILD: &'static str;

    /// The mounts are there: the hooks of the runtime namespace are due.
    fn run_hooks(&mut self) -> Result<()> {
        bail!("unexpected message {:?} from {}", Message::Hooks, Self::CHILD)
    }

    /// The child may not open the source of a mount: answers with it.
    fn open_tree(&mut self, _channel: &Channel, index: i32) -> Result<()> {
        bail!("unexpected message {:?} from {}", Message::Tree(index), Self::CHILD)
    }

    /// The terminal has come here.
    fn prepare(&mut self, terminal: &OwnedFd) -> Result<()>;

    /// The child is set up.
    fn ready(&mut self) -> Result<()>;

    /// The child's filter has a listener.
    fn hand_on(&mut self, listener: &OwnedFd) -> Result<()>;

    /// The child has failed.
    fn failed(&self, text: String, ready: bool) -> anyhow::Error;

    /// The child has ended without a word.
    fn ended(&self) -> anyhow::Error;
}

/// Answers a child, which has its groups and ids, until its program runs or waits for `start`. Gives the terminal, if it comes here.
pub(super) fn answer<P: Parent>(parent: &mut P, channel: &Channel, pid: Pid) -> Result<Option<OwnedFd>> {
    channel.send(&Message::Go)?;
    let mut terminal = None;
    let mut ready = false;
    loop {
        match channel.receive()? {
            Some((Message::Tree(index), _)) => parent.open_tree(channel, index)?,
            Some((Message::Hooks, _)) => {
                parent.run_hooks()?;
                channel.send(&Message::Continue)?;
            }
            Some((Message::Pty, fd)) => {
                terminal = fd;
                if let Some(terminal) = &terminal {
                    parent.prepare(terminal)?;
                }
            }
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
            Some((Message::Waiting, _)) => return Ok(terminal),
            Some((Message::Error(text), _)) => return Err(parent.failed(text, ready)),
            // The end of a socket that closes at execve: the program runs.
            None if ready => return Ok(terminal),
            None => return Err(parent.ended()),
            Some((message, _)) => bail!("unexpected message {message:?} from {}", P::CHILD),
        }
    }
}

/// Clones a child by way of a process in between, and waits for that. Gives the child, which is the caller's too, and the caller's
/// end. `what` says what failed if there is not even the process in between.
pub(super) fn clone_by_stage(
    child: &mut impl Child,
    (ours, theirs): (Channel, Channel),
    flags: u64,
    what: &'static str,
) -> Result<(Pid, Channel)> {
    let Some(stage) = syscall::clone(0, None).fails(|| what)? else {
        // Or it would keep open the very end whose closing tells it that its parent is gone.
        drop(ours);
        child::run_stage(child, &theirs, flags)
    };
    drop(theirs);
    let pid = match ours.receive()? {
        Some((Message::Pid(pid), _)) => Ok(pid),
        Some((Message::Error(text), _)) => Err(anyhow::anyhow!(text)),
        _ => Err(anyhow::anyhow!("the process that enters the namespaces ended early")),
    };
    syscall::wait(stage, true)?;
    Ok((pid?, ours))
}
