//! `run`: create and start in one, in the foreground, detached, or under a supervisor.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use libcontainer::oci_spec::runtime::Spec;

use super::create::Making;
use super::global::{Global, name};
use super::{attach, healthcheck};
use crate::container::hook::{self, Given, Output};
use crate::container::output::{Origin, Settings};
use crate::container::supervisor::{self, PATIENCE};
use crate::container::{Container, DoesNotExist, Status, event, exit};
use crate::create::plan::Options;
use crate::create::{self, notify};
use crate::kernel::error::Fails;
use crate::kernel::syscall::{self, SignalMask};
use crate::kernel::terminal::Host;
use crate::kernel::{caller, log};
use crate::spec::annotation;
use crate::supervise::client::{Client, Streams};
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
    /// Log driver option: max-size=SIZE, max-file=N, path=FILE, tag=TEXT, labels=NAME,… or env=NAME,… (kept beside each line of json-file),
    /// mode=blocking|non-blocking or max-buffer-size=SIZE; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", requires = "log_driver")]
    log_opt: Vec<String>,
    /// Leave a supervisor behind, with the log driver that the bundle's annotations name, and attach to the container.
    ///
    /// This is what docker's commands run and start do. The annotations org.oci-tools.log-driver, log-options, attach, detach-keys and
    /// sig-proxy of config.json are docker run's options of these names; what a stopped container of this ID has left is removed first, and one
    /// that runs is attached to. The exit status is the container's, or 125, 126 or 127 if it cannot be started, as docker has it.
    #[arg(long, conflicts_with_all = ["log_driver", "keep"])]
    supervise: bool,
    /// With --supervise, attach to these streams: stdin, stdout and stderr, separated by commas.
    #[arg(long, value_name = "STREAMS", requires = "supervise", conflicts_with = "detach")]
    attach: Option<String>,
    /// With --supervise, the key sequence that detaches, as in docker.
    #[arg(long, value_name = "KEYS", requires = "supervise")]
    detach_keys: Option<String>,
    /// Do not become a subreaper, which reaps reparented processes.
    #[arg(long)]
    no_subreaper: bool,
    /// ID of the new container, unique on this host.
    id: String,
    /// With --supervise, the command that this one carries out: it stands in the list of processes, where programs look for what they started,
    /// and has no effect.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _carried_out: Vec<std::ffi::OsString>,
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

    /// Whether docker's exit statuses are wanted.
    pub(super) fn is_supervised(&self) -> bool {
        self.supervise
    }

    pub(super) fn run(mut self, global: &Global) -> Result<u8> {
        if self.making.bundle.as_deref() == Some(Path::new("-")) {
            self.making.bundle = Some(PathBuf::from(read_line()?));
        }
        let is_dockers = self.supervise && caller::caller().is_some();
        self.start(global).map_err(|error| {
            let what = match is_dockers {
                true if error.is::<Paused>() => "Error response from daemon".to_owned(),
                true => "Error response from daemon: OCI runtime create failed".to_owned(),
                false => format!("{} run failed", name()),
            };
            error.context(what)
        })
    }

    fn start(mut self, global: &Global) -> Result<u8> {
        let spec = self.making.load()?;
        if self.supervise {
            return self.serve(global, &spec).inspect_err(|_| discard(global, &spec, &self.id));
        }
        if let Some(driver) = &self.log_driver {
            self.leave(global, &spec, (driver, &self.log_opt), None, None)?;
            return Ok(0);
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
                exit::record(&started.container.folder, status, started.container.cgroup().oom_kills() > 0)?;
            }
        } else {
            // The exit status is the container's, so a failure to clean up is only a warning.
            if let Err(error) = started.container.kill_and_destroy() {
                log::warn(&format!("{error:#}"));
            }
        }
        Ok(status? as u8)
    }

    /// Does what docker's run and start do.
    fn serve(&self, global: &Global, spec: &Spec) -> Result<u8> {
        let annotation = |name: &str| {
            let all = spec.annotations().as_ref()?;
            all.get(&format!("org.oci-tools.{name}")).map(String::as_str)
        };
        let is_interactive = annotation("interactive") == Some("true");
        let mut streams = match self.attach.as_deref().or(annotation("attach")) {
            Some(text) => Streams::parse(text)?,
            None => Streams { input: true, output: true, error: true },
        };
        streams.input &= is_interactive;
        let sig_proxy = annotation("sig-proxy") != Some("false");
        let left_over = self.left_over(global)?;
        if let LeftOver::Runs(container) = left_over {
            if container.status() == Status::Paused {
                return Err(Paused.into());
            }
            if self.detach {
                return Ok(0);
            }
            let client = attach::client(&container, streams, self.detach_keys.as_deref(), sig_proxy)?;
            return attach::attach(&container, &client).map(attach::status);
        }
        let earlier = if let LeftOver::Ended(time) = left_over { Some(time) } else { None };
        let driver = annotation("log-driver").unwrap_or("json-file");
        let options: BTreeMap<String, String> = match annotation("log-options") {
            Some(text) => serde_json::from_str(text).context("org.oci-tools.log-options")?,
            None => BTreeMap::new(),
        };
        let options: Vec<String> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if self.detach {
            self.leave(global, spec, (driver, &options), None, earlier)?;
            return Ok(0);
        }
        let client = Client {
            streams,
            keys: attach::keys_of(self.detach_keys.as_deref().or(annotation("detach-keys")))?,
            sig_proxy,
            to_the_end: annotation("rm") == Some("true"),
        };
        if let Some(annotations) = spec.annotations() {
            event::record_before(annotations, &self.id, "attach");
        }
        // From before the container exists: a signal that comes early is for it too.
        let mask = syscall::block_signals().fails(|| "sigprocmask")?;
        let left = self.leave(global, spec, (driver, &options), Some(mask), earlier)?;
        let socket = left.socket.context("no socket to the supervisor")?;
        let end = client.serve(&socket, left.process.as_ref());
        attach::recorded(end, &global.root.join(&self.id)).map(attach::status)
    }

    /// Removes what a stopped container of this id has left, but for the time of its end. Returns one that runs in this bundle.
    fn left_over(&self, global: &Global) -> Result<LeftOver> {
        let mut container = match global.container(&self.id) {
            Err(error) if error.is::<DoesNotExist>() => return Ok(LeftOver::Nothing),
            result => result?,
        };
        let bundle = std::env::current_dir().context("getwd")?;
        if container.status() != Status::Stopped {
            // Of another bundle: creating it fails, because its id is taken.
            let is_ours = container.state.bundle().map(Path::new) == Some(&bundle);
            return Ok(if is_ours { LeftOver::Runs(Box::new(container)) } else { LeftOver::Nothing });
        }
        supervisor::wait(&container.folder, PATIENCE);
        let time = exit::of(&container.folder).map(|exit| exit.time);
        container.keep_bundle();
        container.destroy()?;
        Ok(time.map_or(LeftOver::Nothing, LeftOver::Ended))
    }

    /// Leaves a supervisor process behind, which keeps the output. With a `mask`, this process is to be attached.
    fn leave(
        &self,
        global: &Global,
        spec: &Spec,
        (driver, log_options): (&str, &[String]),
        mask: Option<SignalMask>,
        earlier: Option<String>,
    ) -> Result<monitor::Left> {
        if self.making.console_socket.is_some() {
            bail!("--console-socket: not supported with a supervisor (which has the terminal)");
        }
        if self.keep {
            bail!("--keep: not needed with --detach (a detached container is always kept)");
        }
        let bundle = std::env::current_dir().context("getwd")?;
        let check = || healthcheck::check_on(global, &self.id);
        let annotation = |key: &str| spec.annotations().as_ref()?.get(key).map(String::as_str);
        let name = annotation("org.oci-tools.name");
        let interval = healthcheck::interval(annotation("org.oci-tools.healthcheck"))?;
        let size = mask.and_then(|_| Host::find().ok()?.size());
        let labels = annotation("org.oci-tools.labels").and_then(|text| serde_json::from_str(text).ok());
        let env = spec.process().as_ref().and_then(|process| process.env().as_deref()).unwrap_or_default();
        let origin = Origin { bundle: &bundle, id: &self.id, name, labels: labels.unwrap_or_default(), env };
        let job = Job {
            spec,
            log: Settings::parse(driver, log_options, &origin)?,
            pid_file: self.making.pid_file.clone(),
            options: &|| Ok(Options { size, ..self.making.options(global, &self.id)? }),
            health: interval.map(|interval| Health { interval, check: &check }),
            earlier,
        };
        monitor::leave_behind(&job, mask)
    }
}

