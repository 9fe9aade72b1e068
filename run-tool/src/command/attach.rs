//! `attach`: the standard streams of a supervised container, by way of its supervisor's socket.

use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::termios::isatty;

use super::global::Global;
use super::stdout::StdoutClosed;
use crate::container::{Container, DoesNotExist, Status, event, exit, supervisor};
use crate::kernel::error::Fails;
use crate::kernel::{caller, syscall};
use crate::supervise::client::{Client, End, Escaped, OutputClosed, Streams};
use crate::supervise::keys::Keys;

/// Attach to the standard streams of a container.
///
/// The container must have been started with `run --detach --log-driver` or `run --supervise`, so that it has a supervisor. The command
/// exits with the container's status. If the container has a terminal, the detach keys end the command with status 1, as in docker, and leave
/// the container running.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Key sequence that detaches, as in docker [default: the annotation org.oci-tools.detach-keys, or ctrl-p,ctrl-q].
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not attach standard input.
    #[arg(long)]
    no_stdin: bool,
    /// Forward received signals to the container.
    #[arg(long, value_name = "true|false", default_value = "true", default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// ID of the container.
    id: String,
}

/// What docker says of a container to which nobody can be attached now.
#[derive(Debug, thiserror::Error)]
#[error("You cannot attach to a {0} container, {1} first")]
struct NotNow(&'static str, &'static str);

impl Attach {
    /// Returns the exit status.
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        if caller::caller().is_some() {
            match global.container(&self.id).map(|container| container.status()) {
                Ok(Status::Stopped) => return Err(NotNow("stopped", "start it").into()),
                Ok(Status::Paused) => return Err(NotNow("paused", "unpause it").into()),
                // One that was created only has no state.
                Err(error) if error.is::<DoesNotExist>() => return Err(NotNow("stopped", "start it").into()),
                _ => {}
            }
        }
        let container = global.named(&self.id)?;
        let has_terminal = || container.spec().is_ok_and(|spec| super::create::has_terminal(&spec));
        if caller::caller().is_some() && !self.no_stdin && !isatty(rustix::stdio::stdin()) && has_terminal() {
            bail!("the input device is not a TTY");
        }
        let streams = Streams { input: !self.no_stdin, output: true, error: true };
        let client = client(&container, streams, self.detach_keys.as_deref(), self.sig_proxy)?;
        match attach(&container, &client)? {
            End::Detached => {
                event::record(&container.state, "detach", &[]);
                Err(Escaped.into())
            }
            end => Ok(status(end)),
        }
    }
}

/// How a caller is attached to a container whose annotations say how it was made.
pub(super) fn client(
    container: &Container,
    mut streams: Streams,
    keys: Option<&str>,
    sig_proxy: bool,
) -> Result<Client> {
    let annotations = container.state.annotations();
    let annotation = |name: &str| annotations.get(&format!("org.oci-tools.{name}")).and_then(|value| value.as_str());
    let has_terminal = container.spec().is_ok_and(|spec| super::create::has_terminal(&spec));
    // Nobody would read it.
    streams.input &= has_terminal || annotation("interactive") == Some("true");
    Ok(Client {
        streams,
        keys: keys_of(keys.or(annotation("detach-keys")))?,
        sig_proxy,
        to_the_end: annotation("rm") == Some("true"),
    })
}

/// The keys that detach, or docker's.
pub(super) fn keys_of(text: Option<&str>) -> Result<Keys> {
    Keys::parse(text.filter(|text| !text.is_empty()).unwrap_or("ctrl-p,ctrl-q"))
}

/// Attaches to a running container. Returns how that ends.
pub(super) fn attach(container: &Container, client: &Client) -> Result<End> {
    let id = &container.state.id;
    if container.state.log.is_none() {
        bail!("{id}: container has no supervisor (start it with run-tool run --detach --log-driver json-file)");
    }
    if !container.is_alive() {
        bail!("{id}: container not running");
    }
    let process = container.process()?;
    let socket = supervisor::connect(&container.folder)?;
    event::record(&container.state, "attach", &[]);
    syscall::block_signals().fails(|| "sigprocmask")?;
    let end = client.serve(&socket, Some(&process));
    recorded(end, &container.folder).with_context(|| id.clone())
}

/// The end of an attachment to a container of this folder.
pub(super) fn recorded(end: Result<End>, folder: &Path) -> Result<End> {
    match end {
        Err(error) if error.is::<OutputClosed>() => Err(StdoutClosed.into()),
        // The supervisor had recorded the end, but could not tell it any more.
        Err(error) => exit::of(folder).map(|exit| End::Exit(exit.status)).ok_or(error),
        end => end,
    }
}

/// The exit status for an end.
pub(super) fn status(end: End) -> u8 {
    match end {
        End::Exit(status) => status as u8,
        End::Detached => 0,
        // What a shell shows for a program that the signal has ended, as it ends docker's.
        End::Signaled(signal) => (128 + signal) as u8,
    }
}
