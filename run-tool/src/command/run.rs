//! `run`: create and start in one, in the foreground, detached, or under a supervisor.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use libcontainer::oci_spec::runtime::Spec;

use super::create::Making;
use super::global::{Global, name};
use super::healthcheck;
use crate::container::output::Settings;
use crate::container::{event, exit};
use crate::create::{self, notify};
use crate::kernel::log;
use crate::supervise::foreground::Foreground;
use crate::supervise::monitor::{self, Health, Job};
use crate::supervise::signals;

/// Create and run a container.
///
/// In the foreground, run-tool forwards signals and the terminal to the container, exits with its status and deletes it. With
/// `--bundle -`, the path of the bundle is the first line of standard input; the container reads the rest.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    making: Making,
    /// Detach from the container's process.
    #[arg(short, long)]
    detach: bool,
    /// Do not delete the container after it exits.
    #[arg(long)]
    keep: bool,
    /// With --detach, supervise the container and keep its output: json-file, file, journald or none.
    ///
    /// json-file is docker's format, file is the plain bytes, and journald is an entry in systemd's journal for each line. A
    /// supervisor process stays behind. It also records the exit status for `wait` and restarts the container according to the
    /// annotation org.oci-tools.restart (no, on-failure or on-failure:N, always or unless-stopped).
    #[arg(long, value_name = "DRIVER", requires = "detach")]
    log_driver: Option<String>,
    /// Log driver option: max-size=SIZE, max-file=N, path=FILE or, for journald, tag=TEXT; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", requires = "log_driver")]
    log_opt: Vec<String>,
    /// Do not become a subreaper, which reaps reparented processes.
    #[arg(long)]
    no_subreaper: bool,
    /// ID of the new container, unique on this host.
    id: String,
}

/// Reads a line from standard input, one byte at a time: a buffer would swallow the container's input.
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
            bail!("--bundle -: the first line of standard input is not a path");
        }
    }
    if line.is_empty() {
        bail!("--bundle -: standard input has no line with the bundle's path");
    }
    String::from_utf8(line).context("--bundle -")
}

impl Run {
    /// The value of `--preserve-fds`.
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
        event::record(&started.container.state, "start", &[]);
        let Some(foreground) = foreground else {
            if let Some(notify) = started.notify {
                // No process: the container has ended already. Whatever it sent before is still read.
                notify::report(notify.wait(started.container.process().ok().as_ref(), started.pid));
            }
            return Ok(0);
        };
        let status = foreground.serve(started.pid, started.ends, started.notify);
        if let Ok(status) = &status {
            event::record(&started.container.state, "die", &[("exitCode", status.to_string())]);
        }
        if self.keep {
            if let Ok(status) = status {
                exit::record(&started.container.folder, status)?;
            }
        } else {
            // The exit status is the container's, so a failure to clean up is only a warning.
            if let Err(error) = started.container.kill_and_destroy() {
                log::warn(&format!("{error:#}"));
            }
        }
        Ok(status? as u8)
    }

    /// Leaves a supervisor process behind, which keeps the output.
    fn supervise(&self, global: &Global, spec: &Spec, driver: &str) -> Result<u8> {
        if self.making.console_socket.is_some() {
            bail!("--console-socket: not supported with --log-driver (the supervisor has the terminal)");
        }
        if self.keep {
            bail!("--keep: not needed with --detach (a detached container is always kept)");
        }
        let bundle = std::env::current_dir().context("getwd")?;
        let check = || healthcheck::check_on(global, &self.id);
        let annotation = spec.annotations().as_ref().and_then(|all| all.get("org.oci-tools.healthcheck"));
        let interval = healthcheck::interval(annotation.map(String::as_str))?;
        monitor::leave_behind(&Job {
            spec,
            log: Settings::parse(driver, &self.log_opt, &bundle, &self.id)?,
            pid_file: self.making.pid_file.clone(),
            options: &|| self.making.options(global, &self.id),
            health: interval.map(|interval| Health { interval, check: &check }),
        })?;
        Ok(0)
    }
}
