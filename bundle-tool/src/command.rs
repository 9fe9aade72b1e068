//! The command line: one file for each command, and what several of them share.
//!
//! Commands parse arguments, call the library and print. They know the library's rooms; no room knows them.

use std::io;

use anyhow::Context as _;
use bundle_tool::bundle::{Bundle, Error, annotation};
use bundle_tool::network::cni::Conflist;
use bundle_tool::option::Refused;
use bundle_tool::{config, container, describe};
use clap::{CommandFactory as _, Parser, Subcommand};
use image_tool::address::home::Home;
use image_tool::program::caller;
use image_tool::program::document::Document;
use image_tool::program::pipe;
use image_tool::program::{Tool, say};

mod candidates;
mod client;
mod commit;
mod context;
mod cp;
mod create;
mod delete;
mod df;
mod diff;
mod docker;
pub(crate) mod dockers;
mod events;
mod exec;
mod export;
mod filter;
mod find;
mod gc;
mod hook;
mod host;
mod inspect;
mod joined;
mod manual;
mod mount;
mod network;
mod options;
mod port;
mod proxy;
mod ps;
mod pull;
mod rename;
mod shell;
mod spec;
mod stats;
mod top;
mod unit;
mod unmount;
mod update;
mod users;
mod volume;

pub(crate) use docker::miscounted;

/// The name that messages begin with.
pub(crate) const TOOL: Tool = Tool("bundle-tool");

/// Create OCI runtime bundles from images, and images from their changes.
///
/// A bundle is a directory that any OCI runtime can run, such as run-tool, runc or crun. Commands take a bundle by its path, or by the
/// name or the first digits of the ID of its container.
#[derive(Parser)]
#[command(
    name = "bundle-tool",
    version,
    max_term_width = 100,
    after_long_help = "Examples:
  bundle-tool create --name web -p 9998:8000 images:python:3.8 python3 -m http.server 8000
  run-tool run --bundle \"$(bundle-tool find web)\" web
  run-tool list --format json | bundle-tool ps --all
  bundle-tool delete web"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    // Not global: -v of create is --volume, as in docker.
    /// Log progress; repeat for more detail.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Subcommand)]
#[command(defer = true)]
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
    Exec(Box<exec::Exec>),
    Cp(cp::Cp),
    Export(export::Export),
    Rename(rename::Rename),
    Update(Box<update::Update>),
    Users(users::Users),
    Gc(gc::Gc),
    Docker(docker::Docker),
    Inspect(inspect::Inspect),
    Port(port::Port),
    Stats(stats::Stats),
    Top(top::Top),
    Events(events::Events),
    Df(df::Df),
    Info(host::Info),
    Context(context::Context),
    Version(host::Version),
    Volume(volume::Volume),
    Network(network::Network),
    Unit(unit::Unit),
    Hook(hook::Hook),
    Proxy(proxy::Proxy),
    #[command(flatten)]
    Document(Document),
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
            Self::Exec(command) => command.run(),
            Self::Cp(command) => command.run(),
            Self::Export(command) => command.run(),
            Self::Rename(command) => command.run(),
            Self::Update(command) => command.run(),
            Self::Users(command) => command.run(),
            Self::Gc(command) => command.run(),
            Self::Docker(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::Port(command) => command.run(),
            Self::Stats(command) => command.run(),
            Self::Top(command) => command.run(),
            Self::Events(command) => command.run(),
            Self::Df(command) => command.run(),
            Self::Info(command) => command.run(),
            Self::Context(command) => command.run(),
            Self::Version(command) => command.run(),
            Self::Volume(command) => command.run(),
            Self::Network(command) => command.run(),
            Self::Unit(command) => command.run(),
            Self::Hook(command) => command.run(),
            Self::Proxy(command) => command.run(),
            Self::Document(Document::Man(man)) => {
                docker::page::write(&man.folder)
                    .map_err(|(path, error)| anyhow::Error::new(error).context(path.display().to_string()))?;
                Document::Man(man).run(TOOL, Arguments::command(), &manual::MANUAL, manual::CANDIDATES)
            }
            Self::Document(document) => document.run(TOOL, Arguments::command(), &manual::MANUAL, manual::CANDIDATES),
        }
    }
}

