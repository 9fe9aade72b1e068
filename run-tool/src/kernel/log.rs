//! The log in runc's format: logrus's text or JSON records, on standard error or in the file of `--log`.
//!
//! containerd and conmon read the JSON keys `level`, `msg` and `time`. A record has exactly these. Messages hold text of bundles, images
//! and containers; here, where they are written, all in them is escaped that a terminal would obey.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Result, bail};

use super::error::Fails;
use super::{caller, plain};

struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// The receiver of records in a process whose standard error is not the caller's.
static SINK: OnceLock<Sink> = OnceLock::new();

/// A function that receives records.
pub(crate) type Sink = Box<dyn Fn(Level, &str) + Send + Sync>;

/// The level of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Recorded only with `--debug`.
    Debug,
    /// Something went wrong, but the command goes on.
    Warning,
    /// The command failed.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// Opens the log. Until then records are written to standard error as text.
pub(crate) fn open(file: Option<&Path>, format: &str, debug: bool) -> Result<()> {
    let json = match format {
        "" | "text" => false,
        "json" => true,
        other => bail!("invalid log-format: {other}"),
    };
    let file = match file {
        None => None,
        // Several processes may write the file at once, so append, and do not buffer.
        Some(path) => Some(
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o644)
                .open(path)
                .fails(|| format!("open {}", path.display()))?,
        ),
    };
    // A second call has no effect: the first log stays.
    let _ = LOG.set(Log { file, json, debug });
    Ok(())
}

/// Whether records are written to standard error.
pub(crate) fn to_stderr() -> bool {
    LOG.get().is_none_or(|log| log.file.is_none())
}

/// Whether `--debug` was given.
pub(crate) fn debugging() -> bool {
    LOG.get().is_some_and(|log| log.debug)
}

/// Sends all later records to a receiver.
pub(crate) fn send_to(sink: Sink) {
    // Set only once, because a process has one parent.
    let _ = SINK.set(sink);
}

/// Writes a record.
pub(crate) fn record(level: Level, message: &str) {
    if let Some(sink) = SINK.get() {
        if level != Level::Debug || debugging() {
            sink(level, message);
        }
        return;
    }
    let (file, json, debug) = LOG.get().map_or((None, false, false), |log| (log.file.as_ref(), log.json, log.debug));
    if level == Level::Debug && !debug {
        return;
    }
    let terminal = file.is_none() && std::io::stderr().is_terminal();
    let line = format(level, message, json, terminal, &now());
    // A log that cannot be written (full disk, closed stderr) must not stop a container.
    let _ = match file {
        Some(mut file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

fn format(level: Level, message: &str, json: bool, terminal: bool, time: &str) -> String {
    let name = level.name();
    if json {
        return format!("{{\"level\":\"{name}\",\"msg\":{},\"time\":\"{time}\"}}\n", quote(message));
    }
    if terminal {
        let short = name[..4].to_uppercase();
        return format!("{short}[0000] {}\n", plain::plain(message.trim_end_matches('\n')));
    }
    format!("time=\"{time}\" level={name} msg={}\n", quote(message))
}

fn quote(text: &str) -> String {
    plain::json(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()))
}

fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).map_or_else(|_| String::new(), |time| time.to_string())
}

/// Writes a debug record.
pub(crate) fn debug(message: impl FnOnce() -> String) {
    if debugging() {
        record(Level::Debug, &message());
    }
}

/// Writes a warning.
pub(crate) fn warn(message: &str) {
    record(Level::Warning, message);
}

/// Writes a line to standard error that is no record.
pub(crate) fn say(message: &str) {
    // Nobody may be reading.
    let _ = writeln!(std::io::stderr(), "{}", plain::plain(message.trim_end_matches('\n')));
}

/// Writes several lines to standard error that are no records.
pub(crate) fn say_lines(text: &str) {
    // Nobody may be reading.
    let _ = std::io::stderr().write_all(plain::lines(text).as_bytes());
}

/// Writes an error record, and the message to standard error too if the log is elsewhere.
pub(crate) fn fatal(message: &str) {
    record(Level::Error, message);
    if !to_stderr() {
        say(message);
    }
}

/// Writes a message to standard error without the form of a record, and an error record too if the log is elsewhere.
pub(crate) fn bare(message: &str) {
    if !to_stderr() {
        record(Level::Error, message);
    }
    say(message);
}

/// Writes an error of a command that runc does not have: `run-tool: message` on standard error (for the docker command, `docker: message`), and an error record too if the log
/// is elsewhere.
pub(crate) fn ours(message: &str) {
    if !to_stderr() {
        record(Level::Error, message);
    }
    match caller::caller() {
        Some(name) => say(&caller::line(&name, message)),
        None => say(&format!("run-tool: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_logruss_format() {
        let line = format(Level::Error, "a \"b\"\nc", true, false, "2026-01-02T03:04:05Z");
        assert_eq!(line, "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\\nc\",\"time\":\"2026-01-02T03:04:05Z\"}\n");
        let line = format(Level::Warning, "x", false, false, "2026-01-02T03:04:05Z");
        assert_eq!(line, "time=\"2026-01-02T03:04:05Z\" level=warning msg=\"x\"\n");
    }

    #[test]
    fn no_message_drives_a_terminal() {
        let evil = "a\u{1b}[2J\u{9b}\u{202e}\nERRO[0000] b\n";
        for (json, terminal) in [(true, false), (false, false), (false, true)] {
            let line = format(Level::Error, evil, json, terminal, "2026-01-02T03:04:05Z");
            let line = line.strip_suffix('\n').unwrap();
            assert!(!line.contains(|character: char| character.is_control() || character == '\u{202e}'), "{line:?}");
        }
        let line = format(Level::Error, evil, true, false, "2026-01-02T03:04:05Z");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["msg"], evil);
    }
}
