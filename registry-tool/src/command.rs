//! The command line: one file for each subcommand, and what several of them share.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use image_tool::program::Tool;
use image_tool::program::document::Document;
use image_tool::program::pipe;
use registry_tool::client::Settings;
use registry_tool::client::retry::Retry;
use registry_tool::place::mirror::{Mirrors, Sources};

mod catalog;
mod copy;
mod delete;
mod digest;
mod inspect;
mod login;
mod logout;
mod manual;
mod progress;
mod pull;
mod push;
mod search;
mod tags;

/// The name that messages begin with.
pub(crate) const TOOL: Tool = Tool("registry-tool");

/// Move images between OCI registries and image layouts.
///
/// Names are docker's: 'python:3.8' is docker.io/library/python:3.8. Mirrors and insecure registries are those of
/// /etc/docker/daemon.json and /etc/containers/registries.conf; credentials those of docker's config.json and podman's
/// auth.json. Registries on the loopback network may speak plain http.
#[derive(Parser)]
#[command(name = "registry-tool", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log progress; repeat for every request.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Pull(pull::Pull),
    Push(push::Push),
    Copy(copy::Copy),
    Tags(tags::Tags),
    Catalog(catalog::Catalog),
    Inspect(inspect::Inspect),
    Digest(digest::Digest),
    Delete(delete::Delete),
    Search(search::Search),
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
            Self::Tags(command) => command.run(),
            Self::Catalog(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::Digest(command) => command.run(),
            Self::Delete(command) => command.run(),
            Self::Search(command) => command.run(),
            Self::Login(command) => command.run(),
            Self::Logout(command) => command.run(),
            Self::Document(document) => document.run(TOOL, Arguments::command(), &manual::MANUAL, manual::CANDIDATES),
        }
    }
}

/// How patient to be with the network.
#[derive(Args)]
pub(crate) struct Network {
    /// Ask again this many times when a registry is busy, fails, or a connection breaks.
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Network")]
    retry: u32,
    /// Wait this many seconds before asking again; each later wait is twice as long, and Retry-After is honoured.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds, help_heading = "Network")]
    retry_delay: f64,
    /// Give up on a connection that is silent for this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds, help_heading = "Network")]
    timeout: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is wanted".to_owned())?;
    if (0.0..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("0 to 86400 seconds are possible".to_owned()) }
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

/// The configuration of mirrors on this machine.
pub(crate) fn mirrors() -> anyhow::Result<Mirrors> {
    Ok(Mirrors::read(&Sources::from_environment())?)
}

/// Runs what needs the network. The runtime begins here, so that no other command pays for it.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    // Blobs are hashed where they arrive, so a few threads are of use; a dozen would only wait for one network card.
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("start the network's threads")?;
    runtime.block_on(future)
}

/// Writes to standard output what is not a single line.
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    Ok(pipe::print_bytes(bytes)?)
}
