use std::path::PathBuf;

use bundle_tool::bundle::unit;
use image_tool::address::home::Home;

use super::About as _;
use super::print_bytes;

/// Print a systemd unit that runs a bundle, with its restart policy.
///
///     bundle-tool unit web >/etc/systemd/system/web.service && systemctl enable --now web
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Unit {
    /// The runtime that the unit calls, by its absolute path; run-tool from $PATH if it is left out.
    #[arg(long, value_name = "PROGRAM")]
    runtime: Option<PathBuf>,
    /// The bundle: a container's name, a path, the first digits of an id, or - to read one from standard input.
    bundle: String,
}

impl Unit {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.bundle)?;
        let text = unit::write(&Home::from_environment(), &bundle, self.runtime.as_deref()).about(&self.bundle)?;
        print_bytes(text.as_bytes())
    }
}
