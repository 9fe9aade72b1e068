//! `kill`: a signal to a container's init process.

use anyhow::Result;
use clap::Args;

use super::global::Global;
use crate::container::NotRunning;
use crate::kernel::signal;

/// Send a signal to a container's init process.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Succeed even if the container is not running (obsolete in runc).
    #[arg(short, long)]
    all: bool,
    /// ID of the container.
    id: String,
    /// Signal to send, by name or number.
    #[arg(default_value = "SIGTERM", allow_hyphen_values = true)]
    signal: String,
}

impl Kill {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = global.container(&self.id)?;
        // runc takes an empty name for SIGTERM.
        let signal = signal::parse(if self.signal.is_empty() { "SIGTERM" } else { &self.signal })?;
        match container.signal(signal) {
            Err(error) if self.all && error.downcast_ref::<NotRunning>().is_some() => Ok(()),
            result => result,
        }
    }
}
