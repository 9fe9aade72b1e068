use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bundle_tool::{container, journal};
use clap::ValueHint;
use image_tool::address::home::Home;
use image_tool::beneath::Root;
use image_tool::layer::diff::{self, Options};
use image_tool::program::pipe::stdout_error;

use super::{About as _, candidates};

/// Write a container's root file system as a tar archive.
///
/// Volumes and other mounts are not part of it.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool export -o web.tar web
  bundle-tool export web | image-tool import - :flat")]
pub(crate) struct Export {
    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Container name, ID prefix or bundle path, or - to read one from standard input.
    #[arg(add = candidates::containers())]
    bundle: String,
}

impl Export {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.output.is_none() && io::stdout().is_terminal() {
            bail!("an archive is not written to a terminal (use --output FILE)");
        }
        let bundle = super::bundle(&self.bundle)?;
        let home = Home::from_environment();
        container::mount_files(&home, &bundle).about(&self.bundle)?;
        let root = Root::open(bundle.rootfs())?;
        let options = Options { owners: container::userns::owners(&bundle), ..Options::default() };
        journal::record_bundle(&home, "export", &bundle, &bundle.name(), &[]);
        match &self.output {
            Some(path) => {
                let file = File::create(path).with_context(|| path.display().to_string())?;
                let written =
                    diff::tree(&root, BufWriter::with_capacity(1 << 16, file), &options).about(&self.bundle)?;
                written
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)
                    .with_context(|| path.display().to_string())?;
                Ok(())
            }
            None => match diff::tree(&root, BufWriter::with_capacity(1 << 16, io::stdout().lock()), &options) {
                Ok(mut output) => output.flush().map_err(stdout_error).context("standard output"),
                Err(diff::Error::Write(error)) => Err(stdout_error(error)).context("standard output"),
                Err(error) => Err(error).about(&self.bundle),
            },
        }
    }
}
