//! The command line: a file for each subcommand, and what several of them share. This room may import every other one; only it
//! parses arguments, prints, and starts the asynchronous runtime.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use image_tool::layout::platform::Platform;
use image_tool::program::document::Document;
use image_tool::program::{Said, Tool};
use registry_tool::client::Settings;
use registry_tool::client::retry::Retry;
use registry_tool::place::mirror::{Mirrors, Sources};
use registry_tool::question::query::Choice;

mod access;
mod attach;
mod blob;
mod catalog;
mod copy;
mod delete;
mod digest;
pub(crate) mod dockers;
mod inspect;
mod login;
mod logout;
mod manifest;
mod manual;
mod progress;
mod pull;
mod push;
mod referrers;
mod search;
mod serve;
mod sign;
mod sync;
mod tag;
mod tags;
mod verify;

/// The name that messages begin with.
pub(crate) const TOOL: Tool = Tool("registry-tool");

/// Move images between OCI registries and image layouts.
///
/// Names are docker's: `python:3.8` means docker.io/library/python:3.8. Mirrors and insecure registries are read from
/// /etc/docker/daemon.json and /etc/containers/registries.conf, credentials from docker's config.json and podman's auth.json.
/// Registries on the loopback network may use plain http.
#[derive(Parser)]
#[command(name = "registry-tool", version, max_term_width = 100)]
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
    Pull(pull::Pull),
    Push(push::Push),
    Copy(copy::Copy),
    Sync(sync::Sync),
    Tag(tag::Tag),
    Tags(tags::Tags),
    Catalog(catalog::Catalog),
    Inspect(inspect::Inspect),
    Digest(digest::Digest),
    Delete(delete::Delete),
    Blob(blob::Blob),
    Manifest(manifest::Manifest),
    Search(search::Search),
    Sign(sign::Sign),
    Verify(verify::Verify),
    Attach(attach::Attach),
    Referrers(referrers::Referrers),
    Serve(serve::Serve),
    Login(login::Login),
    Logout(logout::Logout),
    #[command(flatten)]
    Document(Document),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Pull(command) => command.run(),
            Self::Push(command) => command.run(),
            Self::Copy(command) => command.run(),
            Self::Sync(command) => command.run(),
            Self::Tag(command) => command.run(),
            Self::Tags(command) => command.run(),
            Self::Catalog(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::Digest(command) => command.run(),
            Self::Delete(command) => command.run(),
            Self::Blob(command) => command.run(),
            Self::Manifest(command) => command.run(),
            Self::Search(command) => command.run(),
            Self::Sign(command) => command.run(),
            Self::Verify(command) => command.run(),
            Self::Attach(command) => command.run(),
            Self::Referrers(command) => command.run(),
            Self::Serve(command) => command.run(),
            Self::Login(command) => command.run(),
            Self::Logout(command) => command.run(),
            Self::Document(document) => document.run(TOOL, Arguments::command(), &manual::MANUAL, manual::CANDIDATES),
        }
    }
}

/// Options for all commands that use the network: how patient to be.
#[derive(Args)]
pub(crate) struct Network {
    /// Retry this many times if a registry is busy or fails, or a connection breaks.
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Network")]
    retry: u32,
    /// Wait this many seconds before the first retry, and twice as long before each later one.
    ///
    /// If a registry asks for a certain wait (Retry-After), that takes precedence, up to two minutes.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds, help_heading = "Network")]
    retry_delay: f64,
    /// Give up on a connection that is silent for this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds, help_heading = "Network")]
    timeout: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    if (0.0..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("must be between 0 and 86400 seconds".to_owned())
    }
}

impl Network {
    pub(crate) fn settings(&self) -> Settings {
        let timeout = Duration::from_secs_f64(self.timeout);
        let mut settings = Settings::from_environment();
        settings.retry = Retry { times: self.retry, first_wait: Duration::from_secs_f64(self.retry_delay) };
        settings.read_timeout = timeout;
        settings.connect_timeout = settings.connect_timeout.min(timeout);
        settings
    }
}

/// This machine's configuration of mirrors.
pub(crate) fn mirrors() -> anyhow::Result<Mirrors> {
    Ok(Mirrors::read(&Sources::from_environment())?)
}

/// What is wrong with a command line beyond what its definition can say. It is told here; the error is the status.
fn misuse(text: &str) -> anyhow::Error {
    TOOL.say(text);
    Said(2).into()
}

/// The choice of somebody who named platforms.
fn choice(platforms: Vec<Platform>, otherwise: Choice) -> Choice {
    match <[Platform; 1]>::try_from(platforms) {
        Ok([platform]) => Choice::One { platform, is_asked: true },
        Err(none) if none.is_empty() => otherwise,
        Err(several) => Choice::Several(several),
    }
}

/// Runs what needs the network. The runtime begins here, so that no other command pays for it.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // Blobs are hashed where they arrive, so a few threads are of use; a dozen would only wait for one network card.
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("start the threads that serve the network")?;
    runtime.block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_a_number_within_a_day() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        for (text, said) in
            [("soon", "expected a number"), ("-1", "between 0 and 86400"), ("NaN", "between 0 and 86400")]
        {
            assert!(seconds(text).unwrap_err().contains(said), "{text}");
        }
    }
}
