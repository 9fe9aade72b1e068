//! `restore`: a container brought back from the images that `checkpoint` saved.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::create::Making;
use super::criu::Criu;
use super::global::Global;
use crate::checkpoint::restore::{self, Restoring};
use crate::create;
use crate::kernel::{file, log, procfs};
use crate::supervise::foreground::Foreground;
use crate::supervise::signals;

/// Restore a container from a previous checkpoint.
///
/// The bundle must be that of the saved container. criu restores its processes. In the foreground, run-tool then waits for the
/// container, as `run` does.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Path to the root of the bundle directory [default: the current directory].
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Path to a Unix socket that receives the master end of the console's pseudoterminal.
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Write the process ID to this file.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    #[command(flatten)]
    criu: Criu,
    /// Detach from the container's process.
    #[arg(short, long)]
    detach: bool,
    /// Do not become a subreaper, which reaps reparented processes.
    #[arg(long)]
    no_subreaper: bool,
    /// Do not use pivot_root to jail the process inside the rootfs.
    ///
    /// criu sets up the root itself, so this only refuses a private rootfsPropagation.
    #[arg(long)]
    no_pivot: bool,
    /// Specify an LSM profile to be used during restore.
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// Specify an LSM mount context to be used during restore.
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    /// ID of the new container, unique on this host.
    id: String,
}

impl Restore {
    pub(super) fn run(self, global: &Global) -> Result<u8> {
        if !rustix::process::geteuid().is_root() || procfs::in_user_namespace() {
            log::warn("runc checkpoint is untested with rootless containers");
        }
        let restoring = self.restoring(global)?;
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
        if !self.no_subreaper {
            signals::adopt_orphans();
        }
        let foreground = if self.detach { None } else { Some(Foreground::begin(terminal)?) };
        options.mask = foreground.as_ref().map(Foreground::mask);
        let started = restore::restore(&spec, options, restoring)?;
        let started = create::settle(started, |started| file::write_pid(making.pid_file.as_deref(), started.pid))?;
        let Some(foreground) = foreground else { return Ok(0) };
        let status = foreground.serve(started.pid, started.ends, started.notify);
        // The exit status is the container's, so a failure to clean up is only a warning.
        if let Err(error) = started.container.kill_and_destroy() {
            log::warn(&format!("{error:#}"));
        }
        Ok(status? as u8)
    }

    fn restoring(&self, global: &Global) -> Result<Restoring> {
        // The caller's relative paths must be resolved before the working directory changes to the bundle.
        let here = std::env::current_dir().context("getwd")?;
        let mut restoring = Restoring {
            criu: global.criu()?,
            options: self.criu.options()?,
            images: here.join(self.criu.images()?),
            work: self.criu.work_path.as_ref().map(|path| here.join(path)),
        };
        let options = &mut restoring.options;
        if let Some(profile) = self.lsm_profile.as_ref().filter(|profile| !profile.is_empty()) {
            options.set_lsm_profile(profile.clone());
        }
        if let Some(context) = self.lsm_mount_context.as_ref().filter(|context| !context.is_empty()) {
            options.set_lsm_mount_context(context.clone());
        }
        Ok(restoring)
    }
}
