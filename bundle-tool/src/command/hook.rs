use std::io::Read as _;

use anyhow::Context as _;
use bundle_tool::container::hook::{self, Action};
use image_tool::address::home::Home;

/// Bring a container's network up or down, as the hooks in config.json have runtimes do.
///
/// Reads the container's state from standard input (runtime-spec runtime.md, "State").
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Hook {
    /// What to do: up before the program starts, down after the container is deleted.
    #[arg(value_parser = ["up", "down"])]
    action: String,
}

/// A runtime's state of a container is far smaller.
const LIMIT: u64 = 4 << 20;

impl Hook {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut state = Vec::new();
        std::io::stdin().lock().take(LIMIT).read_to_end(&mut state).context("read the container's state")?;
        let action = if self.action == "up" { Action::Up } else { Action::Down };
        Ok(hook::run(&Home::from_environment(), action, &state)?)
    }
}
