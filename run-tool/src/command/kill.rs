//! `kill`: a signal for a container.

use anyhow::Result;
use clap::Args;

use super::global::Global;
use crate::container::NotRunning;
use crate::kernel::signal;

/// Send a signal to a container's first process.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Do not complain about a container that does not run.
    #[arg(short, long)]
    all: bool,
    /// The name of the container.
    id: String,
    /// The signal, by name or number.
    #[arg(default_value = "SIGTERM", allow_hyphen_values = true)]
    signal: String,
}

impl Kill {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = global.container(&self.id)?;
        // As runc has it, no name is the usual one.
        let signal = signal::parse(if self.signal.is_empty() { "SIGTERM" } else { &self.signal })?;
        match container.signal(signal) {
            Err(error) if self.all && error.downcast_ref::<NotRunning>().is_some() => Ok(()),
            result => result,
        }
    }
}
