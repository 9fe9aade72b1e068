//! `restore`: a container as `checkpoint` saved it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::Global;
use super::create::Making;
use crate::launch::write_pid_file;
use crate::restore::{self, Restoring};
use crate::supervise::Foreground;
use crate::{checkpoint, log, namespace};

/// Restore a container from a checkpoint.
///
/// The bundle is that of the container that was saved. criu makes its processes again; in the foreground run-tool then waits for
/// it as `run` does.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The folder of the bundle; the working directory by default.
    #[arg(short, long, value_name = "FOLDER")]
    bundle: Option<PathBuf>,
    /// Send the terminal's master to this Unix socket.
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Write the id of the container's first process to this file.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The folder with criu's images; `checkpoint` by default.
    #[arg(long, value_name = "FOLDER")]
    image_path: Option<PathBuf>,
    /// Keep criu's log and work files in this folder; with the images by default.
    #[arg(long, value_name = "FOLDER")]
    work_path: Option<PathBuf>,
    /// Allow open TCP connections.
    #[arg(long)]
    tcp_established: bool,
    /// Allow Unix sockets whose other end is outside.
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow a session and a terminal from outside.
    #[arg(long)]
    shell_job: bool,
    /// Restore file locks.
    #[arg(long)]
    file_locks: bool,
    /// What of the control groups criu restores: soft, full, strict or ignore.
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    manage_cgroups_mode: String,
    /// Leave the container running in the background.
    #[arg(short, long)]
    detach: bool,
    /// Do not become the parent of processes that the container orphans.
    #[arg(long)]
    no_subreaper: bool,
    /// Do not use pivot_root, as for `run`; criu makes the root itself, so this only checks rootfsPropagation.
    #[arg(long)]
    no_pivot: bool,
    /// Restore nothing of this kind of namespace but that it is there (network).
    #[arg(long, value_name = "NAMESPACE")]
    empty_ns: Vec<String>,
    /// Drop memory from images once it is restored.
    #[arg(long)]
    auto_dedup: bool,
    /// Fetch memory when it is needed.
    #[arg(long)]
    lazy_pages: bool,
    /// Restore with this security profile.
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// Restore mounts with this security context.
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    /// The name of the container, unique on this host.
    id: String,
}

impl Restore {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        if !rustix::process::geteuid().is_root() || namespace::in_user_namespace() {
            log::warn("runc checkpoint is untested with rootless containers");
        }
        let restoring = self.restoring()?;
        let mut making = Making {
            bundle: self.bundle,
            console_socket: self.console_socket,
            pidfd_socket: None,
            pid_file: self.pid_file,
            no_pivot: self.no_pivot,
            no_new_keyring: false,
            preserve_fds: 0,
        };
        let spec = making.load()?;
        let terminal = making.check_terminal(&spec, self.detach)?;
        let mut options = making.options(global, &self.id)?;
        if !self.no_subreaper
            && let Err(error) = rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
        {
            log::warn(&crate::error::reason(&error.into()));
        }
        let foreground = if self.detach { None } else { Some(Foreground::begin(terminal)?) };
        options.mask = foreground.as_ref().map(Foreground::mask);
        let started = restore::restore(&spec, options, restoring)?;
        if let Some(path) = &making.pid_file
            && let Err(error) = write_pid_file(path, started.pid)
        {
            let _ = started.container.kill_and_destroy();
            return Err(error);
        }
        let Some(foreground) = foreground else { return Ok(0) };
        let status = foreground.serve(started.pid, started.master, started.notify);
        // The container's own status is what counts from here on.
        if let Err(error) = started.container.kill_and_destroy() {
            log::warn(&format!("{error:#}"));
        }
        Ok(status? as u8)
    }

    fn restoring(&self) -> Result<Restoring> {
        // The caller's paths are those before the working directory changes to the bundle.
        let here = std::env::current_dir().context("getwd")?;
        let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let mut restoring = Restoring {
            images: here.join(given(&self.image_path).unwrap_or_else(|| "checkpoint".into())),
            work: given(&self.work_path).map(|path| here.join(path)),
            ..Restoring::default()
        };
        if let Some(other) = self.empty_ns.iter().find(|kind| *kind != "network") {
            bail!("namespace {other:?} is not supported");
        }
        let options = &mut restoring.options;
        options.set_empty_ns(libc::CLONE_NEWNET as u32);
        options.set_manage_cgroups_mode(checkpoint::cgroup_mode(&self.manage_cgroups_mode)?);
        options.set_tcp_established(self.tcp_established);
        options.set_ext_unix_sk(self.ext_unix_sk);
        options.set_shell_job(self.shell_job);
        options.set_file_locks(self.file_locks);
        options.set_auto_dedup(self.auto_dedup);
        options.set_lazy_pages(self.lazy_pages);
        if let Some(profile) = self.lsm_profile.as_ref().filter(|profile| !profile.is_empty()) {
            options.set_lsm_profile(profile.clone());
        }
        if let Some(context) = self.lsm_mount_context.as_ref().filter(|context| !context.is_empty()) {
            options.set_lsm_mount_context(context.clone());
        }
        Ok(restoring)
    }
}
