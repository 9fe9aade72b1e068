//! `delete`: everything that a container holds is released: its processes, control groups and state.

use std::fs;

use anyhow::{Result, bail};
use clap::Args;

use super::global::Global;
use crate::container::{DoesNotExist, NotRunning, Status, event, exit, supervisor};
use crate::kernel::log;

/// Delete any resources held by a container that has stopped or was never started.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Forcibly delete the container if it is still running (uses SIGKILL).
    #[arg(short, long)]
    force: bool,
    /// ID of the container.
    id: String,
}

impl Delete {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = match global.container(&self.id) {
            Err(error) if error.is::<DoesNotExist>() => {
                // A `create` that was interrupted before it stored the state leaves a folder without one.
                match fs::remove_dir_all(global.root.join(&self.id)) {
                    Err(_) | Ok(()) if self.force => return Ok(()),
                    _ => return Err(error),
                }
            }
            result => result?,
        };
        let is_supervised = container.state.log.is_some();
        if self.force && is_supervised {
            // Its supervisor would start it again, and then takes away what it held, with --rm also the container.
            exit::mark_stopped(&container.folder, exit::Next::Nothing)?;
            match container.signal(libc::SIGKILL) {
                Ok(()) => event::record(&container.state, "kill", &[("signal", libc::SIGKILL.to_string())]),
                Err(error) if !error.is::<NotRunning>() => log::debug(|| format!("{error:#}")),
                _ => {}
            }
            container.wait_until_gone(supervisor::PATIENCE);
        }
        if is_supervised && !container.is_alive() {
            supervisor::wait(&container.folder, supervisor::PATIENCE);
            if !container.folder.exists() {
                return Ok(());
            }
        }
        if self.force {
            return container.kill_and_destroy();
        }
        match container.status() {
            Status::Stopped => container.destroy(),
            Status::Created => container.kill_and_destroy(),
            status => bail!("cannot delete container {} that is not stopped: {}", self.id, status.name()),
        }
    }
}
