//! `checkpoint`: a running container, saved to disk by criu.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::criu::Criu;
use super::global::Global;
use crate::checkpoint::save::{self, Saving};
use crate::container::Status;
use crate::kernel::error::Fails;
use crate::kernel::{log, procfs};

/// Checkpoint a running container.
///
/// criu saves the container's processes and memory to a directory. The container is then deleted, unless --leave-running or
/// --pre-dump is given.
#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    criu: Criu,
    /// Path of the images of a previous pre-dump, relative to --image-path; only memory that has changed since is saved.
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Leave the container running after checkpointing.
    #[arg(long)]
    leave_running: bool,
    /// Skip in-flight TCP connections.
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Allow unlinked files that are still open to be linked back to a path.
    #[arg(long)]
    link_remap: bool,
    /// With --lazy-pages, write a NUL byte to this file descriptor once memory pages can be fetched.
    #[arg(long, value_name = "N", default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
    status_fd: i32,
    /// Send memory pages to the page server at this address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Dump the container's memory only and leave the container running.
    #[arg(long)]
    pre_dump: bool,
    /// ID of the container.
    id: String,
}

impl Checkpoint {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        if !rustix::process::geteuid().is_root() || procfs::in_user_namespace() {
            log::warn("runc checkpoint is untested with rootless containers");
        }
        let container = global.container(&self.id)?;
        let status = container.status();
        if matches!(status, Status::Created | Status::Stopped) {
            bail!("Container cannot be checkpointed in {} state", status.name());
        }
        let saving = self.saving(global)?;
        let gone = !self.leave_running && !self.pre_dump;
        save::save(&container, saving)?;
        // The images are complete, so a failure to clean up is only a warning.
        if gone && let Err(error) = container.kill_and_destroy() {
            log::warn(&format!("{error:#}"));
        }
        Ok(())
    }

    fn saving(&self, global: &Global) -> Result<Saving> {
        let mut saving = Saving {
            criu: global.criu()?,
            options: self.criu.options()?,
            images: self.criu.images()?,
            work: self.criu.work_path.clone(),
            pre_dump: self.pre_dump,
            parent: None,
            page_server: None,
            status_fd: None,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&saving.images)
            .fails(|| format!("mkdir {}", saving.images.display()))?;
        if let Some(parent) = &self.parent_path {
            saving.parent = Some(checked_parent(&saving.images, parent)?);
        }
        saving.page_server = self.page_server.as_deref().filter(|text| !text.is_empty()).map(server).transpose()?;
        saving.status_fd = (self.status_fd != -1).then_some(self.status_fd);
        saving.options.set_leave_running(self.leave_running);
        saving.options.set_tcp_skip_in_flight(self.tcp_skip_in_flight);
        saving.options.set_link_remap(self.link_remap);
        Ok(saving)
    }
}

fn checked_parent(images: &Path, parent: &Path) -> Result<PathBuf> {
    if parent.is_absolute() {
        bail!("--parent-path must be relative");
    }
    let real = images.join(parent);
    let metadata = fs::metadata(&real).fails(|| format!("invalid --parent-path: stat {}", real.display()))?;
    if !metadata.is_dir() {
        bail!("invalid --parent-path: {}: not a directory", real.display());
    }
    Ok(parent.to_owned())
}

/// Parses `ADDRESS:PORT`; an IPv6 address is in brackets.
fn server(text: &str) -> Result<(String, i32)> {
    let Some((address, port)) = text.rsplit_once(':').filter(|(address, port)| !address.is_empty() && !port.is_empty())
    else {
        bail!("Use --page-server ADDRESS:PORT to specify page server");
    };
    let address = address.trim_start_matches('[').trim_end_matches(']');
    Ok((address.to_owned(), port.parse().ok().context("Invalid port number")?))
}
