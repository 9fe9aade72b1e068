//! The listener of a seccomp filter: taken from the child and sent to the agent that answers its notifications.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::process::{Pid as RustixPid, PidfdFlags, PidfdGetfdFlags};

use crate::container::Container;
use crate::kernel::error::Fails;
use crate::kernel::socket;
use crate::kernel::syscall::Pid;
use crate::spec;

/// Duplicates a descriptor of a child.
pub(super) fn fetch(pid: Pid, fd: i32) -> Result<OwnedFd> {
    let pid = RustixPid::from_raw(pid).context("pid")?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).fails(|| "pidfd_open")?;
    rustix::process::pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty()).fails(|| "pidfd_getfd").map_err(Into::into)
}

/// Sends the listener to the agent (runtime-spec config-linux.md, "The Container Process State").
pub(super) fn send(container: &Container, status: &str, init_pid: Pid, pid: Pid, listener: &OwnedFd) -> Result<()> {
    let seccomp = container.state.config.seccomp.as_ref().context("seccomp listenerPath is not set")?;
    let path = seccomp.listener_path.as_ref().context("seccomp listenerPath is not set")?;
    let socket =
        socket::connect(path).context("failed to connect with seccomp agent specified in the seccomp profile")?;
    let state: serde_json::Value = serde_json::from_str(&container.state.for_hooks(status, init_pid))?;
    let mut document = serde_json::Map::new();
    document.insert("ociVersion".into(), spec::SPEC_VERSION.into());
    document.insert("fds".into(), serde_json::json!(["seccompFd"]));
    document.insert("pid".into(), pid.into());
    if let Some(metadata) = &seccomp.listener_metadata {
        document.insert("metadata".into(), metadata.clone().into());
    }
    document.insert("state".into(), state);
    let text = serde_json::Value::Object(document).to_string();
    socket::send_fd(socket.as_fd(), text.as_bytes(), listener.as_fd())
        .fails(|| format!("cannot send seccomp fd to {}", path.display()))?;
    Ok(())
}
