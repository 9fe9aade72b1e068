//! The command line: a file for each subcommand. This room may import every other one; only it parses arguments and prints.

mod build;
mod cache;
mod check;
mod graph;
mod manual;
mod parse;
mod watch;

use std::ffi::OsString;
use std::str::FromStr;

use anyhow::Result;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory as _, Parser, Subcommand};
use image_tool::program::document::Document;
use image_tool::program::{self, Tool};

/// The name that messages begin with.
pub(crate) const TOOL: Tool = Tool("build-tool");

/// Build OCI images from Dockerfiles, into image layouts and without a daemon.
///
/// An image has an address, LAYOUT[:REF][@DIGEST]. Without LAYOUT, as in :cat:1.0, it is in the default layout:
/// $OCI_LAYOUT, else images in $OCI_HOME, /var/lib/oci or the user's data folder.
#[derive(Parser)]
#[command(name = "build-tool", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log progress; repeat for more detail.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Arguments {
    /// Reads the command line. `--pull` is docker's switch, and takes a word of its own only if that is one of its three: what
    /// follows may as well be the context.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut words: Vec<OsString> = std::env::args_os().collect();
        let value = |word: &OsString| ["missing", "always", "never"].iter().any(|known| word == known);
        if let Some(at) = words.windows(2).position(|pair| pair[0] == "--pull" && value(&pair[1])) {
            let when = words.remove(at + 1);
            words[at].push("=");
            words[at].push(when);
        }
        program::parse(words)
    }
}

#[derive(Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    Build(Box<build::Build>),
    Check(check::Check),
    Parse(parse::Parse),
    Graph(graph::Graph),
    Cache(cache::Cache),
    #[command(hide = true, name = build_tool::run::watch::COMMAND)]
    Watch(watch::Watch),
    #[command(flatten)]
    Document(Document),
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Build(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Parse(command) => command.run(),
            Self::Graph(command) => command.run(),
            Self::Cache(command) => command.run(),
            Self::Watch(command) => command.run(),
            Self::Document(document) => document.run(TOOL, Arguments::command(), &manual::MANUAL, manual::CANDIDATES),
        }
    }
}

/// A parser of words that the help lists and a shell completes.
fn words<T>(values: impl IntoIterator<Item = PossibleValue>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(values.into_iter().collect::<Vec<_>>()).try_map(|word| word.parse::<T>())
}
