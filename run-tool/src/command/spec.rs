//! `spec`: a config.json to start from, the same as runc's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use crate::kernel::error::Fails;

/// Create a config.json to start from.
///
/// It runs `sh` in the directory rootfs of the bundle and is meant to be edited.
#[derive(Debug, Args)]
pub(crate) struct SpecCommand {
    /// Path to the root of the bundle directory [default: the current directory].
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Generate a configuration for a rootless container.
    #[arg(long)]
    rootless: bool,
}

const ROOT: &str = include_str!("spec.json");
const ROOTLESS: &str = include_str!("spec-rootless.json");

impl SpecCommand {
    pub(super) fn run(self) -> Result<()> {
        if let Some(bundle) = &self.bundle {
            std::env::set_current_dir(bundle).fails(|| format!("chdir {}", bundle.display()))?;
        }
        let path = Path::new("config.json");
        if path.exists() {
            bail!("File config.json exists. Remove it first");
        }
        let text = if self.rootless {
            let uid = rustix::process::geteuid().as_raw().to_string();
            let gid = rustix::process::getegid().as_raw().to_string();
            ROOTLESS.replace(": UID", &format!(": {uid}")).replace(": GID", &format!(": {gid}"))
        } else {
            ROOT.to_owned()
        };
        // With cgroup v2 alone the container gets a cgroup namespace, so that it sees only its own groups.
        let mount = "\"type\": \"mount\"\n\t\t\t}";
        let text = if crate::cgroup::is_unified() {
            text.replace(mount, &format!("{mount},\n\t\t\t{{\n\t\t\t\t\"type\": \"cgroup\"\n\t\t\t}}"))
        } else {
            text
        };
        fs::write(path, text.trim_end()).fails(|| "open config.json")?;
        Ok(())
    }
}
