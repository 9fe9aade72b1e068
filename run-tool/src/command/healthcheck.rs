//! `healthcheck`: a container's health check, run once. The supervisor of a detached container runs it at its intervals.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;
use rustix::fs::{MemfdFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::global::Global;
use super::stdout::{print, print_json};
use crate::container::event::Call;
use crate::container::health::FILE;
use crate::container::{Container, Status, event};
use crate::create::exec::{self, Options};
use crate::kernel::error::Fails;
use crate::kernel::file;
use crate::kernel::process::Process;
use crate::kernel::syscall;
use crate::program::Program;
use crate::spec;

/// Run a container's health check once and print the result.
///
/// The check comes from the annotation org.oci-tools.healthcheck, in docker's form. The exit status is 0 if the check passed and 1
/// if it failed. The command prints `starting`, `healthy` or `unhealthy`: a container becomes unhealthy after as many consecutive
/// failures as the check's Retries says.
#[derive(Debug, Args)]
pub(crate) struct Healthcheck {
    /// Print the last results as JSON, in docker's form, without running the check.
    #[arg(long)]
    show: bool,
    /// ID of the container.
    id: String,
}

/// docker's `Healthcheck` object. Times are in nanoseconds; zero stands for docker's default.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Check {
    test: Vec<String>,
    interval: u64,
    timeout: u64,
    start_period: u64,
    retries: u64,
}

/// docker's `State.Health` object.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: String,
    failing_streak: u64,
    log: Vec<Probe>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Probe {
    start: String,
    end: String,
    exit_code: i32,
    output: String,
}

impl Check {
    fn of(container: &Container) -> Result<Self> {
        let text = container.state.annotation("org.oci-tools.healthcheck");
        let none = || {
            format!(
                "{}: container has no health check (set the annotation org.oci-tools.healthcheck)",
                container.state.id
            )
        };
        let check: Self = serde_json::from_str(text.with_context(none)?).context("org.oci-tools.healthcheck")?;
        if check.test.is_empty() || check.test[0] == "NONE" {
            bail!(none());
        }
        Ok(check)
    }

    fn command(&self) -> Result<Vec<String>> {
        match (self.test[0].as_str(), &self.test[1..]) {
            ("CMD", command) if !command.is_empty() => Ok(command.to_vec()),
            ("CMD-SHELL", [line]) => Ok(["/bin/sh", "-c", line].map(str::to_owned).to_vec()),
            _ => bail!("org.oci-tools.healthcheck: Test must be [\"CMD\", …] or [\"CMD-SHELL\", \"…\"]"),
        }
    }
}

impl Health {
    fn load(container: &Container) -> Self {
        let text = std::fs::read(container.folder.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_else(|_| Self { status: "starting".to_owned(), ..Self::default() })
    }

    /// Adds a result. Failures in the start period do not count, unless the container has been healthy before.
    fn add(&mut self, probe: Probe, check: &Check, starting: bool) {
        if probe.exit_code == 0 {
            self.status = "healthy".to_owned();
            self.failing_streak = 0;
        } else if !(starting && self.status == "starting") {
            self.failing_streak += 1;
            if self.failing_streak >= if check.retries == 0 { 3 } else { check.retries } {
                self.status = "unhealthy".to_owned();
            }
        }
        self.log.push(probe);
        // docker keeps five.
        let old = self.log.len().saturating_sub(5);
        self.log.drain(..old);
    }
}

impl Healthcheck {
    /// Returns the exit status.
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        let container = global.named(&self.id)?;
        if self.show {
            print_json(&(serde_json::to_string(&Health::load(&container))? + "\n"))?;
            return Ok(0);
        }
        let (health, passed) = check(&container)?;
        print(&format!("{}\n", health.status))?;
        Ok(u8::from(!passed))
    }
}

/// Runs a container's check once and records the result. Returns also whether it passed.
fn check(container: &Container) -> Result<(Health, bool)> {
    if container.status() != Status::Running {
        bail!("{}: container is {}", container.state.id, container.status().name());
    }
    let check = Check::of(container)?;
    let probe = probe(container, &check)?;
    let created: Timestamp = container.state.created.parse().context("state.json: created")?;
    let age = Timestamp::now().duration_since(created);
    let starting = age.as_nanos() < i128::from(check.start_period);
    let passed = probe.exit_code == 0;
    let mut health = Health::load(container);
    let before = health.status.clone();
    health.add(probe, &check, starting);
    file::replace(&container.folder.join(FILE), &serde_json::to_vec(&health)?)?;
    if health.status != before {
        event::record(&container.state, &format!("health_status: {}", health.status), &[]);
    }
    Ok((health, passed))
}

