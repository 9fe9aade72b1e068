//! From a configuration to a process in a container: the init process, or a further one for `exec`.
//!
//! `create` below makes the init process. Read it in this order: the decisions (`begin`, with `validate` and `plan`), the parent's
//! side (`first`), and the child's side (`init`). The two sides exchange the messages in `talk`. `exec` starts a further process.
//! `parent` and `child` hold what is common to both kinds. This room imports everything that a container consists of
//! (`container`, `cgroup`, `rootfs`, `program`) and nothing that comes later.

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

use std::path::Path;

use anyhow::Result;
use libcontainer::oci_spec::runtime::Spec;

pub(crate) use self::first::NotExecuted;
use self::notify::Notify;
use self::plan::Options;
pub(crate) use self::talk::Ends;
use crate::container::{Container, hook};
use crate::kernel::syscall::{self, Pid};
use crate::kernel::{file, log};

/// A container whose program is running or waiting for `start`.
#[derive(Debug)]
pub(crate) struct Started {
    /// The container, with its state stored.
    pub(crate) container: Container,
    /// Its init process.
    pub(crate) pid: Pid,
    /// This side's ends of its streams.
    pub(crate) ends: Ends,
    /// The socket at which it reports readiness, if the caller has a `NOTIFY_SOCKET`.
    pub(crate) notify: Option<Notify>,
}

/// Creates a container. If a step fails, everything done before is undone.
pub(crate) fn create(spec: &Spec, mut options: Options) -> Result<Started> {
    let mut begun = begin::begin(spec, &mut options)?;
    syscall::default_signals();
    // Used groups belong to someone else. They must not be removed with what is undone below.
    let made = begun.cgroup.refuse_used().and_then(|()| {
        let notify = match &options.notify {
            Some(host) => notify::prepare(&begun.container.folder, host, options.again, options.wait_for_start)?,
            None => None,
        };
        let ends = first::make(&mut begun, spec, options.wait_for_start).map_err(|error| {
            let starved = begun.cgroup.oom_kills() > 0;
            begun.undo_groups();
            if let Err(error) = begun.container.state.rdt.destroy() {
                log::warn(&format!("{error:#}"));
            }
            if starved { starvation(&error) } else { error }
        })?;
        Ok((ends, notify))
    });
    match made {
        Ok((ends, notify)) => Ok(Started { container: begun.container, pid: begun.pid, ends, notify }),
        Err(error) => {
            begun.undo_folder();
            Err(error)
        }
    }
}

/// The error for a container whose init process was OOM-killed. The step that failed is only named with `--debug`.
fn starvation(error: &anyhow::Error) -> anyhow::Error {
    let (context, cause) =
        ("unable to start container process", "container init was OOM-killed (memory limit too low?)");
    if !log::debugging() {
        return anyhow::anyhow!("{context}: {cause}");
    }
    let step = format!("{error:#}");
    anyhow::anyhow!("{context}: {cause}: {}", step.trim_start_matches(context).trim_start_matches(": "))
}

/// Creates a container, runs its poststart hooks and writes the pid file. If that fails, the container is deleted.
pub(crate) fn start(spec: &Spec, options: Options, pid_file: Option<&Path>) -> Result<Started> {
    settle(create(spec, options)?, |started| {
        let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_ref());
        hook::run_for(&started.container.state, "poststart", hooks, "running", started.pid)?;
        file::write_pid(pid_file, started.pid)
    })
}

/// Does what must follow a start. If that fails, the container is deleted.
pub(crate) fn settle(started: Started, after: impl FnOnce(&Started) -> Result<()>) -> Result<Started> {
    if let Err(error) = after(&started) {
        if let Err(error) = started.container.kill_and_destroy() {
            log::warn(&format!("{error:#}"));
        }
        return Err(error);
    }
    Ok(started)
}