/// The bundle that an operand refers to; `-` reads it from standard input.
pub(crate) fn bundle(operand: &str) -> anyhow::Result<Bundle> {
    let line;
    let text = if operand == "-" {
        line = pipe::only_line(io::stdin().lock())?;
        &line
    } else {
        operand
    };
    match Bundle::find(&Home::from_environment().bundles(), text) {
        Err(Error::NoSuchBundle(_)) if caller::caller().is_some() => anyhow::bail!("No such container: {text}"),
        result => Ok(result?),
    }
}

/// Whether docker would know a container by this word: its name now, or the first digits of its id.
pub(crate) fn is_dockers_name(bundle: &Bundle, text: &str) -> bool {
    let text = text.strip_prefix('/').unwrap_or(text);
    bundle.name() == text || bundle.annotation(annotation::ID).is_some_and(|id| id.starts_with(text))
}

/// The name of the network that a word means: its name, or the first digits of its id.
pub(crate) fn named(home: &Home, word: &str) -> String {
    let is_id = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id || Conflist::find(&container::network_folders(home), word).is_ok() {
        return word.to_owned();
    }
    describe::network::Network::find(home, word).map_or_else(|| word.to_owned(), |own| own.name)
}

/// Tells people something that is not an error.
pub(crate) fn note(text: &str) {
    TOOL.say(text);
}

/// Tells people what they do not get as they asked for it, in the form in which docker tells what its daemon warns of.
pub(crate) fn warn(text: &str) {
    match caller::caller() {
        Some(_) => say(&format!("WARNING: {text}")),
        None => TOOL.say(text),
    }
}

/// The words of this process's command line after that of the command.
pub(crate) fn typed(command: &str) -> Vec<String> {
    let words = std::env::args_os().skip_while(|word| word != command).skip(1);
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Acts on each and prints those for which that succeeded. Earlier failures are reported on the way, the last is returned.
pub(crate) fn each(names: &[String], act: impl Fn(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut failed: Option<anyhow::Error> = None;
    for name in names {
        match act(name) {
            Ok(()) => pipe::print_line(name)?,
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    note(&format!("{earlier:#}"));
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// An error with an exit status of its own.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Rejected {
    text: String,
    status: u8,
}

impl Rejected {
    /// Gives an error its status.
    pub(crate) fn new(error: anyhow::Error, status: u8) -> Self {
        Self { text: format!("{error:#}"), status }
    }
}

/// The exit status for an error: its own, docker's 125 for an option that cannot be honoured and for what docker run refuses, its 64 for a
/// template that cannot be parsed, else 1.
pub(crate) fn status(error: &anyhow::Error) -> u8 {
    if let Some(Rejected { status, .. }) = error.downcast_ref() {
        return *status;
    }
    if caller::caller().is_some_and(|name| name == "docker run") {
        // As docker's client has it, which looks at the message of its daemon. What it reads itself is none of them.
        let text = format!("{error:#}").to_lowercase();
        return match () {
            () if ["--env", "--label", "seccomp"].iter().any(|own| text.contains(own)) => 125,
            () if text.contains("no such file or directory") => 127,
            () if text.contains("permission denied") => 126,
            () => 125,
        };
    }
    let refused = error.chain().any(|cause| {
        cause.is::<Refused>()
            || matches!(cause.downcast_ref(), Some(bundle_tool::volume::Error::Syntax { .. }))
            || matches!(
                cause.downcast_ref::<container::Error>(),
                Some(
                    container::Error::Refused(_)
                        | container::Error::NoNetwork(_)
                        | container::Error::Config(config::Error::Refused(_))
                )
            )
    });
    // docker's daemon refuses later what a container is to have; only what its client refuses has the status 125.
    let refused = refused && caller::caller().is_none_or(|name| name == "docker create");
    match (refused, error.is::<inspect::BadTemplate>()) {
        (true, _) => 125,
        (false, true) => 64,
        (false, false) => 1,
    }
}

/// Adds the subject of an error.
pub(crate) trait About<T> {
    /// Puts `name` before the error.
    fn about(self, name: impl std::fmt::Display) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> About<T> for Result<T, E> {
    fn about(self, name: impl std::fmt::Display) -> anyhow::Result<T> {
        self.map_err(Into::into).with_context(|| name.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
