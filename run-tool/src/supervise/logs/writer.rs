//! Writing of a container's output: whole lines go to log files, which are rotated, or to the journal.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::super::journal::Journal;
use super::super::record::{PIECE, Stream, whole};
use crate::container::output::{Driver, Settings};
use crate::kernel::error::Fails;

/// Where lines are written to.
#[derive(Debug)]
enum Sink {
    Nothing,
    /// The current log file, and its size.
    File(File, u64),
    Journal(Journal),
}

/// Writes a container's log.
#[derive(Debug)]
pub(crate) struct Writer {
    settings: Settings,
    sink: Sink,
    /// The incomplete line of each stream.
    pending: [Vec<u8>; 2],
}

impl Writer {
    /// Opens the log. An existing file is continued.
    pub(crate) fn open(settings: Settings) -> Result<Self> {
        let sink = match settings.driver {
            Driver::None => Sink::Nothing,
            Driver::Journald => Sink::Journal(Journal::open(&settings)?),
            Driver::JsonFile | Driver::File => {
                let mut file = create(&settings.path)?;
                let fail = || format!("stat {}", settings.path.display());
                let mut written = file.metadata().fails(fail)?.len();
                // A record that a crash has truncated must not swallow the next one.
                let mut last = [b'\n'];
                if settings.driver == Driver::JsonFile && written > 0 {
                    let read = File::open(&settings.path).and_then(|file| file.read_exact_at(&mut last, written - 1));
                    read.fails(|| format!("read {}", settings.path.display()))?;
                }
                if last != *b"\n" {
                    file.write_all(b"\n").fails(|| format!("write {}", settings.path.display()))?;
                    written += 1;
                }
                Sink::File(file, written)
            }
        };
        Ok(Self { settings, sink, pending: [Vec::new(), Vec::new()] })
    }

    /// Writes output of the container; an incomplete line is kept until its end comes.
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8]) -> Result<()> {
        if matches!(self.sink, Sink::Nothing) {
            return Ok(());
        }
        if self.settings.driver == Driver::File {
            return self.append(bytes);
        }
        while !bytes.is_empty() {
            let pending = &mut self.pending[stream as usize];
            let room = PIECE - pending.len();
            let line_end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let end = line_end.map_or(bytes.len().min(room), |end| end + 1);
            pending.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end..];
            if line_end.is_some() {
                self.flush(stream)?;
            } else if pending.len() == PIECE {
                let rest = pending.split_off(whole(pending));
                let flushed = self.flush(stream);
                self.pending[stream as usize] = rest;
                flushed?;
            }
        }
        Ok(())
    }

    /// Writes the incomplete line of a stream.
    pub(crate) fn flush(&mut self, stream: Stream) -> Result<()> {
        let line = std::mem::take(&mut self.pending[stream as usize]);
        if line.is_empty() {
            return Ok(());
        }
        if let Sink::Journal(journal) = &self.sink {
            return journal.send(stream, &line);
        }
        #[derive(Serialize)]
        struct Record<'a> {
            log: std::borrow::Cow<'a, str>,
            stream: &'static str,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            attrs: &'a BTreeMap<String, String>,
            time: String,
        }
        let record = Record {
            log: String::from_utf8_lossy(&line),
            stream: if stream == Stream::Out { "stdout" } else { "stderr" },
            attrs: &self.settings.attributes,
            time: jiff::Timestamp::now().to_string(),
        };
        let mut text = serde_json::to_vec(&record)?;
        text.push(b'\n');
        self.append(&text)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let Sink::File(file, written) = &mut self.sink else { return Ok(()) };
        if let Err(error) = file.write_all(bytes) {
            // If the disk is full, remove the partial record, which would swallow the next one. If that fails too, nothing can be
            // done.
            let _ = file.set_len(*written);
            return Err(error).fails(|| format!("write {}", self.settings.path.display())).map_err(Into::into);
        }
        *written += bytes.len() as u64;
        if self.settings.max_size > 0 && *written >= self.settings.max_size {
            self.rotate()?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        let settings = &self.settings;
        let rename = |from: &Path, to: &Path| match fs::rename(from, to) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).fails(|| format!("rename {}", from.display()))
            }
            _ => Ok(()),
        };
        for index in settings.kept().into_iter().rev().filter(|index| index + 1 < settings.max_file) {
            rename(&settings.older(index), &settings.older(index + 1))?;
        }
        if settings.max_file > 1 {
            rename(&settings.path, &settings.older(1))?;
        } else {
            match fs::remove_file(&settings.path) {
                // Someone else has removed it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result.fails(|| format!("remove {}", settings.path.display()))?,
            }
        }
        self.sink = Sink::File(create(&settings.path)?, 0);
        Ok(())
    }
}

fn create(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
        .fails(|| format!("open {}", path.display()))
        .map_err(Into::into)
}
