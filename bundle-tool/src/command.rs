//! The command line: one file for each subcommand, and what several of them share.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use bundle_tool::bundle::Bundle;
use bundle_tool::option::Refused;
use bundle_tool::{config, container};
use clap::{Parser, Subcommand};
use image_tool::address::home::Home;
use image_tool::pipe;

mod commit;
mod create;
mod delete;
mod diff;
mod documents;
mod find;
mod hook;
mod inspect;
mod mount;
mod network;
mod options;
mod ps;
mod spec;
mod unit;
mod unmount;
mod volume;

/// Make OCI runtime bundles from images, and images from what changed in them.
///
/// A bundle is a folder that any OCI runtime runs: run-tool, runc, crun. It is named by its container's name, by its path, or by the
/// first digits of the container's id.
#[derive(Parser)]
#[command(name = "bundle-tool", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Tell what is done on standard error; twice for every detail.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Create(Box<create::Create>),
    Spec(Box<spec::Spec>),
    Mount(mount::Mount),
    Unmount(unmount::Unmount),
    Delete(delete::Delete),
    Diff(diff::Diff),
    Commit(commit::Commit),
    Ps(ps::Ps),
    Find(find::Find),
    Inspect(inspect::Inspect),
    Volume(volume::Volume),
    Network(network::Network),
    Unit(unit::Unit),
    Hook(hook::Hook),
    Man(documents::Man),
    Completions(documents::Completions),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(command) => command.run(),
            Self::Spec(command) => command.run(),
            Self::Mount(command) => command.run(),
            Self::Unmount(command) => command.run(),
            Self::Delete(command) => command.run(),
            Self::Diff(command) => command.run(),
            Self::Commit(command) => command.run(),
            Self::Ps(command) => command.run(),
            Self::Find(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::Volume(command) => command.run(),
            Self::Network(command) => command.run(),
            Self::Unit(command) => command.run(),
            Self::Hook(command) => command.run(),
            Self::Man(command) => command.run(),
            Self::Completions(command) => command.run(),
        }
    }
}

/// The bundle that an operand means; `-` reads its path from standard input.
pub(crate) fn bundle(operand: &str) -> anyhow::Result<Bundle> {
    let line;
    let text = if operand == "-" {
        line = pipe::only_line(io::stdin().lock())?;
        &line
    } else {
        operand
    };
    Ok(Bundle::find(&Home::from_environment().bundles(), text)?)
}

/// Says something to people that is no error.
pub(crate) fn note(text: &str) {
    // Where standard error is closed nobody can be told.
    let _ = writeln!(io::stderr(), "bundle-tool: {text}");
}

/// The exit status of an error: docker's 125 for an option that cannot be honoured, else 1.
pub(crate) fn status(error: &anyhow::Error) -> ExitCode {
    let refused = error.chain().any(|cause| {
        cause.is::<Refused>()
            || matches!(
                cause.downcast_ref::<container::Error>(),
                Some(container::Error::Refused(_) | container::Error::Config(config::Error::Refused(_)))
            )
    });
    if refused { ExitCode::from(125) } else { ExitCode::FAILURE }
}

/// Tells a wrong command line in one line, as every error is told; help and version go to standard output.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match write!(io::stdout(), "{error}") {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        };
    }
    let text = error.to_string();
    // The paragraph before the usage says what is wrong; a missing subcommand has the help in its place.
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let line = paragraph
        .strip_prefix("error: ")
        .unwrap_or("a command is missing")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    note(&format!("{line} (bundle-tool help)"));
    ExitCode::from(2)
}

pub(crate) fn log_to_stderr(verbose: u8) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let level = match verbose {
        0 => return,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let ours = Targets::new().with_target("bundle_tool", level).with_target("image_tool", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).without_time();
    tracing_subscriber::registry().with(lines).with(ours).init();
}

/// Names the thing that an error is about.
pub(crate) trait About<T> {
    /// Puts `name` before the error.
    fn about(self, name: impl std::fmt::Display) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> About<T> for Result<T, E> {
    fn about(self, name: impl std::fmt::Display) -> anyhow::Result<T> {
        self.map_err(Into::into).with_context(|| name.to_string())
    }
}