/// A container that is to be started runs, but is paused.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a paused container, try unpause instead")]
struct Paused;

/// What is found of a container that is to be started.
enum LeftOver {
    /// Nothing, or one of another bundle.
    Nothing,
    /// It runs already.
    Runs(Box<Container>),
    /// It has run before, until this time.
    Ended(String),
}

/// Runs the poststop hooks of a container with `--rm` that could not be started, which remove its bundle: it has no state to delete.
fn discard(global: &Global, spec: &Spec, id: &str) {
    // What failed may have been to join one that runs.
    if global.container(id).is_ok_and(|container| container.is_alive()) {
        return;
    }
    let is_temporary = annotation::of(spec, "org.oci-tools.rm") == Some("true");
    let (Some(hooks), true, Ok(bundle)) = (spec.hooks(), is_temporary, std::env::current_dir()) else { return };
    let state = serde_json::json!({"ociVersion": spec.version(), "id": id, "status": "stopped", "bundle": bundle,
        "annotations": spec.annotations()});
    let run =
        |output: Output| hook::run("poststop", hooks.poststop().as_ref(), &Given::outside(state.to_string(), &output));
    // The error to report is that of the start.
    if let Err(error) = Output::open(|name| annotation::of(spec, name)).and_then(run) {
        log::warn(&format!("{error:#}"));
    }
}

/// docker's exit status for a container that cannot be started, by the reason as docker looks at it. Its `start` has one for all.
pub(super) fn docker_status(error: &anyhow::Error) -> u8 {
    if caller::caller().is_some_and(|name| name == "docker start") {
        return 1;
    }
    let text = format!("{error:#}");
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["executable file not found", "no such file or directory"]) {
        127
    } else if says(&["permission denied", "is a directory"]) {
        126
    } else {
        125
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_why_a_container_does_not_start() {
        for (reason, status) in [
            ("exec: \"nosuch\": executable file not found in $PATH", 127),
            ("exec /nosuch: no such file or directory", 127),
            ("exec: \"/etc\": is a directory", 126),
            ("exec /f: permission denied", 126),
            ("container with given ID already exists", 125),
        ] {
            assert_eq!(docker_status(&anyhow::anyhow!(reason)), status, "{reason}");
        }
    }
}
