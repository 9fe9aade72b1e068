//! `logs`: what a supervised container wrote.

use crate::container::output::{Driver, Settings};
use crate::supervise::record::Record;
use crate::supervise::{journal, logs};
use std::collections::VecDeque;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;

use super::global::Global;
use super::stdout::StdoutClosed;

/// Print what a container wrote.
///
/// For containers that were started with `run --detach --log-driver json-file` (or `file`, or `journald`, of which journalctl
/// reads the log). What was written to standard error goes to standard error.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on until the container ends.
    #[arg(short, long)]
    follow: bool,
    /// Begin with the last N lines.
    #[arg(short = 'n', long, value_name = "N", default_value = "all", hide_default_value = true)]
    tail: String,
    /// Show when each line was written.
    #[arg(short, long)]
    timestamps: bool,
    /// Begin at a time (RFC 3339), or this long ago (`10m`).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End at a time (RFC 3339), or this long ago (`10m`).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The name of the container.
    id: String,
}

fn time(text: &str) -> Result<Timestamp> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Timestamp::from_second(seconds).with_context(|| text.to_owned());
    }
    let ago = super::events::duration(text).map_err(|error| anyhow::anyhow!("{error}: expected RFC 3339 or 10m"))?;
    Timestamp::now().checked_sub(ago.unwrap_or_default()).with_context(|| text.to_owned())
}

/// What reads a log.
enum Reader {
    Files(logs::Reader),
    Journal(journal::Reader),
}

impl Reader {
    fn open(settings: Settings, created: &str) -> Result<Self> {
        Ok(if settings.driver == Driver::Journald {
            let created = created.parse().with_context(|| format!("state.json: created {created:?}"))?;
            Self::Journal(journal::Reader::open(&settings.container, created)?)
        } else {
            Self::Files(logs::Reader::open(settings))
        })
    }

    /// The next record. `None`: there is none now.
    fn next(&mut self) -> Result<Option<Record>> {
        match self {
            Self::Files(reader) => reader.next(),
            Self::Journal(reader) => reader.next(),
        }
    }

    /// What is left at the end of a container's life, when there will be no more.
    fn rest(&mut self) -> Result<Vec<Record>> {
        match self {
            Self::Files(reader) => Ok(reader.rest().into_iter().collect()),
            Self::Journal(reader) => reader.rest(),
        }
    }
}

impl Logs {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = global.container(&self.id)?;
        let Some(settings) = container.state.log.clone() else {
            bail!("{}: no log is kept (run-tool run --detach --log-driver json-file)", self.id);
        };
        if settings.driver == Driver::None {
            bail!("{}: no log is kept (--log-driver none)", self.id);
        }
        let since = self.since.as_deref().map(time).transpose()?;
        let until = self.until.as_deref().map(time).transpose()?;
        let limit = match self.tail.as_str() {
            "all" | "-1" => None,
            text => Some(text.parse::<usize>().with_context(|| format!("--tail {text}: expected a number or all"))?),
        };
        let wanted = |record: &Record| {
            let Ok(written) = record.time.parse::<Timestamp>() else { return true };
            since.is_none_or(|since| written >= since) && until.is_none_or(|until| written <= until)
        };
        let mut reader = Reader::open(settings, &container.state.created)?;
        let mut last = VecDeque::new();
        while let Some(record) = reader.next()? {
            if !wanted(&record) {
                continue;
            }
            match limit {
                None => self.show(&record)?,
                Some(limit) => {
                    last.push_back(record);
                    if last.len() > limit {
                        last.pop_front();
                    }
                }
            }
        }
        for record in &last {
            self.show(record)?;
        }
        if self.follow {
            // Asked before the last look: what it wrote before it ended is then in the file.
            let mut alive = true;
            while alive {
                sleep(Duration::from_millis(100));
                alive = container.is_alive();
                if !alive {
                    // The supervisor may be a moment behind.
                    sleep(Duration::from_millis(200));
                }
                while let Some(record) = reader.next()? {
                    if wanted(&record) {
                        self.show(&record)?;
                    }
                }
            }
        }
        reader.rest()?.iter().filter(|record| wanted(record)).try_for_each(|record| self.show(record))
    }

    fn show(&self, record: &Record) -> Result<()> {
        let text = if self.timestamps && !record.time.is_empty() {
            format!("{} {}", record.time, record.log)
        } else {
            record.log.clone()
        };
        let result = if record.stream == "stderr" {
            std::io::stderr().write_all(text.as_bytes())
        } else {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        };
        match result {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
            result => result.context("standard output"),
        }
    }
}
