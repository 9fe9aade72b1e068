use std::path::PathBuf;

use bundle_tool::bundle::unit;
use clap::ValueHint;
use image_tool::address::home::Home;
use image_tool::program::pipe;

use super::{About as _, candidates};

/// Print a systemd unit that runs a bundle.
///
/// The unit has the container's restart policy, stop signal and stop timeout, and mounts the root file system before each start.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool unit web >/etc/systemd/system/web.service && systemctl enable --now web
  bundle-tool unit --runtime /usr/bin/crun web")]
pub(crate) struct Unit {
    /// Runtime that the unit calls [default: run-tool].
    #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::ExecutablePath)]
    runtime: Option<PathBuf>,
    /// Container name, ID prefix or bundle path, or - to read one from standard input.
    #[arg(add = candidates::containers())]
    bundle: String,
}

impl Unit {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.bundle)?;
        let text = unit::write(&Home::from_environment(), &bundle, self.runtime.as_deref()).about(&self.bundle)?;
        pipe::print(text)
    }
}
