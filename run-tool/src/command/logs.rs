//! `logs`: the output of a supervised container, from its log files or from systemd's journal.

use crate::container::output::{Driver, Settings};
use crate::kernel::caller;
use crate::supervise::record::Record;
use crate::supervise::{journal, logs};
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;

use super::global::Global;
use super::moment;
use super::stdout::StdoutClosed;

/// Print the output of a container.
///
/// The container must have been started with `run --detach` and the log driver json-file, file or journald (read by means of
/// journalctl). What it wrote to standard error is printed to standard error.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Follow the output until the container ends.
    #[arg(short, long)]
    follow: bool,
    /// Print only the last N lines of the existing output.
    #[arg(short = 'n', long, value_name = "N", default_value = "all")]
    tail: String,
    /// Print the time before each line.
    #[arg(short, long)]
    timestamps: bool,
    /// Print what a log driver stores beside the line, before a space.
    #[arg(long)]
    details: bool,
    /// Print output since a time (2026-01-02T03:04:05Z, any part of it from the left, or seconds since 1970) or a duration ago (10m).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Print output up to a time or a duration ago.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// ID of the container.
    id: String,
}

/// What is stored beside a line, as docker shows it: `KEY=VALUE,…`, with escapes as in a URL.
fn attributes(all: &BTreeMap<String, String>) -> String {
    let escaped = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            b' ' => "+".to_owned(),
            _ if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    all.iter().map(|(key, value)| format!("{}={}", escaped(key), escaped(value))).collect::<Vec<_>>().join(",")
}

/// A reader for each kind of log.
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

    /// The next record. `None`: there is none yet.
    fn next(&mut self) -> Result<Option<Record>> {
        match self {
            Self::Files(reader) => reader.next(),
            Self::Journal(reader) => reader.next(),
        }
    }

    /// The records that are left once the container has ended, when no more can follow.
    fn rest(&mut self) -> Result<Vec<Record>> {
        match self {
            Self::Files(reader) => Ok(reader.rest().into_iter().collect()),
            Self::Journal(reader) => reader.rest(),
        }
    }
}

impl Logs {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let container = global.named(&self.id)?;
        let Some(settings) = container.state.log.clone() else {
            bail!("{}: container has no log (start it with run-tool run --detach --log-driver json-file)", self.id);
        };
        if settings.driver == Driver::None {
            if caller::caller().is_some() {
                bail!("Error response from daemon: configured logging driver does not support reading");
            }
            bail!("{}: container has no log (it was started with --log-driver none)", self.id);
        }
        let since = self.since.as_deref().map(moment::parse).transpose()?;
        let until = self.until.as_deref().map(moment::parse).transpose()?;
        let limit = match self.tail.as_str() {
            "all" => None,
            // Like docker, any number below zero means all.
            text if text.parse::<i64>().is_ok_and(|count| count < 0) => None,
            // So does what is no number, which a program may have built of nothing.
            text if caller::caller().is_some() && text.parse::<usize>().is_err() => None,
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
            // `alive` is read before the last look at the log, so that nothing written before the end is missed.
            let mut alive = true;
            while alive {
                sleep(Duration::from_millis(100));
                alive = container.is_alive();
                if !alive {
                    // Give the supervisor time to write the last records.
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
        // docker prints the space even if nothing is stored beside the line.
        let details = if self.details { attributes(&record.attrs) + " " } else { String::new() };
        let time = match record.time.parse::<Timestamp>() {
            // All nine digits, so that the columns stay in line.
            Ok(time) if self.timestamps => format!("{time:.9} "),
            _ => String::new(),
        };
        let text = format!("{time}{details}{}", record.log);
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
