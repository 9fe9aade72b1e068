//! `stop` and `wait`: a container is asked to end, or its end is awaited. `wait` needs the status that a supervisor records.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::global::Global;
use super::stdout::print;
use crate::container::{Container, NotRunning, Status, event, exit, supervisor};
use crate::kernel::signal;

/// Stop containers: send a signal, and SIGKILL after a timeout.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Signal to send first [default: the annotation org.oci-tools.stop-signal, or SIGTERM].
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Time to wait before SIGKILL; -1 waits forever [default: the annotation org.oci-tools.stop-timeout, or 10].
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true, visible_alias = "timeout")]
    time: Option<i64>,
    /// Keep a container with the annotation org.oci-tools.rm, which would be removed at its end, to start it again.
    #[arg(long)]
    keep: bool,
    /// IDs of the containers.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// Wait until containers end and print their exit statuses.
///
/// The containers must have been started with `run --detach --log-driver`: their supervisors record the exit status.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// IDs of the containers.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

impl Stop {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        for id in &self.ids {
            let container = global.named(id)?;
            self.stop(&container).with_context(|| id.clone())?;
            // So that it can be started again at once.
            supervisor::wait(&container.folder, supervisor::PATIENCE);
        }
        Ok(())
    }

    fn stop(&self, container: &Container) -> Result<()> {
        let annotation = |name: &str| container.state.annotation(&format!("org.oci-tools.{name}"));
        let next = if self.keep { exit::Next::Start } else { exit::Next::Nothing };
        exit::mark_stopped(&container.folder, next)?;
        let status = container.status();
        if status == Status::Stopped {
            return Ok(());
        }
        let signal = self.signal.as_deref().or(annotation("stop-signal")).unwrap_or("SIGTERM");
        let signal = signal::parse(signal)?;
        let seconds = match (self.time, annotation("stop-timeout")) {
            (Some(seconds), _) => seconds,
            (None, Some(text)) => text.parse().with_context(|| format!("org.oci-tools.stop-timeout: {text:?}"))?,
            (None, None) => 10,
        };
        let sent = container.signal(signal);
        if status == Status::Paused {
            container.cgroup().freeze(false)?;
        }
        match sent {
            Err(error) if error.is::<NotRunning>() => return Ok(()),
            result => result?,
        }
        let kill = |signal: i32| event::record(&container.state, "kill", &[("signal", signal.to_string())]);
        kill(signal);
        let limit = u64::try_from(seconds).map_or(Duration::from_secs(u64::from(u32::MAX)), Duration::from_secs);
        if !container.wait_until_gone(limit) {
            match container.signal(libc::SIGKILL) {
                Err(error) if error.is::<NotRunning>() => {}
                result => {
                    result?;
                    kill(libc::SIGKILL);
                    if !container.wait_until_gone(Duration::from_secs(10)) {
                        bail!("container init still running");
                    }
                }
            }
        }
        await_record(container);
        event::record(&container.state, "stop", &[]);
        Ok(())
    }
}

/// Waits a moment until the supervisor has recorded how the container ended, so that whoever asks next is told.
fn await_record(container: &Container) {
    let deadline = Instant::now() + Duration::from_secs(1);
    let is_recorded = || exit::of(&container.folder).is_some() || !container.folder.exists();
    while container.state.log.is_some() && !is_recorded() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Wait {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        for id in &self.ids {
            let container = global.named(id)?;
            let status = wait(&container).with_context(|| id.clone())?;
            print(&format!("{status}\n"))?;
        }
        Ok(())
    }
}

fn wait(container: &Container) -> Result<i32> {
    // A container that is removed at its end is there until whoever waits for it has read its status.
    let _held = exit::hold(&container.folder)?;
    while container.is_alive() {
        container.wait_until_gone(Duration::from_secs(3600));
    }
    if container.state.log.is_none() {
        bail!(
            "exit status unknown: the container had no supervisor (start it with run-tool run --detach --log-driver json-file)"
        );
    }
    // The supervisor records the status only after all output is written.
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(exit) = exit::of(&container.folder) {
            return Ok(exit.status);
        }
        if !container.folder.exists() {
            bail!("the container was deleted before its exit status could be read");
        }
        sleep(Duration::from_millis(10));
    }
    bail!("exit status unknown: the supervisor recorded none")
}
