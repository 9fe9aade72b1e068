//! `pause` and `resume`: a container's processes suspended by the freezer of its control group.

use anyhow::{Result, bail};
use clap::Args;

use super::global::Global;
use crate::container::{NotRunning, Status, event};

/// Suspend all processes of a container.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// ID of the container.
    id: String,
}

/// Resume a paused container.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// ID of the container.
    id: String,
}

impl Pause {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = global.container(&self.id)?;
        match container.status() {
            Status::Running | Status::Created => {
                container.cgroup().freeze(true)?;
                event::record(&container.state, "pause", &[]);
                Ok(())
            }
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
        container.cgroup().freeze(false)?;
        event::record(&container.state, "unpause", &[]);
        Ok(())
    }
}
