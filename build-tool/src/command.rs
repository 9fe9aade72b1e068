//! The command line: a file for each subcommand.

mod build;
mod cache;
mod check;
mod documents;
mod graph;
mod parse;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Build OCI images from Dockerfiles, into image layouts and without a daemon.
///
/// An image is named by an address, LAYOUT[:REF][@DIGEST]. Without LAYOUT, as in :cat:1.0, it is in the default layout:
/// $OCI_LAYOUT, else images in $OCI_HOME, /var/lib/oci or the user's data folder.
#[derive(Parser)]
#[command(name = "build-tool", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Tell what is done, twice for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Arguments {
    /// Reads the command line. `--pull` is docker's switch, and takes a word of its own only if that is one of its three: what
    /// follows may as well be the context.
    pub(crate) fn read() -> Self {
        let mut words: Vec<OsString> = std::env::args_os().collect();
        let value = |word: &OsString| ["missing", "always", "never"].iter().any(|known| word == known);
        if let Some(at) = words.windows(2).position(|pair| pair[0] == "--pull" && value(&pair[1])) {
            let when = words.remove(at + 1);
            words[at].push("=");
            words[at].push(when);
        }
        Self::parse_from(words)
    }

    /// Sets up the log on standard error.
    pub(crate) fn log(&self) {
        let level = match self.verbose {
            0 => tracing::Level::WARN,
            1 => tracing::Level::INFO,
            _ => tracing::Level::DEBUG,
        };
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .without_time()
            .with_target(false)
            .init();
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Build(Box<build::Build>),
    Check(check::Check),
    Parse(parse::Parse),
    Graph(graph::Graph),
    Cache(cache::Cache),
    Man(documents::Man),
    Completions(documents::Completions),
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Build(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Parse(command) => command.run(),
            Self::Graph(command) => command.run(),
            Self::Cache(command) => command.run(),
            Self::Man(command) => command.run(),
            Self::Completions(command) => command.run(),
        }
    }
}

/// Writes to standard output what is no single line.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(image_tool::pipe::stdout_error).context("standard output")
}
