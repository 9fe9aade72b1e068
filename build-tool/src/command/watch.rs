use std::path::PathBuf;

use anyhow::{Context as _, Result};
use build_tool::run::watch;

/// End the containers of a build that was killed.
///
/// A build starts this by itself. It waits for the end of standard input, and then ends the containers and removes the folders
/// of builds that are gone.
#[derive(clap::Args)]
pub(crate) struct Watch {
    /// The folder of builds.
    builds: PathBuf,
    /// The process of the build.
    build: u32,
}

impl Watch {
    pub(crate) fn run(self) -> Result<()> {
        watch::watch(&self.builds, self.build).context("standard input")
    }
}
