//! The commands that every tool has to document itself; help does not list them.

use anyhow::Context as _;
use clap::Subcommand;

use super::Tool;
use super::completion::{Candidates, Complete, Completions};
use super::manual::{Man, Manual};
use super::pipe;

/// What packages install and shells call.
#[derive(Debug, Subcommand)]
pub enum Document {
    /// Manual pages.
    Man(Man),
    /// A shell's script.
    Completions(Completions),
    /// What that script calls.
    #[command(name = "__complete")]
    Complete(Complete),
}

impl Document {
    /// Writes the document, for the program `tool` with the command line `command`.
    ///
    /// # Errors
    /// If a page or standard output cannot be written.
    pub fn run(
        self,
        tool: Tool,
        command: clap::Command,
        manual: &Manual,
        candidates: Candidates,
    ) -> anyhow::Result<()> {
        let text = match self {
            Self::Man(Man { folder }) => {
                return manual
                    .write(&command, &folder)
                    .map_err(|(path, error)| anyhow::Error::new(error).context(path.display().to_string()));
            }
            Self::Completions(completions) => completions.script(tool.0),
            Self::Complete(complete) => complete.answer(command, candidates).context("__complete")?,
        };
        pipe::print(text)
    }
}
