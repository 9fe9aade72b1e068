use std::io;

use bundle_tool::describe::host;
use clap::{Args, Subcommand};
use image_tool::program::pipe;
use image_tool::show::format::Format;

use super::inspect;

/// Print docker's contexts, of which there is one.
///
/// A context is where docker finds its daemon. Here there is none: the tools share folders.
#[derive(Args)]
#[command(
    hide = true,
    after_long_help = "Examples:
  bundle-tool context ls --format '{{.Name}}'"
)]
pub(crate) struct Context {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List contexts.
    #[command(after_long_help = "Examples:\n  bundle-tool context ls")]
    Ls {
        /// Format each context with a Go template, or as `json`.
        #[arg(long, value_name = "TEMPLATE")]
        format: Option<Format>,
        /// Print only names.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Print contexts as JSON.
    #[command(after_long_help = "Examples:\n  bundle-tool context inspect --format '{{.Name}}'")]
    Inspect {
        /// Format each context with a Go template, or as `json`.
        #[arg(short, long, value_name = "TEMPLATE")]
        format: Option<String>,
        /// Names of contexts [default: the one].
        #[arg(default_value = host::CONTEXT, value_name = "CONTEXT")]
        names: Vec<String>,
    },
}

impl Context {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Ls { quiet: true, .. } => pipe::print_line(host::CONTEXT),
            Command::Ls { format, .. } => {
                let format = format.filter(|format| !format.is_plain_table());
                let format = format.unwrap_or_else(|| Format::columns(&["Name", "Description", "DockerEndpoint"]));
                pipe::print_exactly(format.lines(&[host::context_row()], host::CONTEXTS, &io::stdout())?)
            }
            Command::Inspect { format, names } => {
                let find = |name: &str| Ok((name == host::CONTEXT).then(host::context));
                inspect::show(format.as_deref(), &names, find, |name| format!("context {name:?} does not exist"))
            }
        }
    }
}
