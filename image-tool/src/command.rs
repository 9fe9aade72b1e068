//! The command line: a file for each subcommand, and files for what several of them share.
//!
//! `operand`, `publish`, `fields`, `flatten` and `table` are shared; subcommands do not know each other.

mod append;

mod compare;
mod config;
mod convert;
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
mod manual;
mod mount;
mod operand;
mod publish;
mod rebase;
mod rm;
mod save;
mod show;
mod squash;
mod tag;
mod tree;
mod unmount;
mod unpack;
mod verify;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};
use image_tool::program::Tool;
use image_tool::program::document::Document;

/// The name that messages begin with.
pub(crate) const TOOL: Tool = Tool("image-tool");

/// Inspect and change images in OCI layouts; save and load archives.
///
/// An image has an address, LAYOUT[:REF][@DIGEST]. An address without LAYOUT, such as :python:3.8, is in the default layout:
/// $OCI_LAYOUT, or else $OCI_HOME/images. A digest, if given, takes precedence over the ref.
#[derive(Parser)]
#[command(name = "image-tool", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log progress; repeat for more detail.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Subcommand)]
#[command(defer = true)]
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
    Mount(mount::Mount),
    Unmount(unmount::Unmount),
    Append(append::Append),
    Config(config::Config),
    Squash(squash::Squash),
    Rebase(rebase::Rebase),
    Convert(convert::Convert),
    Index(index::Index),
    Import(import::Import),
    Export(export::Export),
    Diff(diff::Diff),
    Tree(tree::Tree),
    Compare(compare::Compare),
    #[command(flatten)]
    Document(Document),
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
            Self::Mount(command) => command.run(),
            Self::Unmount(command) => command.run(),
            Self::Append(command) => command.run(),
            Self::Config(command) => command.run(),
            Self::Squash(command) => command.run(),
            Self::Rebase(command) => command.run(),
            Self::Convert(command) => command.run(),
            Self::Index(command) => command.run(),
            Self::Import(command) => command.run(),
            Self::Export(command) => command.run(),
            Self::Diff(command) => command.run(),
            Self::Tree(command) => command.run(),
            Self::Compare(command) => command.run(),
            Self::Document(document) => document.run(TOOL, Arguments::command(), &manual::MANUAL, manual::CANDIDATES),
        }
    }
}
