//! systemd's journal as a container's log: written with the native protocol, read with journalctl.
//!
//! The fields are those of docker's driver, so that queries written for docker work: CONTAINER_NAME, CONTAINER_ID,
//! CONTAINER_ID_FULL, CONTAINER_TAG, SYSLOG_IDENTIFIER, and CONTAINER_PARTIAL_MESSAGE on a piece of a longer line.
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL>

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::Value;

use crate::container::output::Settings;
use crate::kernel::error::Fails;
use crate::supervise::record::{Record, Stream};

/// The priorities of docker's driver: info for standard output, err for standard error.
fn priority(stream: Stream) -> &'static str {
    match stream {
        Stream::Out => "6",
        Stream::Err => "3",
    }
}

/// The fields that go with every line of a container.
fn fields(settings: &Settings) -> Vec<u8> {
    let (container, tag) = (settings.container.as_str(), settings.tag.as_str());
    let mut fields = Vec::new();
    let short: String = container.chars().take(12).collect();
    for (name, value) in [
        ("CONTAINER_NAME", if settings.name.is_empty() { container } else { &settings.name }),
        ("CONTAINER_ID", &short),
        ("CONTAINER_ID_FULL", container),
        ("CONTAINER_TAG", tag),
        ("SYSLOG_IDENTIFIER", tag),
    ] {
        put(&mut fields, name, value.as_bytes());
    }
    fields
}

/// Adds a field. A value with a newline is preceded by its length.
fn put(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    to.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        to.push(b'\n');
        to.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        to.push(b'=');
    }
    to.extend_from_slice(value);
    to.push(b'\n');
}

/// Writes to the journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    socket: UnixDatagram,
    fields: Vec<u8>,
}

impl Journal {
    /// Opens the journal for a container. Fails if journald is not running.
    pub(crate) fn open(settings: &Settings) -> Result<Self> {
        let path = settings.path.as_path();
        let socket = UnixDatagram::unbound().fails(|| "socket")?;
        socket
            .connect(path)
            .fails(|| format!("--log-driver journald: connect {} (is systemd-journald running?)", path.display()))?;
        // If journald hangs, lines are lost, but the supervisor goes on.
        socket.set_write_timeout(Some(Duration::from_secs(1))).fails(|| "setsockopt(SO_SNDTIMEO)")?;
        Ok(Self { path: path.to_owned(), socket, fields: fields(settings) })
    }

    /// Sends a line, or a piece of one without a newline. It must fit into a datagram.
    pub(crate) fn send(&self, stream: Stream, line: &[u8]) -> Result<()> {
        let mut datagram = self.fields.clone();
        put(&mut datagram, "PRIORITY", priority(stream).as_bytes());
        let message = match line.strip_suffix(b"\n") {
            Some(message) => message,
            None => {
                put(&mut datagram, "CONTAINER_PARTIAL_MESSAGE", b"true");
                line
            }
        };
        put(&mut datagram, "MESSAGE", message);
        let send = || self.socket.send(&datagram);
        let sent = send().or_else(|error| match error.kind() {
            // journald has been restarted.
            ErrorKind::ConnectionRefused | ErrorKind::NotConnected => {
                self.socket.connect(&self.path).and_then(|()| send())
            }
            _ => Err(error),
        });
        sent.fails(|| format!("send to {}", self.path.display())).map(drop).map_err(Into::into)
    }
}

/// What the journalctl that is running reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// The lines that exist.
    Present,
    /// Nothing: all existing lines have been read.
    Nothing,
    /// The lines that are added.
    Added,
}

/// Reads a container's lines from the journal: first those that exist, then those that are added.
pub(crate) struct Reader {
    container: String,
    since: String,
    child: Child,
    output: BufReader<ChildStdout>,
    line: Vec<u8>,
    cursor: Option<String>,
    reads: Reads,
}

impl Reader {
    /// Starts to read the lines of a container since its creation. Earlier containers may have had the same id.
    pub(crate) fn open(container: &str, since: Timestamp) -> Result<Self> {
        let since = format!("@{}.{:06}", since.as_second(), since.subsec_microsecond());
        let (child, output) = journalctl(container, &["--since", &since])?;
        let container = container.to_owned();
        Ok(Self { container, since, child, output, line: Vec::new(), cursor: None, reads: Reads::Present })
    }

