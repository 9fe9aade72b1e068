//! From a configuration to a process in a container: its first one, or another one of exec.
//!
//! `create` below is the way of the first one, to be read in this order: what is decided (`begin`, with `validate` and `plan`), the
//! parent's side (`first`), and the child's (`init`), which talk to each other as `talk` says. `exec` is the way of another one.
//! What both do alike is in `parent` and `child`. This room imports all that a container consists of (`container`, `cgroup`,
//! `rootfs`, `program`) and nothing that comes later.

mod agent;
pub(crate) mod begin;
mod child;
pub(crate) mod exec;
mod first;
mod init;
pub(crate) mod namespace;
mod netdev;
pub(crate) mod notify;
mod parent;
pub(crate) mod plan;
pub(crate) mod talk;
mod validate;

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Result;
use libcontainer::oci_spec::runtime::Spec;

pub(crate) use self::first::NotExecuted;
use self::notify::Notify;
use self::plan::Options;
use crate::container::{Container, hook};
use crate::kernel::syscall::{self, Pid};
use crate::kernel::{file, log};

/// A container whose program runs or waits for `start`.
#[derive(Debug)]
pub(crate) struct Started {
    /// The container.
    pub(crate) container: Container,
    /// Its first process.
    pub(crate) pid: Pid,
    /// The terminal, if it stays here.
    pub(crate) master: Option<OwnedFd>,
    /// Where it says that it is ready, if the caller wants to know.
    pub(crate) notify: Option<Notify>,
}

/// Makes a container. What was made is taken back if a step fails.
pub(crate) fn create(spec: &Spec, mut options: Options) -> Result<Started> {
    let mut begun = begin::begin(spec, &mut options)?;
    syscall::default_signals();
    // Someone else's groups must survive the failure that they are the reason of.
    let made = begun.cgroup.refuse_used().and_then(|()| {
        let notify = match &options.notify {
            Some(host) => notify::prepare(&begun.container.folder, host, options.again, options.wait_for_start)?,
            None => None,
        };
        let master = first::make(&mut begun, spec, options.wait_for_start).map_err(|error| {
            let starved = begun.cgroup.oom_kills() > 0;
            begun.undo_groups();
            if let Err(error) = begun.container.state.rdt.destroy() {
                log::warn(&format!("{error:#}"));
            }
            if starved { starvation(&error) } else { error }
        })?;
        Ok((master, notify))
    });
    match made {
        Ok((master, notify)) => Ok(Started { container: begun.container, pid: begun.pid, master, notify }),
        Err(error) => {
            begun.undo_folder();
            Err(error)
        }
    }
}

/// Whatever step it was that failed: this is why. The step itself is told to those who look for faults in run-tool.
fn starvation(error: &anyhow::Error) -> anyhow::Error {
    let (context, cause) =
        ("unable to start container process", "container init was OOM-killed (memory limit too low?)");
    if !log::debugging() {
        return anyhow::anyhow!("{context}: {cause}");
    }
    let step = format!("{error:#}");
    anyhow::anyhow!("{context}: {cause}: {}", step.trim_start_matches(context).trim_start_matches(": "))
}

/// Makes a container, lets it run, and runs what is to run then. It is gone again if that fails.
pub(crate) fn start(spec: &Spec, options: Options, pid_file: Option<&Path>) -> Result<Started> {
    settle(create(spec, options)?, |started| {
        let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_ref());
        hook::run("poststart", hooks, &started.container.state.for_hooks("running", started.pid))?;
        file::write_pid(pid_file, started.pid)
    })
}

/// Does what follows on a container. It is gone again if that fails.
pub(crate) fn settle(started: Started, after: impl FnOnce(&Started) -> Result<()>) -> Result<Started> {
    if let Err(error) = after(&started) {
        if let Err(error) = started.container.kill_and_destroy() {
            log::warn(&format!("{error:#}"));
        }
        return Err(error);
    }
    Ok(started)
}
