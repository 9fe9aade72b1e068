//! What `checkpoint` and `restore` have in common on the command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use rust_criu::rust_criu_protobuf::rpc::{Criu_cg_mode, Criu_opts};

/// Options that are criu's.
#[derive(Debug, Args)]
pub(super) struct Criu {
    /// The folder of criu's images; `checkpoint` by default.
    #[arg(long, value_name = "FOLDER")]
    image_path: Option<PathBuf>,
    /// Keep criu's log and work files in this folder; with the images by default.
    #[arg(long, value_name = "FOLDER")]
    pub(super) work_path: Option<PathBuf>,
    /// Allow open TCP connections.
    #[arg(long)]
    tcp_established: bool,
    /// Allow Unix sockets whose other end is outside.
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow a session and a terminal from outside.
    #[arg(long)]
    shell_job: bool,
    /// Leave memory to be fetched when it is needed.
    #[arg(long)]
    lazy_pages: bool,
    /// Keep file locks.
    #[arg(long)]
    file_locks: bool,
    /// What of the control groups is kept: soft, full, strict or ignore.
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    manage_cgroups_mode: String,
    /// Keep nothing of this kind of namespace but that it is there (network).
    #[arg(long, value_name = "NAMESPACE")]
    empty_ns: Vec<String>,
    /// Drop memory from images that is not needed there any more.
    #[arg(long)]
    auto_dedup: bool,
}

impl Criu {
    /// The folder of the images.
    pub(super) fn images(&self) -> Result<PathBuf> {
        match &self.image_path {
            Some(path) => Ok(path.clone()),
            None => Ok(std::env::current_dir().context("getwd")?.join("checkpoint")),
        }
    }

    /// What goes to criu as it is.
    pub(super) fn options(&self) -> Result<Criu_opts> {
        if let Some(other) = self.empty_ns.iter().find(|kind| *kind != "network") {
            bail!("namespace {other:?} is not supported");
        }
        let mut options = Criu_opts::new();
        // Devices and addresses of the network are not run-tool's.
        options.set_empty_ns(libc::CLONE_NEWNET as u32);
        options.set_manage_cgroups_mode(match self.manage_cgroups_mode.as_str() {
            "" => Criu_cg_mode::DEFAULT,
            "soft" => Criu_cg_mode::SOFT,
            "full" => Criu_cg_mode::FULL,
            "strict" => Criu_cg_mode::STRICT,
            "ignore" => Criu_cg_mode::IGNORE,
            _ => bail!("invalid manage-cgroups-mode value"),
        });
        options.set_tcp_established(self.tcp_established);
        options.set_ext_unix_sk(self.ext_unix_sk);
        options.set_shell_job(self.shell_job);
        options.set_lazy_pages(self.lazy_pages);
        options.set_file_locks(self.file_locks);
        options.set_auto_dedup(self.auto_dedup);
        Ok(options)
    }
}
