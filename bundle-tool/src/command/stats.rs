use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::bail;
use bundle_tool::container::status::Container;
use bundle_tool::describe::usage::{self, Usage};
use image_tool::address::home::Home;
use image_tool::program::pipe;
use image_tool::show::format::Format;
use image_tool::show::template::Value;

use super::{candidates, joined};

/// Show what containers use, again each second.
///
/// Reads a runtime's list of containers from standard input. The numbers come from the kernel. Containers that start later are not
/// shown.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  run-tool list --format json | bundle-tool stats
  run-tool list --format json | bundle-tool stats --no-stream --format '{{.Name}} {{.MemPerc}}' web")]
pub(crate) struct Stats {
    /// Show containers that do not run as well.
    #[arg(short, long)]
    all: bool,
    /// Format each container with a Go template, or as `json`.
    ///
    /// The fields are .Container, .ID, .Name, .CPUPerc, .MemUsage, .MemPerc, .NetIO, .BlockIO and .PIDs. A template that begins with
    /// `table` aligns them in columns.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<Format>,
    /// Show them once.
    #[arg(long)]
    no_stream: bool,
    /// Print IDs in full.
    #[arg(long)]
    no_trunc: bool,
    /// Containers [default: all that run].
    #[arg(value_name = "CONTAINER", add = candidates::containers())]
    containers: Vec<String>,
}

/// The time between two measurements.
const PAUSE: Duration = Duration::from_secs(1);

impl Stats {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let known = joined::containers(&Home::from_environment(), "stats")?;
        let mut chosen: Vec<(String, &Container)> = Vec::new();
        for word in &self.containers {
            let Some(found) = joined::find(&known, word)? else { bail!("No such container: {word}") };
            chosen.push((word.clone(), found));
        }
        if self.containers.is_empty() {
            let shown = known.iter().filter(|container| self.all || container.is_up());
            chosen.extend(shown.map(|container| (container.id().chars().take(12).collect(), container)));
        }
        let fields = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];
        let format = self.format.clone().filter(|format| !format.is_plain_table());
        let format = format.unwrap_or_else(|| Format::columns(&fields));
        let mut before: BTreeMap<i32, Usage> = BTreeMap::new();
        let mut pids = Vec::new();
        for (_, container) in &chosen {
            pids.push(container.runtime().filter(|_| container.is_up()).map_or(0, |state| state.pid));
        }
        loop {
            let pause = if before.is_empty() && self.no_stream { PAUSE / 2 } else { PAUSE };
            let mut rows: Vec<Value> = Vec::new();
            let now: BTreeMap<i32, Usage> = pids.iter().filter_map(|pid| Some((*pid, Usage::of(*pid)?))).collect();
            for ((word, container), pid) in chosen.iter().zip(&pids) {
                let current =
                    now.get(pid).map(|own| (own, before.get(pid).map_or(0.0, |before| own.processor(before))));
                rows.push(usage::row(word, &container.id(), &container.name(), current, !self.no_trunc));
            }
            let is_first = before.is_empty() && !now.is_empty();
            before = now;
            if !(is_first && self.no_stream) {
                let clear = if !self.no_stream && io::stdout().is_terminal() { "\u{1b}[2J\u{1b}[H" } else { "" };
                let text = format.lines(&rows, usage::LIST, &io::stdout())?;
                pipe::print_exactly(format!("{clear}{text}"))?;
                if self.no_stream {
                    return Ok(());
                }
            }
            std::thread::sleep(pause);
        }
    }
}
