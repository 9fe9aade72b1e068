//! Hooks: programs of the configuration that run at certain points of a container's life. They read its state on standard input.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::Hook;
use rustix::fs::MemfdFlags;

use super::state::State;
use crate::kernel::error::Fails;
use crate::kernel::process::{self, Process};
use crate::kernel::syscall::Pid;
use crate::spec::{Items, annotation};

/// The variable by which run-tool tells itself that it has been sealed.
pub(crate) const MARK: &str = "_RUN_TOOL_SEALED";

/// The environment of a hook whose configuration has no `env`. An empty `env` is one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Environment<'a> {
    /// That of run-tool's caller, for hooks that run in the runtime's namespaces.
    Caller,
    /// That of the container's program, or none before it is known.
    Program(&'a [String]),
}

/// The files that the output of hooks is appended to. What goes to no file is quoted if the hook fails.
#[derive(Debug, Default)]
pub(crate) struct Output {
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Output {
    /// Opens the files that crun's annotations name, and creates those that are missing.
    pub(crate) fn open<'a>(annotation: impl Fn(&'static str) -> Option<&'a str>) -> Result<Self> {
        let open = |name| {
            let append = |path| OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            annotation(name).map(|path| append(path).fails(|| format!("annotation {name}: open {path}"))).transpose()
        };
        Ok(Self { stdout: open(annotation::HOOKS_STDOUT)?, stderr: open(annotation::HOOKS_STDERR)? })
    }
}

/// What all hooks of a kind are given.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// The container's state, to be read on standard input.
    pub(crate) state: String,
    /// The environment of hooks without their own.
    pub(crate) environment: Environment<'a>,
    /// Where their output goes.
    pub(crate) output: &'a Output,
}

impl<'a> Given<'a> {
    /// What hooks in the runtime's namespaces are given.
    pub(crate) fn outside(state: String, output: &'a Output) -> Self {
        Self { state, environment: Environment::Caller, output }
    }
}

/// Runs hooks of a container that exists, in the runtime's namespaces. `status` and `pid` are for the state that they read.
pub(crate) fn run_for(state: &State, kind: &str, hooks: Option<&Vec<Hook>>, status: &str, pid: Pid) -> Result<()> {
    if hooks.is_none() {
        return Ok(());
    }
    let output = Output::open(|name| state.annotation(name))?;
    run(kind, hooks, &Given::outside(state.for_hooks(status, pid), &output))
}

/// Runs all hooks of a kind in order, and stops at the first that fails.
pub(crate) fn run(kind: &str, hooks: Option<&Vec<Hook>>, given: &Given<'_>) -> Result<()> {
    for (index, hook) in hooks.into_iter().flatten().enumerate() {
        run_one(hook, given).with_context(|| format!("error running {kind} hook #{index}"))?;
    }
    Ok(())
}

/// Opens a file in memory for a stream. Unlike a pipe it cannot fill up, and a process that the hook leaves behind cannot hold up
/// its reader.
fn memory(name: &str) -> Result<File> {
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).fails(|| "memfd_create")?;
    Ok(File::from(file))
}

