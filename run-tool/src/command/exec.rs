//! `exec`: a further program in a running container, under the container's restrictions.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use libcontainer::oci_spec::runtime::{Capability, LinuxCapabilities, Process};

use super::attach::{self, keys_of};
use super::create::activation;
use super::global::Global;
use super::stdout::StdoutClosed;
use crate::container::event::Call;
use crate::container::{Container, DoesNotExist, Status};
use crate::create::exec::{self, Options};
use crate::kernel::error::Fails;
use crate::kernel::{caller, descriptor, file, socket};
use crate::program::{self, Program};
use crate::spec::{self, annotation};
use crate::supervise::client::{End, Escaped, OutputClosed};
use crate::supervise::foreground::Foreground;
use crate::supervise::session::Session;

/// Execute a new process inside a container.
///
/// The process gets the container's namespaces, control groups and seccomp filter. Unless options override them, it also gets
/// the user, capabilities and limits of the container's configuration.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Path to a Unix socket that receives the master end of the console's pseudoterminal.
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Path to a Unix socket that receives a pidfd of the process.
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Current working directory in the container.
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set an environment variable; may be repeated.
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Allocate a pseudo-TTY.
    #[arg(short, long)]
    tty: bool,
    /// User ID of the process, and optionally its group ID.
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Add a supplementary group ID; may be repeated.
    #[arg(short = 'g', long, value_name = "GID", allow_negative_numbers = true)]
    additional_gids: Vec<i64>,
    /// Path to a JSON file that describes the process, as `process` in config.json does.
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Detach from the process.
    #[arg(short, long)]
    detach: bool,
    /// Write the process ID to this file.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Set the SELinux label of the process.
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Set the AppArmor profile of the process.
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Set the no-new-privileges flag of the process; with `=false`, leave it unset even if the configuration sets it.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    no_new_privs: Option<bool>,
    /// Add a capability to the process; may be repeated.
    #[arg(short, long, value_name = "CAPABILITY")]
    cap: Vec<String>,
    /// Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total).
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    preserve_fds: u32,
    /// Run the process in an existing sub-cgroup of the container, for some controllers or for all.
    #[arg(long, value_name = "[CONTROLLER,…:]GROUP")]
    cgroup: Vec<String>,
    /// Allow exec in a paused container; the process starts once the container is resumed.
    #[arg(long)]
    ignore_paused: bool,
    /// Do as docker exec does: the caller needs no terminal, what is detached has none of its streams, and a program that cannot be started
    /// ends the command with 126. The detach keys end the command with 1 and leave a program running that has a terminal.
    #[arg(long)]
    client: bool,
    /// Key sequence that detaches, with --client [default: ctrl-p,ctrl-q].
    #[arg(long, value_name = "KEYS", requires = "client")]
    detach_keys: Option<String>,
    /// ID of the container.
    id: String,
    /// Program to execute, and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// docker's answers for a container in which nothing can be started now.
#[derive(Debug, thiserror::Error)]
enum NotNow {
    #[error("Error response from daemon: Container {0} is not running")]
    NotRunning(String),
    #[error("Error response from daemon: Container {0} is paused, unpause the container before exec")]
    Paused(String),
}

impl Exec {
    /// Whether docker's exit statuses are wanted.
    pub(super) fn is_client(&self) -> bool {
        self.client
    }

    pub(super) fn run(self, global: &Global) -> Result<u8> {
        let container = match global.container(&self.id) {
            // A container that was created only has no state.
            Err(error) if self.client && error.is::<DoesNotExist>() => return Err(NotNow::NotRunning(self.id).into()),
            found => found.context("exec failed")?,
        };
        if self.client {
            match container.status() {
                Status::Stopped => return Err(NotNow::NotRunning(self.id).into()),
                Status::Paused => return Err(NotNow::Paused(self.id).into()),
                _ => {}
            }
        }
        self.start(&container).context("exec failed")
    }

