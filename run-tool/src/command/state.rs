//! `state`: the state of a container as the runtime spec defines it.

use anyhow::Result;
use clap::Args;

use super::global::Global;
use super::stdout::print_json;

/// Print the state of a container as JSON.
#[derive(Debug, Args)]
pub(crate) struct State {
    /// ID of the container.
    id: String,
}

impl State {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = global.container(&self.id)?;
        print_json(&serde_json::to_string_pretty(&container.describe())?)
    }
}
