//! `run`: create and start in one, in the foreground or not.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use libcontainer::oci_spec::runtime::Spec;

use super::create::Making;
use super::global::{Global, name};
use crate::container::exit;
use crate::container::output::Settings;
use crate::create::{self, notify};
use crate::kernel::log;
use crate::supervise::foreground::Foreground;
use crate::supervise::monitor::{self, Job};
use crate::supervise::signals;

/// Create and run a container.
///
/// In the foreground, signals and the terminal are the container's until it ends, its status becomes run-tool's, and the
/// container is deleted. With `--bundle -` the bundle's path is the first line of standard input, and the rest of it is the
/// container's.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    making: Making,
    /// Leave the container running in the background.
    #[arg(short, long)]
    detach: bool,
    /// Do not delete the container after it has ended.
    #[arg(long)]
    keep: bool,
    /// With --detach, keep the container's output: json-file (docker's format), file (plain), journald (systemd's journal) or none.
    ///
    /// run-tool then stays behind as the container's supervisor, which also keeps its status for `wait` and starts it again as
    /// the annotation org.oci-tools.restart says (no, `on-failure[:N]`, always, unless-stopped).
    #[arg(long, value_name = "DRIVER", requires = "detach")]
    log_driver: Option<String>,
    /// An option of the log: max-size=SIZE, max-file=N or path=FILE (in the bundle by default); tag=TEXT for journald.
    #[arg(long, value_name = "KEY=VALUE", requires = "log_driver")]
    log_opt: Vec<String>,
    /// Do not become the parent of processes that the container orphans.
    #[arg(long)]
    no_subreaper: bool,
    /// The name of the container, unique on this host.
    id: String,
}

/// Reads a line from standard input, a byte at a time: what follows it is not run-tool's.
fn read_line() -> Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        let mut stdin = std::mem::ManuallyDrop::new(std::fs::File::from(
            rustix::stdio::stdin().try_clone_to_owned().context("standard input")?,
        ));
        let count = stdin.read(&mut byte).context("standard input");
        drop(std::mem::ManuallyDrop::into_inner(stdin));
        match (count?, byte[0]) {
            (0, _) | (_, b'\n') => break,
            (_, byte) => line.push(byte),
        }
        if line.len() > 4096 {
            bail!("--bundle -: the first line of standard input is no path");
        }
    }
    if line.is_empty() {
        bail!("--bundle -: standard input has no line with the bundle's path");
    }
    String::from_utf8(line).context("--bundle -")
}

impl Run {
    /// How many descriptors are to be handed on.
    pub(super) fn preserved(&self) -> u32 {
        self.making.preserve_fds
    }

    pub(super) fn run(mut self, global: &Global) -> Result<u8> {
        if self.making.bundle.as_deref() == Some(Path::new("-")) {
            self.making.bundle = Some(PathBuf::from(read_line()?));
        }
        self.start(global).with_context(|| format!("{} run failed", name()))
    }

    fn start(mut self, global: &Global) -> Result<u8> {
        let spec = self.making.load()?;
        if let Some(driver) = &self.log_driver {
            return self.supervise(global, &spec, driver);
        }
        let terminal = self.making.check_terminal(&spec, self.detach)?;
        let mut options = self.making.options(global, &self.id)?;
        if !self.no_subreaper {
            signals::adopt_orphans();
        }
        let foreground = if self.detach { None } else { Some(Foreground::begin(terminal)?) };
        options.mask = foreground.as_ref().map(Foreground::mask);
        let started = create::start(&spec, options, self.making.pid_file.as_deref())?;
        let Some(foreground) = foreground else {
            if let Some(notify) = started.notify {
                // One that has ended already has no more to say than what it said.
                notify::report(notify.wait(started.container.pidfd().ok(), started.pid));
            }
            return Ok(0);
        };
        let status = foreground.serve(started.pid, started.master, started.notify);
        if self.keep {
            if let Ok(status) = status {
                exit::record(&started.container.folder, status)?;
            }
        } else {
            // The container's own status is what counts from here on.
            if let Err(error) = started.container.kill_and_destroy() {
                log::warn(&format!("{error:#}"));
            }
        }
        Ok(status? as u8)
    }

    /// Leaves a supervisor behind that keeps the output.
    fn supervise(&self, global: &Global, spec: &Spec, driver: &str) -> Result<u8> {
        if self.making.console_socket.is_some() {
            bail!("--console-socket: with --log-driver the supervisor has the terminal");
        }
        if self.keep {
            bail!("--keep: a detached container is kept anyway");
        }
        let bundle = std::env::current_dir().context("getwd")?;
        monitor::leave_behind(&Job {
            spec,
            log: Settings::parse(driver, &self.log_opt, &bundle, &self.id)?,
            pid_file: self.making.pid_file.clone(),
            options: &|| self.making.options(global, &self.id),
        })?;
        Ok(0)
    }
}