/// Runs the check of the container `id` for its supervisor. One that cannot be run now, of a paused container, says nothing.
pub(super) fn check_on(global: &Global, id: &str) {
    if let Err(error) = global.named(id).and_then(|container| check(&container)) {
        crate::kernel::log::debug(|| format!("{error:#}"));
    }
}

/// The time between two checks; `None` if the annotation of config.json has no check.
pub(super) fn interval(annotation: Option<&str>) -> Result<Option<Duration>> {
    let Some(text) = annotation else { return Ok(None) };
    let check: Check = serde_json::from_str(text).context("org.oci-tools.healthcheck")?;
    if check.test.first().is_none_or(|kind| kind == "NONE") {
        return Ok(None);
    }
    // Docker's default.
    Ok(Some(Duration::from_nanos(if check.interval == 0 { 30_000_000_000 } else { check.interval })))
}

fn probe(container: &Container, check: &Check) -> Result<Probe> {
    let bundle = container.state.bundle().context("bundle not found in labels")?;
    std::env::set_current_dir(bundle).fails(|| format!("chdir {bundle}"))?;
    let mut process = spec::load()?.process().clone().context("process property must not be empty")?;
    let words = check.command()?;
    let call = Call::of(&container.state, &words);
    process.set_args(Some(words));
    process.set_terminal(Some(false));
    let program = Program::from_spec(&process, !rustix::process::geteuid().is_root())?;
    let memory = rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC).fails(|| "memfd_create")?;
    let null =
        rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).fails(|| "open /dev/null")?;
    let streams: [OwnedFd; 3] = [null, memory.try_clone()?, memory.try_clone()?];
    let start = Timestamp::now().to_string();
    let options = Options { streams: Some(streams), ..Options::default() };
    let (exit_code, late) = match exec::start(container, program, options) {
        Ok((pid, _)) => {
            call.started();
            let ended =
                wait(pid, Duration::from_nanos(if check.timeout == 0 { 30_000_000_000 } else { check.timeout }))?;
            call.ended(ended.0);
            ended
        }
        // A check whose program is missing has failed.
        Err(error) => (-1, Some(format!("{error:#}"))),
    };
    let mut output = String::new();
    let mut memory = File::from(memory);
    memory.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    memory.take(4096).read_to_end(&mut bytes)?;
    output.push_str(&String::from_utf8_lossy(&bytes));
    output.push_str(&late.unwrap_or_default());
    Ok(Probe { start, end: Timestamp::now().to_string(), exit_code, output })
}

/// Waits for a check and returns its status. A check that exceeds its timeout is killed and has failed.
fn wait(pid: syscall::Pid, limit: Duration) -> Result<(i32, Option<String>)> {
    let event = Process::open(pid).and_then(|child| child.wait(None, Some(limit))).fails(|| "wait for the check")?;
    let late = !event.ended;
    if late {
        // The check may have ended just now.
        let _ = syscall::kill(pid, libc::SIGKILL);
    }
    let status = syscall::wait(pid, true)?.map_or(-1, |(_, status)| status);
    if late { Ok((-1, Some(format!("Health check exceeded timeout ({limit:?})")))) } else { Ok((status, None)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(exit_code: i32) -> Probe {
        Probe { start: String::new(), end: String::new(), exit_code, output: String::new() }
    }

    #[test]
    fn an_interval_is_that_of_the_check_or_dockers() {
        let of = |text: &str| interval(Some(text)).unwrap();
        assert_eq!(of(r#"{"Test":["CMD","true"],"Interval":1000000}"#), Some(Duration::from_millis(1)));
        assert_eq!(of(r#"{"Test":["CMD-SHELL","true"]}"#), Some(Duration::from_secs(30)));
        assert_eq!(of(r#"{"Test":["NONE"]}"#), None);
        assert_eq!(of("{}"), None);
        assert_eq!(interval(None).unwrap(), None);
        assert!(interval(Some("x")).is_err());
    }

    #[test]
    fn a_container_is_unhealthy_after_as_many_failures_as_the_check_allows() {
        let check = Check { retries: 2, ..Check::default() };
        let mut health = Health { status: "starting".to_owned(), ..Health::default() };
        health.add(result(1), &check, true);
        assert_eq!((health.status.as_str(), health.failing_streak), ("starting", 0));
        health.add(result(0), &check, true);
        assert_eq!(health.status, "healthy");
        health.add(result(1), &check, true);
        assert_eq!(health.status, "healthy");
        health.add(result(1), &check, false);
        assert_eq!((health.status.as_str(), health.failing_streak), ("unhealthy", 2));
        assert_eq!(health.log.len(), 4);
    }
}