fn run_one(hook: &Hook, given: &Given<'_>) -> Result<()> {
    let mut input = memory("state")?;
    input.write_all(given.state.as_bytes())?;
    input.seek(SeekFrom::Start(0))?;
    let (mut output, mut errors) = (memory("stdout")?, memory("stderr")?);
    let path = hook.path();
    // `./` keeps a bare name from being looked up in PATH.
    let mut command = Command::new(if path.is_absolute() { path.clone() } else { Path::new(".").join(path) });
    let mut arguments = hook.args().items().iter();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let stream = |file: &Option<File>, memory: &File| file.as_ref().unwrap_or(memory).try_clone();
    let (to_output, to_errors) = (stream(&given.output.stdout, &output)?, stream(&given.output.stderr, &errors)?);
    command.args(arguments).stdin(input).stdout(to_output).stderr(to_errors);
    let variables = match (hook.env(), given.environment) {
        // startContainer hooks get the program's environment also in place of an empty one, as in runc.
        (Some(own), Environment::Program(program)) if own.is_empty() => Some(program),
        (Some(own), _) => Some(own.as_slice()),
        (None, Environment::Program(program)) => Some(program),
        (None, Environment::Caller) => None,
    };
    if let Some(variables) = variables {
        command.env_clear().envs(variables.iter().filter_map(|variable| variable.split_once('=')));
    } else {
        // run-tool's note to itself is not the caller's.
        command.env_remove(MARK);
    }
    let mut child = process::spawn(&mut command).fails(|| format!("fork/exec {}", path.display()))?;
    // A timeout of zero is one, and passes at once, as in runc: the spec demands more.
    if let Some(seconds) = hook.timeout() {
        let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let event = Process::open(child.id().cast_signed()).and_then(|child| child.wait(None, Some(limit)));
        if !event.is_ok_and(|event| event.ended) {
            child.kill()?;
            child.wait()?;
            bail!("hook ran past specified timeout of {:.1}s", limit.as_secs_f64());
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let text = |file: &mut File| -> Result<String> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.take(64 * 1024).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (output, errors) = (text(&mut output)?, text(&mut errors)?);
    match (status.code(), status.signal()) {
        (Some(code), _) => bail!("exit status {code}, stdout: {output}, stderr: {errors}"),
        (None, signal) => {
            bail!(
                "signal: {}, stdout: {output}, stderr: {errors}",
                crate::kernel::signal::describe(signal.unwrap_or_default())
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kind: &str, hooks: &Vec<Hook>, environment: Environment<'_>) -> Result<()> {
        let (state, output) = ("{\"id\":1}\n".to_owned(), &Output::default());
        super::run(kind, Some(hooks), &Given { state, environment, output })
    }

    fn hook(script: &str, timeout: Option<i64>) -> Vec<Hook> {
        let mut hook = Hook::default();
        hook.set_path("/bin/sh".into());
        hook.set_args(Some(vec!["sh".into(), "-c".into(), script.into()]));
        hook.set_env(Some(vec!["PATH=/bin:/usr/bin".into(), "A=1".into()]));
        hook.set_timeout(timeout);
        vec![hook]
    }

    #[test]
    fn a_hook_reads_the_state_and_has_only_its_own_environment() {
        let hooks = hook("read x; test \"$x\" = '{\"id\":1}' && test \"$A\" = 1 && test -z \"$HOME\"", None);
        run("prestart", &hooks, Environment::Caller).unwrap();
    }

    #[test]
    fn a_hook_without_env_has_the_callers_and_one_with_an_empty_env_has_none() {
        let script = "test -n \"$CARGO_MANIFEST_DIR\" && test -z \"$_RUN_TOOL_SEALED\"";
        let mut hooks = hook(script, None);
        hooks[0].set_env(None);
        run("prestart", &hooks, Environment::Caller).unwrap();
        let variables = ["CARGO_MANIFEST_DIR=x".to_owned()];
        run("startContainer", &hooks, Environment::Program(&variables)).unwrap();
        run("createContainer", &hooks, Environment::Program(&[])).unwrap_err();
        hooks[0].set_env(Some(Vec::new()));
        run("prestart", &hooks, Environment::Caller).unwrap_err();
    }

    #[test]
    fn a_failure_quotes_the_output_of_the_hook() {
        let error = run("poststop", &hook("echo out; echo no >&2; exit 3", None), Environment::Caller).unwrap_err();
        let message = "error running poststop hook #0: exit status 3, stdout: out\n, stderr: no\n";
        assert_eq!(format!("{error:#}"), message);
    }

    #[test]
    fn a_hook_that_exceeds_its_timeout_is_killed() {
        let error = run("prestart", &hook("exec sleep 100", Some(1)), Environment::Caller).unwrap_err();
        assert_eq!(format!("{error:#}"), "error running prestart hook #0: hook ran past specified timeout of 1.0s");
    }

    #[test]
    fn output_is_appended_to_the_annotated_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).into_os_string().into_string().unwrap();
        let (stdout, stderr) = (path("out"), path("err"));
        std::fs::write(&stdout, "before\n").unwrap();
        let annotation = |name: &'static str| match name {
            "run.oci.hooks.stdout" => Some(stdout.as_str()),
            "run.oci.hooks.stderr" => Some(stderr.as_str()),
            _ => None,
        };
        let output = Output::open(annotation).unwrap();
        let given = Given::outside("{}".to_owned(), &output);
        super::run("poststop", Some(&hook("echo out; echo err >&2", None)), &given).unwrap();
        assert_eq!(std::fs::read_to_string(&stdout).unwrap(), "before\nout\n");
        assert_eq!(std::fs::read_to_string(&stderr).unwrap(), "err\n");
        let none = path("none/out");
        let error = Output::open(|_| Some(none.as_str())).unwrap_err();
        let wanted = format!("annotation run.oci.hooks.stdout: open {none}: no such file or directory");
        assert_eq!(format!("{error:#}"), wanted);
    }
}
