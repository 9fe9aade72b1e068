//! What follows when a container has been made: its poststart hooks and the file with its process id.

use std::path::Path;

use anyhow::{Context, Result};
use libcontainer::oci_spec::runtime::Spec;

use crate::container::hook;
use crate::create::plan::Options;
use crate::create::{self, Started};
use crate::kernel::error::Fails;
use crate::kernel::log;
use crate::kernel::syscall::Pid;

/// Makes the container, lets it run, and runs what is to run then. It is gone again if that fails.
pub(crate) fn start(spec: &Spec, options: Options, pid_file: Option<&Path>) -> Result<Started> {
    let started = create::create(spec, options)?;
    settle(started, |started| {
        let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_ref());
        hook::run("poststart", hooks, &started.container.state.for_hooks("running", started.pid))?;
        write_pid_file(pid_file, started.pid)
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

/// Writes a process id, if there is a file for it: at once and as a whole, since someone may wait for the file.
pub(crate) fn write_pid_file(path: Option<&Path>, pid: Pid) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let name = path.file_name().with_context(|| format!("pid file {}", path.display()))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let temporary = path.with_file_name(hidden);
    let write = || -> std::io::Result<()> {
        use std::io::Write;
        // What an interrupted call left behind is no reason to fail.
        let _ = std::fs::remove_file(&temporary);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(pid.to_string().as_bytes())?;
        std::fs::rename(&temporary, path)
    };
    write().fails(|| format!("open {}", temporary.display()))?;
    Ok(())
}