    fn start(mut self, container: &Container) -> Result<u8> {
        match container.status() {
            Status::Stopped => bail!("cannot exec in a stopped container"),
            Status::Paused if !self.ignore_paused => {
                bail!("cannot exec in a paused container (use --ignore-paused to override)")
            }
            _ => {}
        }
        for path in [&mut self.pid_file, &mut self.console_socket, &mut self.pidfd_socket].into_iter().flatten() {
            *path = std::env::current_dir().context("getwd")?.join(&*path);
        }
        let process = self.process(container)?;
        let terminal = process.terminal().unwrap_or(false);
        if self.detach && terminal && self.console_socket.is_none() && !self.client {
            bail!("cannot allocate tty if runc will detach without setting console socket");
        }
        if (!self.detach || !terminal) && self.console_socket.is_some() {
            bail!("cannot use console socket if runc will not detach or allocate tty");
        }
        let mut program = Program::from_spec(&process, !rustix::process::geteuid().is_root())?;
        program.keeps_groups = annotation::keeps_groups(container.state.annotation(annotation::KEEP_GROUPS));
        let (listen, environment) = activation();
        program.environment.extend(environment);
        program.kept = program::inherited(listen, self.preserve_fds)?;
        // The container must not inherit the caller's other descriptors. They stay open for run-tool itself: --process may name one.
        descriptor::close_on_exec_from(3 + program.kept).fails(|| "close_range")?;
        // As in docker, keys are read from a terminal only.
        let attended = self.client && !self.detach && terminal && rustix::termios::isatty(rustix::stdio::stdin());
        let foreground = match (self.detach || attended, self.client) {
            (true, _) => None,
            (false, true) => Some(Foreground::begin_if_there_is_a_terminal(terminal)?),
            (false, false) => Some(Foreground::begin(terminal)?),
        };
        program.mask = foreground.as_ref().map(Foreground::mask);
        let options = Options {
            terminal,
            pipes: foreground.is_some() && !terminal,
            console: self.console_socket.as_deref().map(socket::connect).transpose()?,
            pidfd_socket: self.pidfd_socket.as_deref().map(socket::connect).transpose()?,
            sub_groups: sub_groups(&self.cgroup)?,
            affinity: process.exec_cpu_affinity().clone(),
            // A client whose input is no terminal leaves its own as it is; the container's translates newlines, as docker's does.
            newlines: self.client,
            ..Options::default()
        };
        let words = process.args().clone().unwrap_or_default();
        let call = self.client.then(|| Call::of(&container.state, &words));
        if let (true, Some(call)) = (self.detach || attended, &call) {
            let pid_file = self.pid_file.as_deref();
            let session = Session { container, call, program, options, pid_file };
            return if attended { attend(session, self.detach_keys.as_deref()) } else { session.leave().map(|()| 0) };
        }
        let (pid, ends) = exec::start(container, program, options).context("unable to start container process")?;
        if let Some(call) = &call {
            call.started();
        }
        if let Err(error) = file::write_pid(self.pid_file.as_deref(), pid) {
            // The error to report is the failed write.
            let _ = crate::kernel::syscall::kill(pid, libc::SIGKILL);
            return Err(error);
        }
        match foreground {
            None => Ok(0),
            Some(foreground) => {
                let status = foreground.serve(pid, ends, None)?;
                if let Some(call) = &call {
                    call.ended(status);
                }
                Ok(status as u8)
            }
        }
    }

    /// The process to start: the one in the file, or the container's own with the changes that the options make.
    fn process(&self, container: &Container) -> Result<Process> {
        if let Some(path) = &self.process {
            let inherited = match &container.state.config.process {
                Some(process) => process.clone(),
                // runc started the container: its state has no `process`.
                None => {
                    let spec = container.spec()?;
                    spec::inherited(spec.process().as_ref().context("process property must not be empty")?)?
                }
            };
            return spec::load_process(path, Some(&inherited));
        }
        let bundle = container.state.bundle().context("bundle not found in labels")?;
        std::env::set_current_dir(bundle).fails(|| format!("chdir {bundle}"))?;
        let spec = spec::load()?;
        let mut process = spec.process().clone().context("process property must not be empty")?;
        if self.command.is_empty() {
            bail!("exec args cannot be empty");
        }
        process.set_args(Some(self.command.clone()));
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.clone());
        }
        if let Some(profile) = &self.apparmor {
            process.set_apparmor_profile(Some(profile.clone()));
        }
        if let Some(label) = &self.process_label {
            process.set_selinux_label(Some(label.clone()));
        }
        if !self.cap.is_empty() {
            add_capabilities(&mut process, &self.cap);
        }
        let mut environment = process.env().clone().unwrap_or_default();
        environment.extend(self.env.iter().cloned());
        process.set_env(Some(environment));
        process.set_terminal(Some(self.tty));
        if self.no_new_privs.is_some() {
            process.set_no_new_privileges(self.no_new_privs);
        }
        let user = process.user_mut();
        if let Some(text) = &self.user {
            let (uid, gid) = text.split_once(':').map_or((text.as_str(), None), |(uid, gid)| (uid, Some(gid)));
            if let Some(gid) = gid {
                user.set_gid(gid.parse().with_context(|| format!("bad gid: {gid:?}"))?);
            }
            user.set_uid(uid.parse().with_context(|| format!("bad uid: {uid:?}"))?);
        }
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        for gid in &self.additional_gids {
            match u32::try_from(*gid) {
                Ok(gid) => groups.push(gid),
                Err(_) => bail!("additional-gids must be a positive number {gid}"),
            }
        }
        user.set_additional_gids(Some(groups));
        spec::check_process(&process)?;
        Ok(process)
    }
}

