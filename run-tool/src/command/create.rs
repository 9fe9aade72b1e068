//! `create`: a container that waits for `start`. The options that `run` and `restore` share with it are here too.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use libcontainer::oci_spec::runtime::Spec;

use super::global::{Global, name};
use crate::create::notify;
use crate::create::plan::Options;
use crate::kernel::error::Fails;
use crate::kernel::file;
use crate::{create, program, spec};

/// Create a container.
///
/// The container is set up completely. Its program waits for `start`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    making: Making,
    /// ID of the new container, unique on this host.
    id: String,
}

/// The options that `create` and `run` share; `restore` has some of them.
#[derive(Debug, Args)]
pub(crate) struct Making {
    /// Path to the root of the bundle directory [default: the current directory].
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// Path to a Unix socket that receives the master end of the console's pseudoterminal.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Path to a Unix socket that receives a pidfd of the container's init process.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Write the process ID to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Do not use pivot_root to jail the process inside the rootfs.
    ///
    /// This is for a rootfs on a ramdisk, where the kernel refuses pivot_root. The host's mounts are then less well hidden.
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Do not create a new session keyring for the container.
    ///
    /// The container then inherits the session keyring of the caller.
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
    /// Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total).
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) preserve_fds: u32,
}

impl Making {
    /// Changes to the bundle's directory and reads config.json there.
    pub(crate) fn load(&mut self) -> Result<Spec> {
        // The caller's relative paths must be resolved before the working directory changes.
        for path in [&mut self.pid_file, &mut self.console_socket, &mut self.pidfd_socket].into_iter().flatten() {
            *path = std::env::current_dir().context("getwd")?.join(&*path);
        }
        if let Some(bundle) = self.bundle.as_deref().filter(|bundle| !bundle.as_os_str().is_empty()) {
            std::env::set_current_dir(bundle).fails(|| format!("chdir {}", bundle.display()))?;
        }
        spec::load()
    }

    /// Returns whether the container has a terminal. Fails if `--console-socket` is missing for it, or given without need.
    pub(crate) fn check_terminal(&self, spec: &Spec, detach: bool) -> Result<bool> {
        let terminal = has_terminal(spec);
        if detach && terminal && self.console_socket.is_none() {
            bail!("cannot allocate tty if runc will detach without setting console socket");
        }
        if (!detach || !terminal) && self.console_socket.is_some() {
            bail!("cannot use console socket if runc will not detach or allocate tty");
        }
        Ok(terminal)
    }

    /// The options for `crate::create`.
    pub(crate) fn options(&self, global: &Global, id: &str) -> Result<Options> {
        let (listen, environment) = activation();
        Ok(Options {
            id: id.to_owned(),
            root: global.root.clone(),
            bundle: std::env::current_dir().context("getwd")?,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            console_socket: self.console_socket.clone(),
            pidfd_socket: self.pidfd_socket.clone(),
            kept: program::inherited(listen, self.preserve_fds)?,
            environment,
            rootless_cgroups: global.rootless_cgroups()?,
            notify: notify::host(),
            systemd_cgroup: global.systemd_cgroup,
            ..Options::default()
        })
    }
}

/// Whether config.json asks for a terminal (`process.terminal`).
pub(crate) fn has_terminal(spec: &Spec) -> bool {
    spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false)
}

/// The number of sockets passed by systemd (sd_listen_fds(3)) and the variables that announce them to the container. Zero if
/// `LISTEN_PID` names another process.
pub(crate) fn activation() -> (u32, Vec<String>) {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    match (variable("LISTEN_PID"), variable("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == std::process::id() && count > 0 => {
            (count, vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()])
        }
        _ => (0, Vec::new()),
    }
}

impl Create {
    /// The value of `--preserve-fds`.
    pub(super) fn preserved(&self) -> u32 {
        self.making.preserve_fds
    }

    pub(super) fn run(self, global: &Global) -> Result<u8> {
        self.create(global).with_context(|| format!("{} create failed", name()))?;
        Ok(0)
    }

    fn create(mut self, global: &Global) -> Result<()> {
        let spec = self.making.load()?;
        self.making.check_terminal(&spec, true)?;
        let options = Options { wait_for_start: true, ..self.making.options(global, &self.id)? };
        let started = create::create(&spec, options)?;
        let pid_file = self.making.pid_file.as_deref();
        create::settle(started, |started| file::write_pid(pid_file, started.pid)).map(drop)
    }
}
