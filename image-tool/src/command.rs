//! The command line: a file for each subcommand, and files for what several of them share.
//!
//! `operand`, `archive`, `publish`, `fields`, `flatten`, `table` and `print` are shared; subcommands do not know each other.

mod append;
mod archive;
mod config;
mod diff;
mod export;
mod fields;
mod flatten;
mod gc;
mod history;
mod import;
mod index;
mod inspect;
mod list;
mod load;
mod operand;
mod print;
mod publish;
mod rm;
mod save;
mod show;
mod squash;
mod table;
mod tag;
mod tree;
mod unpack;
mod verify;

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};

use self::print::print_bytes;

/// Inspect and change OCI image layouts, save and load archives.
///
/// An image is named by an address, LAYOUT[:REF][@DIGEST]. Without LAYOUT, as in :python:3.8, it is in the default layout:
/// $OCI_LAYOUT, else images in $OCI_HOME, /var/lib/oci or the user's data folder.
#[derive(Parser)]
#[command(name = "image-tool", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Tell what is done, twice for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Arguments {
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
    List(list::List),
    Inspect(inspect::Inspect),
    History(history::History),
    Show(show::Show),
    Tag(tag::Tag),
    Rm(rm::Rm),
    Gc(gc::Gc),
    Verify(verify::Verify),
    Save(save::Save),
    Load(load::Load),
    Unpack(unpack::Unpack),
    Append(append::Append),
    Config(config::Config),
    Squash(squash::Squash),
    Index(index::Index),
    Import(import::Import),
    Export(export::Export),
    Diff(diff::Diff),
    Tree(tree::Tree),
    Man(Man),
    Completions(Completions),
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::List(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::History(command) => command.run(),
            Self::Show(command) => command.run(),
            Self::Tag(command) => command.run(),
            Self::Rm(command) => command.run(),
            Self::Gc(command) => command.run(),
            Self::Verify(command) => command.run(),
            Self::Save(command) => command.run(),
            Self::Load(command) => command.run(),
            Self::Unpack(command) => command.run(),
            Self::Append(command) => command.run(),
            Self::Config(command) => command.run(),
            Self::Squash(command) => command.run(),
            Self::Index(command) => command.run(),
            Self::Import(command) => command.run(),
            Self::Export(command) => command.run(),
            Self::Diff(command) => command.run(),
            Self::Tree(command) => command.run(),
            Self::Man(command) => command.run(),
            Self::Completions(command) => command.run(),
        }
    }
}

/// Write the manual page.
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Man {}

impl Man {
    fn run(self) -> Result<()> {
        let mut page = Vec::new();
        let command = Arguments::command();
        clap_mangen::Man::new(command.clone()).render(&mut page)?;
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let named = sub
                .clone()
                .name(format!("image-tool-{}", sub.get_name()))
                .bin_name(format!("image-tool {}", sub.get_name()));
            let man = clap_mangen::Man::new(named.disable_help_flag(true));
            writeln!(page, ".SH \"IMAGE-TOOL {}\"", sub.get_name().to_uppercase())?;
            man.render_synopsis_section(&mut page)?;
            man.render_description_section(&mut page)?;
            man.render_options_section(&mut page)?;
        }
        print_bytes(&page)
    }
}

/// Write a script that completes the command line in a shell.
#[derive(Args)]
#[command(hide = true)]
pub(crate) struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    fn run(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "image-tool", &mut script);
        print_bytes(&script)
    }
}