/// Serves the caller's terminal until the program ends or is left. Returns the exit status.
fn attend(session: Session<'_>, keys: Option<&str>) -> Result<u8> {
    match session.attend(keys_of(keys)?) {
        Ok(End::Detached) => Err(Escaped.into()),
        Ok(end) => Ok(attach::status(end)),
        Err(error) if error.is::<OutputClosed>() => Err(StdoutClosed.into()),
        Err(error) => Err(error),
    }
}

/// docker's exit status for a program that cannot be started.
pub(super) fn docker_status(error: &anyhow::Error) -> u8 {
    // The container may have ended since it was looked at.
    let not_now = error.is::<NotNow>() || format!("{error:#}").contains("cannot exec in a ");
    if not_now || error.is::<Escaped>() { 1 } else { 126 }
}

/// An error as docker's command tells it, where it is called as that: programs look for the first words.
pub(super) fn in_dockers_words(error: anyhow::Error) -> anyhow::Error {
    if docker_status(&error) == 126 && caller::caller().is_some() {
        error.context("OCI runtime exec failed")
    } else {
        error
    }
}

/// Adds capabilities to the bounding, effective and permitted sets, and to the ambient set if there is an inheritable one.
fn add_capabilities(process: &mut Process, names: &[String]) {
    let mut sets = process
        .capabilities()
        .clone()
        .unwrap_or_else(|| serde_json::from_str::<LinuxCapabilities>("{}").expect("every set may be missing"));
    let mut unknown = Vec::new();
    for name in names {
        let known = name.strip_prefix("CAP_").and_then(|name| name.parse::<Capability>().ok());
        let Some(capability) = known else {
            unknown.push(name.as_str());
            continue;
        };
        let with = |set: &Option<_>| {
            let mut set: std::collections::HashSet<Capability> = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
        if sets.inheritable().is_some() {
            let ambient = with(sets.ambient());
            sets.set_ambient(ambient);
        }
        sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    }
    if !unknown.is_empty() {
        crate::kernel::log::warn(&format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" ")));
    }
    process.set_capabilities(Some(sets));
}

/// Parses `--cgroup`: controller to path. A path for all controllers has the empty key.
fn sub_groups(arguments: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    let mut groups = BTreeMap::new();
    for argument in arguments {
        match argument.split_once(':') {
            Some((controllers, path)) => {
                for controller in controllers.split(',') {
                    if controller.is_empty() {
                        bail!("invalid --cgroup argument: {argument} (empty <controller> prefix)");
                    }
                    if groups.insert(controller.to_owned(), PathBuf::from(path)).is_some() {
                        bail!("invalid --cgroup argument(s): controller {controller} specified multiple times");
                    }
                }
            }
            None if arguments.len() != 1 => {
                bail!("invalid --cgroup argument: {argument} (missing <controller>: prefix)")
            }
            None => {
                groups.insert(String::new(), PathBuf::from(argument));
            }
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_groups_are_parsed_as_in_runc() {
        let read =
            |arguments: &[&str]| sub_groups(&arguments.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&["cpu,pids:x"]).unwrap().len(), 2);
        assert_eq!(read(&["x"]).unwrap()[""], PathBuf::from("x"));
        for (arguments, message) in [
            (&["x", "y"][..], "invalid --cgroup argument: x (missing <controller>: prefix)"),
            (&[":x"][..], "invalid --cgroup argument: :x (empty <controller> prefix)"),
            (&["cpu:x", "cpu:y"][..], "invalid --cgroup argument(s): controller cpu specified multiple times"),
        ] {
            assert_eq!(read(arguments).unwrap_err().to_string(), message);
        }
    }
}
