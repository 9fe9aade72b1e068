//! `start`: let a created container go on to its program.

use std::fs;

use anyhow::{Result, bail};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};

use super::global::Global;
use crate::container::hook;
use crate::container::{Container, FIFO, Status};
use crate::create::notify::{self, Notify};
use crate::kernel::error::Fails;

/// Start the program of a created container.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The name of the container.
    id: String,
}

impl Start {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = global.container(&self.id)?;
        match container.status() {
            Status::Created => {}
            Status::Stopped => bail!("cannot start a container that has stopped"),
            Status::Running => bail!("cannot start an already running container"),
            Status::Paused => bail!("cannot start a container in the paused state"),
        }
        let notify = match notify::host() {
            Some(host) => Some((Notify::listen(&container.folder, host)?, container.pidfd()?)),
            None => None,
        };
        release(&container)?;
        let hooks = container.hooks()?;
        let state = container.state.for_hooks("running", container.state.init_process_pid);
        let run = hook::run("poststart", hooks.as_ref().and_then(|hooks| hooks.poststart().as_ref()), &state);
        if run.is_err() {
            // The hook's failure is what is told.
            let _ = container.signal(libc::SIGKILL);
        }
        run?;
        match notify {
            Some((notify, pidfd)) => notify.wait(Some(pidfd), container.state.init_process_pid),
            None => Ok(()),
        }
    }
}

/// How long the fifo is waited for before it is looked whether it is still there.
const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Opens the other end of the fifo and waits until the container's process has written to it, or is gone.
fn release(container: &Container) -> Result<()> {
    let path = container.folder.join(FIFO);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // First, since the program can have ended as soon as the fifo is open.
    let pidfd = container.pidfd()?;
    let fifo = rustix::fs::open(&path, flags, Mode::empty()).fails(|| format!("exec fifo: open {}", path.display()))?;
    let mut polled = [PollFd::new(&fifo, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut polled, Some(&MOMENT)) {
            Err(rustix::io::Errno::INTR) => {}
            // Opened after another start had read the byte, the fifo never tells that its writer is gone; that one removes it.
            Ok(0) if rustix::fs::fstat(&fifo)?.st_nlink == 0 => bail!("cannot start an already running container"),
            Ok(0) => {}
            result => {
                result.fails(|| "poll exec fifo")?;
                break;
            }
        }
    }
    let mut byte = [0; 1];
    match rustix::io::read(&fifo, &mut byte) {
        Ok(1) => {}
        Ok(_) | Err(rustix::io::Errno::AGAIN) => bail!(
            "exec fifo is empty: container init did not signal execve readiness (process died before writing, or fifo already consumed)"
        ),
        Err(error) => return Err(error).fails(|| "read exec fifo").map_err(Into::into),
    }
    fs::remove_file(&path)
        .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .fails(|| format!("remove {}", path.display()))?;
    Ok(())
}
