use std::io::Write;

use anyhow::Result;
use build_tool::cache::{folder, prune};
use build_tool::run::runtime;
use clap::{Args, Subcommand};
use image_tool::address::home::Home;
use image_tool::program::{pipe, say};
use image_tool::show::{human, moment};
use jiff::{Timestamp, ToSpan as _, Unit};

/// Inspect or prune the step cache.
#[derive(Args)]
#[command(after_long_help = "Examples:
  build-tool cache ls
  build-tool cache prune --keep-hours 24")]
pub(crate) struct Cache {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Ls(Ls),
    Prune(Prune),
}

/// List the steps in the cache, the oldest first.
///
/// The columns are the first digits of the step's key, the time when it ran, the size of its layer, and the instruction.
#[derive(Args)]
#[command(after_long_help = "Examples:
  build-tool cache ls
  build-tool cache ls --json | jq -s 'map(.layer.descriptor.size // 0) | add'")]
struct Ls {
    /// Print each step as a line of JSON.
    #[arg(long)]
    json: bool,
}

/// Remove steps from the cache, and layers that no other step uses.
///
/// Images are not affected, since they have links of their own to their blobs. The size of what was removed is printed on standard
/// error.
#[derive(Args)]
#[command(after_long_help = "Examples:
  build-tool cache prune
  build-tool cache prune --keep-hours 168
  build-tool cache prune --filter until=24h
  build-tool cache prune --mounts")]
struct Prune {
    /// Keep steps that are younger than this many hours.
    #[arg(long, value_name = "HOURS")]
    keep_hours: Option<u32>,
    /// Remove only matching steps: until=TIME (ran before it, such as 24h ago), label=KEY or label!=KEY (no step has a label); may be
    /// repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter)]
    filter: Vec<Filter>,
    /// Also remove the directories of RUN --mount=type=cache.
    #[arg(long)]
    mounts: bool,
}

/// A filter of docker's builder prune.
#[derive(Clone, Debug)]
enum Filter {
    /// What ran before this time.
    Until(Timestamp),
    /// What has a label, or, negated, lacks it.
    Label { negated: bool },
}

fn filter(text: &str) -> Result<Filter, String> {
    match text.split_once('=') {
        Some(("until" | "unused-for", time)) => {
            moment::parse(time, Timestamp::now()).map(Filter::Until).map_err(|error| error.to_string())
        }
        Some(("label", _)) => Ok(Filter::Label { negated: false }),
        Some(("label!", _)) => Ok(Filter::Label { negated: true }),
        _ => Err("not a valid filter (until=TIME, label=KEY, label!=KEY)".into()),
    }
}

impl Cache {
    pub(crate) fn run(self) -> Result<()> {
        let home = Home::from_environment();
        match self.command {
            Command::Ls(command) => command.run(&home),
            Command::Prune(command) => command.run(&home),
        }
    }
}

impl Ls {
    fn run(self, home: &Home) -> Result<()> {
        let mut out = Vec::new();
        for entry in prune::list(home)? {
            let prune::Entry { key, record } = entry;
            if self.json {
                writeln!(out, "{}", human::json(&serde_json::to_string(&record)?))?;
                continue;
            }
            let size = record.layer.as_ref().map_or(0, |layer| layer.descriptor.size());
            let step = human::plain(&record.step);
            let created = record.created.parse::<Timestamp>().and_then(|time| time.round(Unit::Second));
            let created = created.map_or_else(|_| human::plain(&record.created), |time| time.to_string());
            writeln!(out, "{}  {created:20}  {:>9}  {step}", &key[..12], human::size(size))?;
        }
        pipe::print(out)
    }
}

impl Prune {
    fn run(self, home: &Home) -> Result<()> {
        let since = match self.keep_hours {
            Some(hours) => Some(Timestamp::now().checked_sub(i64::from(hours).hours())?),
            None => None,
        };
        let keep = |entry: &prune::Entry| {
            let created = entry.record.created.parse::<Timestamp>().ok();
            let is_young = since.is_some_and(|since| created.is_some_and(|created| created >= since));
            let is_meant = self.filter.iter().all(|filter| match filter {
                Filter::Until(until) => created.is_none_or(|created| created < *until),
                Filter::Label { negated } => *negated,
            });
            is_young || !is_meant
        };
        folder::sweep(&home.builds(), runtime::end_orphan);
        let freed = prune::prune(home, keep, self.mounts)?;
        say(&format!("{} removed", human::size(freed)));
        Ok(())
    }
}
