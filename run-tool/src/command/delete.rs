//! `delete`: what is left of a container.

use std::fs;

use anyhow::{Result, bail};
use clap::Args;

use super::global::Global;
use crate::container::{DoesNotExist, Status};

/// Delete a container that has stopped, or has not been started.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Kill it first if it runs.
    #[arg(short, long)]
    force: bool,
    /// The name of the container.
    id: String,
}

impl Delete {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = match global.container(&self.id) {
            Err(error) if error.is::<DoesNotExist>() => {
                // Whoever was interrupted before the state was first stored left a folder with nothing in it.
                match fs::remove_dir_all(global.root.join(&self.id)) {
                    Err(_) | Ok(()) if self.force => return Ok(()),
                    _ => return Err(error),
                }
            }
            result => result?,
        };
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
