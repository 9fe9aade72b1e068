//! Hooks: programs of the configuration that run at certain points of a container's life. They read its state on standard input.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags};

use crate::kernel::error::Fails;
use crate::spec::Items;

/// Runs all hooks of a kind in order, and stops at the first that fails.
pub(crate) fn run(kind: &str, hooks: Option<&Vec<Hook>>, state: &str) -> Result<()> {
    run_with(kind, hooks, state, &[])
}

/// Like `run`, with an environment for hooks that do not set one.
pub(crate) fn run_with(kind: &str, hooks: Option<&Vec<Hook>>, state: &str, environment: &[String]) -> Result<()> {
    for (index, hook) in hooks.into_iter().flatten().enumerate() {
        run_one(hook, state, environment).with_context(|| format!("error running {kind} hook #{index}"))?;
    }
    Ok(())
}

/// Opens a file in memory for a stream. Unlike a pipe it cannot fill up, and a process that the hook leaves behind cannot hold up
/// its reader.
fn memory(name: &str) -> Result<File> {
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).fails(|| "memfd_create")?;
    Ok(File::from(file))
}

fn run_one(hook: &Hook, state: &str, environment: &[String]) -> Result<()> {
    let mut input = memory("state")?;
    input.write_all(state.as_bytes())?;
    input.seek(SeekFrom::Start(0))?;
    let (mut output, mut errors) = (memory("stdout")?, memory("stderr")?);
    let path = hook.path();
    // `./` keeps a bare name from being looked up in PATH.
    let mut command = Command::new(if path.is_absolute() { path.clone() } else { Path::new(".").join(path) });
    let mut arguments = hook.args().items().iter();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env_clear().stdin(input).stdout(output.try_clone()?).stderr(errors.try_clone()?);
    let own = hook.env().items();
    for variable in if own.is_empty() { environment } else { own } {
        if let Some((name, value)) = variable.split_once('=') {
            command.env(name, value);
        }
    }
    let mut child = command.spawn().fails(|| format!("fork/exec {}", path.display()))?;
    if let Some(seconds) = hook.timeout().filter(|seconds| *seconds > 0) {
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).fails(|| "pidfd_open")?;
        let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let ended = rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit));
        if !matches!(ended, Ok(count) if count > 0) {
            child.kill()?;
            child.wait()?;
            bail!("hook ran past specified timeout of {:.1}s", Duration::from_secs(seconds as u64).as_secs_f64());
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
        run("prestart", Some(&hooks), "{\"id\":1}\n").unwrap();
    }

    #[test]
    fn a_failure_quotes_the_output_of_the_hook() {
        let error = run("poststop", Some(&hook("echo out; echo no >&2; exit 3", None)), "{}").unwrap_err();
        let message = "error running poststop hook #0: exit status 3, stdout: out\n, stderr: no\n";
        assert_eq!(format!("{error:#}"), message);
    }

    #[test]
    fn a_hook_that_exceeds_its_timeout_is_killed() {
        let error = run("prestart", Some(&hook("exec sleep 100", Some(1))), "{}").unwrap_err();
        assert_eq!(format!("{error:#}"), "error running prestart hook #0: hook ran past specified timeout of 1.0s");
    }
}
