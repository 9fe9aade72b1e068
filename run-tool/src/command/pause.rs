//! `pause` and `resume`: the freezer.

use anyhow::{Result, bail};
use clap::Args;

use super::global::Global;
use crate::container::{NotRunning, Status};

/// Stop all processes of a container for a while.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// The name of the container.
    id: String,
}

/// Let a paused container go on.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The name of the container.
    id: String,
}

impl Pause {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = global.container(&self.id)?;
        match container.status() {
            Status::Running | Status::Created => container.cgroup().freeze(true),
            Status::Paused | Status::Stopped => Err(NotRunning.into()),
        }
    }
}

impl Resume {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = global.container(&self.id)?;
        if container.status() != Status::Paused {
            bail!("container not paused");
        }
        container.cgroup().freeze(false)
    }
}
