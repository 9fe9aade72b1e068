//! `kill`: a signal to a container's init process.

use anyhow::{Result, bail};
use clap::Args;

use super::global::Global;
use crate::container::{Container, NotRunning, event, exit};
use crate::kernel::{caller, signal};

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
        let parsed = signal::parse(if self.signal.is_empty() { "SIGTERM" } else { &self.signal });
        // docker knows no signal 0, and has its own words.
        let signal = match parsed {
            Ok(0) | Err(_) if caller::caller().is_some() => {
                bail!("Error response from daemon: Invalid signal: {}", self.signal)
            }
            parsed => parsed?,
        };
        // Between two lives there is nobody to signal, and it ends for good when the mark is found.
        let is_restarting = exit::is_restarting(&container.folder);
        if ends(signal, &container)? {
            exit::mark_stopped(&container.folder, exit::Next::Nothing)?;
        }
        match container
            .signal(signal)
            .inspect(|()| event::record(&container.state, "kill", &[("signal", signal.to_string())]))
        {
            Err(error) if self.all && error.downcast_ref::<NotRunning>().is_some() => Ok(()),
            Err(error) if is_restarting && error.is::<NotRunning>() => Ok(()),
            result => result,
        }
    }
}

/// Whether a signal is meant to end the container: SIGKILL, or the one that stops it. Then it is not restarted, whatever its policy.
fn ends(sent: i32, container: &Container) -> Result<bool> {
    let stop = container.state.annotation("org.oci-tools.stop-signal").unwrap_or("SIGTERM");
    Ok(sent == libc::SIGKILL || sent == signal::parse(stop)?)
}
