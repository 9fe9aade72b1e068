//! The options of criu, which `checkpoint` and `restore` share. They are passed on as criu's request has them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use rust_criu::rust_criu_protobuf::rpc::{Criu_cg_mode, Criu_opts};

/// Options for criu.
#[derive(Debug, Args)]
pub(super) struct Criu {
    /// Path for the criu image files [default: checkpoint].
    #[arg(long, value_name = "DIR")]
    image_path: Option<PathBuf>,
    /// Path for criu's work files and logs [default: the path of the images].
    #[arg(long, value_name = "DIR")]
    pub(super) work_path: Option<PathBuf>,
    /// Allow open TCP connections.
    #[arg(long)]
    tcp_established: bool,
    /// Allow external Unix sockets, whose other end is outside the container.
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow shell jobs, whose session and terminal are outside the container.
    #[arg(long)]
    shell_job: bool,
    /// Use userfaultfd to restore memory pages lazily.
    #[arg(long)]
    lazy_pages: bool,
    /// Handle file locks.
    #[arg(long)]
    file_locks: bool,
    /// Cgroups mode: soft, full, strict or ignore [default: soft].
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    manage_cgroups_mode: String,
    /// Create a namespace of this kind, but do not restore its properties (only network is supported).
    #[arg(long, value_name = "NAMESPACE")]
    empty_ns: Vec<String>,
    /// Enable automatic deduplication of memory images.
    #[arg(long)]
    auto_dedup: bool,
}

impl Criu {
    /// The path for the images, with the default applied.
    pub(super) fn images(&self) -> Result<PathBuf> {
        match &self.image_path {
            Some(path) => Ok(path.clone()),
            None => Ok(std::env::current_dir().context("getwd")?.join("checkpoint")),
        }
    }

    /// The options in criu's own form.
    pub(super) fn options(&self) -> Result<Criu_opts> {
        if let Some(other) = self.empty_ns.iter().find(|kind| *kind != "network") {
            bail!("namespace {other:?} is not supported");
        }
        let mut options = Criu_opts::new();
        // Devices and addresses of the network belong to the engine and its hooks.
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
