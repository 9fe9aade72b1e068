//! `start`: the program of a created container is executed. Its process waits at a fifo until then.

use std::fs;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use rustix::fs::{Mode, OFlags};

use super::global::Global;
use crate::container::hook;
use crate::container::{Container, FIFO, Status, event};
use crate::create::notify::{self, Notify};
use crate::kernel::error::Fails;
use crate::kernel::log;
use crate::kernel::process::Event;

/// Start the program of a created container.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// ID of the container.
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
            Some(host) => Some((Notify::listen(&container.folder, host)?, container.process()?)),
            None => None,
        };
        release(&container)?;
        event::record(&container.state, "start", &[]);
        let hooks = container.hooks()?;
        let pid = container.state.init_process_pid;
        let poststart = hooks.as_ref().and_then(|hooks| hooks.poststart().as_ref());
        hook::run_for(&container.state, "poststart", poststart, "running", pid).inspect_err(|_| {
            // The container is stopped and deleted, with its poststop hooks (runtime-spec runtime.md, "Lifecycle", step 9). The error
            // to report is the hook's.
            if let Err(error) = container.kill_and_destroy() {
                log::warn(&format!("{error:#}"));
            }
        })?;
        match notify {
            Some((notify, process)) => notify.wait(Some(&process), container.state.init_process_pid),
            None => Ok(()),
        }
    }
}

/// The time between two checks whether the fifo still exists.
const MOMENT: Duration = Duration::from_millis(20);

/// Opens the reading end of the fifo and waits until the container's process has written to it or has ended.
fn release(container: &Container) -> Result<()> {
    let path = container.folder.join(FIFO);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // Before the fifo is opened: from then on the program can run, and end, at any time.
    let process = container.process()?;
    let fifo = rustix::fs::open(&path, flags, Mode::empty()).fails(|| format!("exec fifo: open {}", path.display()))?;
    while process.wait(Some(fifo.as_fd()), Some(MOMENT)).fails(|| "poll exec fifo")? == Event::default() {
        // Another `start` read the byte before this one opened the fifo. No end of file will come; that `start` removes the fifo.
        if rustix::fs::fstat(&fifo)?.st_nlink == 0 {
            bail!("cannot start an already running container");
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