    /// The next line. `None`: there is none yet.
    pub(crate) fn next(&mut self) -> Result<Option<Record>> {
        if self.reads == Reads::Nothing {
            self.begin(&["--follow", "--no-tail"])?;
            rustix::io::ioctl_fionbio(self.output.get_ref(), true).fails(|| "ioctl(FIONBIO)")?;
            self.reads = Reads::Added;
        }
        loop {
            match self.output.read_until(b'\n', &mut self.line) {
                Ok(_) if self.line.ends_with(b"\n") => {
                    let line = std::mem::take(&mut self.line);
                    let entry: Value = serde_json::from_slice(&line)?;
                    self.cursor = entry["__CURSOR"].as_str().map(str::to_owned).or(self.cursor.take());
                    if let Some(record) = record(&entry) {
                        return Ok(Some(record));
                    }
                }
                Ok(_) => return self.end().map(|()| None),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error).fails(|| "read from journalctl").map_err(Into::into),
            }
        }
    }

    fn end(&mut self) -> Result<()> {
        let status = self.child.wait().fails(|| "wait for journalctl")?;
        if self.reads == Reads::Added || !status.success() {
            bail!("journalctl: {status}");
        }
        self.reads = Reads::Nothing;
        Ok(())
    }

    /// Starts another journalctl, after the last line.
    fn begin(&mut self, options: &[&str]) -> Result<()> {
        let from = match &self.cursor {
            Some(cursor) => ["--after-cursor", cursor],
            None => ["--since", &self.since],
        };
        (self.child, self.output) = journalctl(&self.container, &[&from, options].concat())?;
        self.line.clear();
        Ok(())
    }

    /// The lines that are left once the container has ended. A journalctl that follows the journal may not have them yet.
    pub(crate) fn rest(&mut self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        if self.reads == Reads::Added {
            self.stop();
            self.begin(&[])?;
            self.reads = Reads::Present;
            while let Some(record) = self.next()? {
                records.push(record);
            }
        }
        Ok(records)
    }

    fn stop(&mut self) {
        // journalctl may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts journalctl for a container. It only reads entries of processes of this user: anybody may write to the journal, but only the
/// user's own processes have this _UID.
fn journalctl(container: &str, options: &[&str]) -> Result<(Child, BufReader<ChildStdout>)> {
    let user = format!("_UID={}", rustix::process::getuid().as_raw());
    let child = Command::new("journalctl")
        .args(["--output=json", "--all", "--quiet", "--no-pager"])
        .args(options)
        .args([&format!("CONTAINER_ID_FULL={container}"), &user])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "journalctl: command not found (it is needed to read the log of a container with --log-driver journald)"
            )
        }
        child => child.fails(|| "journalctl")?,
    };
    let output = child.stdout.take().expect("its output was asked for");
    Ok((child, BufReader::new(output)))
}

/// Converts an entry in journalctl's JSON, in which a text that is not UTF-8 is an array of bytes.
fn record(entry: &Value) -> Option<Record> {
    let mut log = match &entry["MESSAGE"] {
        Value::String(text) => text.clone(),
        Value::Array(bytes) => {
            let bytes: Option<Vec<u8>> = bytes.iter().map(|byte| byte.as_u64()?.try_into().ok()).collect();
            String::from_utf8_lossy(&bytes?).into_owned()
        }
        _ => return None,
    };
    if entry["CONTAINER_PARTIAL_MESSAGE"] != "true" {
        log.push('\n');
    }
    let stream = if entry["PRIORITY"] == priority(Stream::Err) { "stderr" } else { "stdout" };
    let time =
        entry["__REALTIME_TIMESTAMP"].as_str().and_then(|time| Timestamp::from_microsecond(time.parse().ok()?).ok());
    Some(Record {
        log,
        stream: stream.to_owned(),
        time: time.map(|time| time.to_string()).unwrap_or_default(),
        attrs: BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_with_a_newline_is_preceded_by_its_length() {
        let mut fields = Vec::new();
        put(&mut fields, "A", b"x=y");
        put(&mut fields, "B", b"x\nA=z");
        assert_eq!(fields, b"A=x=y\nB\n\x05\0\0\0\0\0\0\0x\nA=z\n");
    }

    #[test]
    fn an_entry_becomes_a_line_of_its_stream() {
        for (entry, log, stream) in [
            (json!({"MESSAGE": "a", "PRIORITY": "6"}), "a\n", "stdout"),
            (json!({"MESSAGE": [98, 255], "PRIORITY": "3"}), "b\u{fffd}\n", "stderr"),
            (json!({"MESSAGE": "c", "PRIORITY": "6", "CONTAINER_PARTIAL_MESSAGE": "true"}), "c", "stdout"),
        ] {
            let record = record(&entry).unwrap();
            assert_eq!((record.log.as_str(), record.stream.as_str()), (log, stream), "{entry}");
        }
        assert!(record(&json!({"MESSAGE": ["a", "b"]})).is_none());
        let time = record(&json!({"MESSAGE": "", "__REALTIME_TIMESTAMP": "1000001"})).unwrap().time;
        assert_eq!(time, "1970-01-01T00:00:01.000001Z");
    }
}
