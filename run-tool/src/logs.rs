//! Logs of containers in docker's json-file format, or as plain text: written with rotation by the supervisor, read by `logs`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::error::Fails;

/// A line longer than this is stored in pieces, as docker does.
const PIECE: usize = 16 * 1024;

/// The form of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Driver {
    /// Nothing is kept.
    None,
    /// docker's: a JSON object a line.
    JsonFile,
    /// The bytes as they come.
    File,
}

/// Where a container's output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The form.
    pub(crate) driver: Driver,
    /// The file.
    pub(crate) path: PathBuf,
    /// At which size a new file is begun; zero for never.
    #[serde(default)]
    pub(crate) max_size: u64,
    /// How many files are kept.
    #[serde(default)]
    pub(crate) max_file: u32,
}

impl Settings {
    /// Reads `--log-driver` and `--log-opt`. The file is in the bundle unless an option names one: state is kept in memory, where
    /// logs have no place.
    pub(crate) fn parse(driver: &str, options: &[String], bundle: &Path, id: &str) -> Result<Self> {
        let driver = match driver {
            "none" => Driver::None,
            "json-file" => Driver::JsonFile,
            "file" => Driver::File,
            "journald" | "syslog" | "local" | "gelf" | "fluentd" | "awslogs" | "splunk" | "etwlogs" | "gcplogs" => {
                bail!("--log-driver {driver}: not available; use json-file, file or none")
            }
            _ => bail!("--log-driver {driver}: no such driver; use json-file, file or none"),
        };
        let suffix = if driver == Driver::File { "log" } else { "json.log" };
        let mut settings = Self { driver, path: bundle.join(format!("{id}-{suffix}")), max_size: 0, max_file: 1 };
        let options: BTreeMap<&str, &str> = options
            .iter()
            .map(|option| option.split_once('=').with_context(|| format!("--log-opt {option}: expected KEY=VALUE")))
            .collect::<Result<_>>()?;
        for (key, value) in options {
            match key {
                "max-size" => {
                    settings.max_size = size(value).with_context(|| format!("--log-opt max-size={value}: no size"))?;
                }
                "max-file" => {
                    settings.max_file = value.parse().ok().filter(|count| *count > 0).with_context(|| {
                        format!("--log-opt max-file={value}: expected a number of files, at least 1")
                    })?;
                }
                "path" => settings.path = bundle.join(value),
                _ => bail!("--log-opt {key}: not known; there are max-size, max-file and path"),
            }
        }
        Ok(settings)
    }

    fn older(&self, index: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{index}"));
        path.into()
    }
}

fn size(text: &str) -> Option<u64> {
    if text == "-1" {
        return Some(0);
    }
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let unit = text[end..].to_ascii_lowercase();
    let unit = match unit.trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// One of the two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, or the terminal.
    Out,
    /// Standard error.
    Err,
}

/// Writes a container's log.
#[derive(Debug)]
pub(crate) struct Writer {
    settings: Settings,
    file: Option<File>,
    written: u64,
    /// The beginning of a line, for each stream.
    pending: [Vec<u8>; 2],
}

impl Writer {
    /// Opens the log, adding to what is there.
    pub(crate) fn open(settings: Settings) -> Result<Self> {
        let (file, written) = if settings.driver == Driver::None {
            (None, 0)
        } else {
            let file = create(&settings.path)?;
            let written = file.metadata().fails(|| format!("stat {}", settings.path.display()))?.len();
            (Some(file), written)
        };
        Ok(Self { settings, file, written, pending: [Vec::new(), Vec::new()] })
    }

    /// Takes what the container wrote.
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8]) -> Result<()> {
        if self.file.is_none() {
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
            if line_end.is_some() || pending.len() == PIECE {
                self.flush(stream)?;
            }
        }
        Ok(())
    }

    /// Stores a line that has no end yet.
    pub(crate) fn flush(&mut self, stream: Stream) -> Result<()> {
        let line = std::mem::take(&mut self.pending[stream as usize]);
        if line.is_empty() {
            return Ok(());
        }
        #[derive(Serialize)]
        struct Record<'a> {
            log: std::borrow::Cow<'a, str>,
            stream: &'static str,
            time: String,
        }
        let record = Record {
            log: String::from_utf8_lossy(&line),
            stream: if stream == Stream::Out { "stdout" } else { "stderr" },
            time: jiff::Timestamp::now().to_string(),
        };
        let mut text = serde_json::to_vec(&record)?;
        text.push(b'\n');
        self.append(&text)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes).fails(|| format!("write {}", self.settings.path.display()))?;
        self.written += bytes.len() as u64;
        if self.settings.max_size > 0 && self.written >= self.settings.max_size {
            self.rotate()?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        let settings = &self.settings;
        let rename = |from: &Path, to: &Path| match fs::rename(from, to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).fails(|| format!("rename {}", from.display()))
            }
            _ => Ok(()),
        };
        for index in (1..settings.max_file.saturating_sub(1)).rev() {
            rename(&settings.older(index), &settings.older(index + 1))?;
        }
        if settings.max_file > 1 {
            rename(&settings.path, &settings.older(1))?;
        } else {
            fs::remove_file(&settings.path).fails(|| format!("remove {}", settings.path.display()))?;
        }
        self.file = Some(create(&settings.path)?);
        self.written = 0;
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

