//! `checkpoint`: a running container saved to disk by criu.

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
/// criu saves its processes and memory to a folder; the container is then gone, unless --leave-running or --pre-dump say
/// otherwise.
#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    criu: Criu,
    /// Save only what changed since the pre-dump in this folder, relative to the images.
    #[arg(long, value_name = "FOLDER")]
    parent_path: Option<PathBuf>,
    /// Leave the container running.
    #[arg(long)]
    leave_running: bool,
    /// Skip TCP connections that are being made.
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Allow unlinked files to be linked back.
    #[arg(long)]
    link_remap: bool,
    /// Write a NUL to this descriptor once memory can be fetched.
    #[arg(long, value_name = "N", default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
    status_fd: i32,
    /// Send memory to the page server at this address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Save memory alone, and let the container go on.
    #[arg(long)]
    pre_dump: bool,
    /// The name of the container.
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
        // The images are complete: what cannot be removed is no reason to doubt them.
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

/// Reads `ADDRESS:PORT`, the address of version 6 in brackets.
fn server(text: &str) -> Result<(String, i32)> {
    let Some((address, port)) = text.rsplit_once(':').filter(|(address, port)| !address.is_empty() && !port.is_empty())
    else {
        bail!("Use --page-server ADDRESS:PORT to specify page server");
    };
    let address = address.trim_start_matches('[').trim_end_matches(']');
    Ok((address.to_owned(), port.parse().ok().context("Invalid port number")?))
}
