use std::io::{self, Write};

use anyhow::Result;
use build_tool::cache::prune;
use clap::{Args, Subcommand};
use image_tool::address::home::Home;
use image_tool::show::human;
use jiff::{Timestamp, ToSpan as _, Unit};

/// Look at the step cache, or make it smaller.
#[derive(Args)]
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
/// Columns are the key, when the step was done, the size of its layer and what it was.
#[derive(Args)]
struct Ls {
    /// Print a JSON document a step.
    #[arg(long)]
    json: bool,
}

/// Remove steps from the cache, and the layers that only they had.
///
/// Images are not touched: their blobs are links of their own. The answer on standard error is how much was removed.
#[derive(Args)]
struct Prune {
    /// Keep the steps of the last so many hours.
    #[arg(long, value_name = "HOURS")]
    keep_hours: Option<u32>,
    /// Empty the directories of RUN --mount=type=cache too.
    #[arg(long)]
    mounts: bool,
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
                serde_json::to_writer(&mut out, &record)?;
                out.push(b'\n');
                continue;
            }
            let size = record.layer.as_ref().map_or(0, |layer| layer.descriptor.size());
            let step = human::plain(&record.step);
            let created = record.created.parse::<Timestamp>().and_then(|time| time.round(Unit::Second));
            let created = created.map_or(record.created, |time| time.to_string());
            writeln!(out, "{}  {created:20}  {:>9}  {step}", &key[..12], human::size(size))?;
        }
        super::print_bytes(&out)
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
            since.is_some_and(|since| created.is_some_and(|created| created >= since))
        };
        let freed = prune::prune(home, keep, self.mounts)?;
        // For people; that nobody listens is no reason to fail.
        let _ = writeln!(io::stderr(), "{} removed", human::size(freed));
        Ok(())
    }
}