/// A record of a log.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    /// The line, with its end.
    pub(crate) log: String,
    /// `stdout` or `stderr`.
    #[serde(default)]
    pub(crate) stream: String,
    /// When it was written (RFC 3339).
    #[serde(default)]
    pub(crate) time: String,
}

/// Reads a container's log from its oldest file on, and what is added to it.
pub(crate) struct Reader {
    settings: Settings,
    older: Vec<PathBuf>,
    current: Option<BufReader<File>>,
    inode: u64,
    partial: Vec<u8>,
}

impl Reader {
    /// Opens a log.
    pub(crate) fn open(settings: Settings) -> Self {
        let mut older = vec![settings.path.clone()];
        older.extend((1..settings.max_file).map(|index| settings.older(index)));
        Self { settings, older, current: None, inode: 0, partial: Vec::new() }
    }

    /// The next record. `None`: there is none now.
    pub(crate) fn next(&mut self) -> Result<Option<Record>> {
        loop {
            if let Some(file) = &mut self.current {
                let path = &self.settings.path;
                file.read_until(b'\n', &mut self.partial).fails(|| format!("read {}", path.display()))?;
                if self.partial.last() == Some(&b'\n') {
                    let line = std::mem::take(&mut self.partial);
                    return Ok(Some(self.decode(&line)));
                }
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// What there is of a line without an end: at the end of a container's life there will be no more.
    pub(crate) fn rest(&mut self) -> Option<Record> {
        let line = std::mem::take(&mut self.partial);
        (!line.is_empty()).then(|| self.decode(&line))
    }

    /// Goes on to the next file, if there is a newer one.
    fn advance(&mut self) -> Result<bool> {
        use std::os::unix::fs::MetadataExt;
        while let Some(path) = self.older.pop() {
            if let Ok(file) = File::open(&path) {
                self.inode = file.metadata().fails(|| format!("stat {}", path.display()))?.ino();
                self.current = Some(BufReader::new(file));
                return Ok(true);
            }
        }
        match fs::metadata(&self.settings.path) {
            // Rotated meanwhile.
            Ok(metadata) if metadata.ino() != self.inode => {
                self.older.push(self.settings.path.clone());
                self.partial.clear();
                self.advance()
            }
            _ => Ok(false),
        }
    }

    fn decode(&self, line: &[u8]) -> Record {
        let plain = || Record {
            log: String::from_utf8_lossy(line).into_owned(),
            stream: "stdout".to_owned(),
            time: String::new(),
        };
        match self.settings.driver {
            // A line that a crash cut short is shown as it is.
            Driver::JsonFile => serde_json::from_slice(line).unwrap_or_else(|_| plain()),
            Driver::None | Driver::File => plain(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path, options: &[&str]) -> Settings {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        Settings::parse("json-file", &options, folder, "c").unwrap()
    }

    fn read_all(settings: Settings) -> String {
        let mut reader = Reader::open(settings);
        std::iter::from_fn(|| reader.next().unwrap()).map(|record| record.log).collect()
    }

    #[test]
    fn lines_of_both_streams_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &[]);
        let mut writer = Writer::open(settings.clone()).unwrap();
        writer.write(Stream::Out, b"one\ntw").unwrap();
        writer.write(Stream::Err, b"bad\n").unwrap();
        writer.write(Stream::Out, b"o\nrest").unwrap();
        writer.flush(Stream::Out).unwrap();
        let text = fs::read_to_string(&settings.path).unwrap();
        assert!(text.starts_with(r#"{"log":"one\n","stream":"stdout","time":""#), "{text}");
        assert_eq!(read_all(settings), "one\nbad\ntwo\nrest");
    }

    #[test]
    fn rotation_keeps_the_newest_files() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &["max-size=200", "max-file=3"]);
        let mut writer = Writer::open(settings.clone()).unwrap();
        for number in 0..50 {
            writer.write(Stream::Out, format!("line {number}\n").as_bytes()).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        let text = read_all(settings);
        assert!(text.ends_with("line 48\nline 49\n") && !text.contains("line 1\n"), "{text}");
    }

    #[test]
    fn unknown_drivers_and_options_are_refused_by_name() {
        let parse = |driver: &str, option: &str| {
            Settings::parse(driver, &[option.to_owned()], Path::new("/b"), "c").unwrap_err().to_string()
        };
        assert!(parse("journald", "max-size=1").contains("journald: not available"));
        assert!(parse("json-file", "compress=true").contains("compress: not known"));
        assert!(parse("json-file", "max-file=0").contains("max-file=0"));
    }
}
