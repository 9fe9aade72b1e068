//! Logs of containers in docker's json-file format, or as plain text: written with rotation by the supervisor, read by `logs`.
//! What goes to systemd's journal goes through here too, in the same pieces.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::kernel::error::Fails;
use crate::supervise::journal::{self, Journal};

/// A line longer than this is stored in pieces, as docker does.
const PIECE: usize = 16 * 1024;

/// A line longer than this is no record of ours, where each byte of a piece takes six at most, and is shown in pieces: a container
/// that never ends a line must not fill the memory of who reads its log.
const LINE: usize = 8 * PIECE;

/// How much of some text there is before a character that is not there as a whole.
fn whole(text: &[u8]) -> usize {
    for back in 1..=text.len().min(3) {
        let length = match text[text.len() - back] {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        return if length > back { text.len() - back } else { text.len() };
    }
    text.len()
}

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
    /// An entry of systemd's journal for each line.
    Journald,
}

/// Where a container's output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The form.
    pub(crate) driver: Driver,
    /// The file; the journal's socket.
    pub(crate) path: PathBuf,
    /// At which size a new file is begun; zero for never.
    #[serde(default)]
    pub(crate) max_size: u64,
    /// How many files are kept.
    #[serde(default)]
    pub(crate) max_file: u32,
    /// The name of the container, for the journal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) container: String,
    /// What the journal shows before each line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) tag: String,
}

impl Settings {
    /// Reads `--log-driver` and `--log-opt`. The file is in the bundle unless an option names one: state is kept in memory, where
    /// logs have no place.
    pub(crate) fn parse(driver: &str, options: &[String], bundle: &Path, id: &str) -> Result<Self> {
        let driver = match driver {
            "none" => Driver::None,
            "json-file" => Driver::JsonFile,
            "file" => Driver::File,
            "journald" => Driver::Journald,
            "syslog" | "local" | "gelf" | "fluentd" | "awslogs" | "splunk" | "etwlogs" | "gcplogs" => {
                bail!("--log-driver {driver}: not available; use json-file, file, journald or none")
            }
            _ => bail!("--log-driver {driver}: no such driver; use json-file, file, journald or none"),
        };
        let path = match driver {
            Driver::Journald => PathBuf::from(journal::SOCKET),
            Driver::File => bundle.join(format!("{id}-log")),
            Driver::None | Driver::JsonFile => bundle.join(format!("{id}-json.log")),
        };
        let names = if driver == Driver::Journald { id } else { "" };
        let (container, tag) = (names.to_owned(), names.to_owned());
        let mut settings = Self { driver, path, max_size: 0, max_file: 1, container, tag };
        let options: BTreeMap<&str, &str> = options
            .iter()
            .map(|option| option.split_once('=').with_context(|| format!("--log-opt {option}: expected KEY=VALUE")))
            .collect::<Result<_>>()?;
        for (key, value) in options {
            match key {
                "tag" if settings.driver == Driver::Journald => {
                    if value.contains("{{") {
                        bail!("--log-opt tag={value}: templates are not known; write the text itself");
                    }
                    settings.tag = value.to_owned();
                }
                _ if settings.driver == Driver::Journald => {
                    bail!("--log-opt {key}: not known to journald; there is tag")
                }
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

    /// The numbers of the older files that there are, the newest first. Not all that there could be: an option may allow any number.
    fn kept(&self) -> Vec<u32> {
        let Some(name) = self.path.file_name() else { return Vec::new() };
        let folder = self.path.parent().and_then(|folder| fs::read_dir(folder).ok());
        let number = |entry: fs::DirEntry| {
            let other = entry.file_name();
            let number = other.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b".")?;
            let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
            (1..self.max_file).contains(&number).then_some(number)
        };
        let mut kept: Vec<u32> = folder.into_iter().flatten().flatten().filter_map(number).collect();
        kept.sort_unstable();
        kept
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

/// Where lines are put.
#[derive(Debug)]
enum Sink {
    Nothing,
    /// The newest file of the log, and how much is in it.
    File(File, u64),
    Journal(Journal),
}

/// Writes a container's log.
#[derive(Debug)]
pub(crate) struct Writer {
    settings: Settings,
    sink: Sink,
    /// The beginning of a line, for each stream.
    pending: [Vec<u8>; 2],
}

impl Writer {
    /// Opens the log, adding to what is there.
    pub(crate) fn open(settings: Settings) -> Result<Self> {
        let sink = match settings.driver {
            Driver::None => Sink::Nothing,
            Driver::Journald => Sink::Journal(Journal::open(&settings.path, &settings.container, &settings.tag)?),
            Driver::JsonFile | Driver::File => {
                let mut file = create(&settings.path)?;
                let fail = || format!("stat {}", settings.path.display());
                let mut written = file.metadata().fails(fail)?.len();
                // A record that a crash cut short must not swallow the next.
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

    /// Takes what the container wrote.
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

    /// Stores a line that has no end yet.
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
        let Sink::File(file, written) = &mut self.sink else { return Ok(()) };
        if let Err(error) = file.write_all(bytes) {
            // On a full disk half a record would swallow the next. If that fails too there is no more to be done.
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
                // Someone else has done it.
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
    /// Files to be read after the current one, the next one last.
    next: Vec<PathBuf>,
    current: Option<BufReader<File>>,
    inode: u64,
    partial: Vec<u8>,
    /// A record that has no end in its file.
    cut: Option<Vec<u8>>,
    /// Whether the current file was rotated away before its end was last looked for.
    rotated: bool,
}

impl Reader {
    /// Opens a log.
    pub(crate) fn open(settings: Settings) -> Self {
        let mut reader = Self {
            settings,
            next: Vec::new(),
            current: None,
            inode: 0,
            partial: Vec::new(),
            cut: None,
            rotated: false,
        };
        reader.find_newer();
        reader
    }

    /// Finds the files that are newer than the current one: all, if there is none any more.
    fn find_newer(&mut self) {
        self.next = vec![self.settings.path.clone()];
        for path in self.settings.kept().into_iter().map(|index| self.settings.older(index)) {
            if fs::metadata(&path).is_ok_and(|metadata| metadata.ino() == self.inode) {
                break;
            }
            self.next.push(path);
        }
    }

    /// The next record. `None`: there is none now.
    pub(crate) fn next(&mut self) -> Result<Option<Record>> {
        loop {
            if let Some(line) = self.cut.take() {
                return Ok(Some(self.decode(&line)));
            }
            if let Some(file) = &mut self.current {
                let path = &self.settings.path;
                let room = (LINE - self.partial.len()) as u64;
                let read = file.take(room).read_until(b'\n', &mut self.partial);
                read.fails(|| format!("read {}", path.display()))?;
                let ended = self.partial.last() == Some(&b'\n');
                if ended || self.partial.len() == LINE {
                    let rest = if ended { Vec::new() } else { self.partial.split_off(whole(&self.partial)) };
                    let line = std::mem::replace(&mut self.partial, rest);
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
        loop {
            while let Some(path) = self.next.pop() {
                if let Ok(file) = File::open(&path) {
                    self.inode = file.metadata().fails(|| format!("stat {}", path.display()))?.ino();
                    self.current = Some(BufReader::new(file));
                    self.rotated = false;
                    if self.settings.driver == Driver::JsonFile && !self.partial.is_empty() {
                        self.cut = Some(std::mem::take(&mut self.partial));
                    }
                    return Ok(true);
                }
            }
            match fs::metadata(&self.settings.path) {
                Ok(metadata) if metadata.ino() != self.inode => {}
                _ => return Ok(false),
            }
            // Rotated meanwhile, and written to until then.
            if !self.rotated {
                self.rotated = true;
                return Ok(true);
            }
            self.find_newer();
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
            Driver::None | Driver::File | Driver::Journald => plain(),
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
    fn a_log_without_ends_of_lines_is_read_in_pieces_and_characters_stay_whole() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("x{}", "\u{20ac}".repeat(LINE));
        for driver in [Driver::File, Driver::JsonFile] {
            let settings = Settings { driver, ..settings(folder.path(), &[&format!("path={driver:?}")]) };
            let mut writer = Writer::open(settings.clone()).unwrap();
            text.as_bytes().chunks(1000).for_each(|piece| writer.write(Stream::Out, piece).unwrap());
            writer.flush(Stream::Out).unwrap();
            let mut reader = Reader::open(settings);
            let mut read = String::new();
            while let Some(record) = reader.next().unwrap() {
                assert!(record.log.len() <= LINE);
                read.push_str(&record.log);
            }
            read.push_str(&reader.rest().map_or_else(String::new, |record| record.log));
            assert!(read == text, "{driver:?}: {} of {} bytes", read.len(), text.len());
        }
    }

    #[test]
    fn as_many_files_are_looked_for_as_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &["max-size=1", "max-file=4294967295"]);
        let mut writer = Writer::open(settings.clone()).unwrap();
        for number in 0..12 {
            writer.write(Stream::Out, format!("{number}\n").as_bytes()).unwrap();
        }
        fs::write(folder.path().join("c-json.log.x"), "").unwrap();
        assert_eq!(settings.kept(), (1..=12).collect::<Vec<_>>());
        assert_eq!(read_all(settings), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n");
    }

    #[test]
    fn who_follows_a_log_misses_nothing_of_files_that_are_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &["max-size=150", "max-file=5"]);
        let mut writer = Writer::open(settings.clone()).unwrap();
        let mut reader = Reader::open(settings);
        let mut expected = String::new();
        let mut read = String::new();
        for number in 0..40 {
            let line = format!("{number}\n");
            writer.write(Stream::Out, line.as_bytes()).unwrap();
            expected.push_str(&line);
            // After one, two or more rotations.
            if number % 5 == 0 || number % 7 == 0 {
                read.extend(std::iter::from_fn(|| reader.next().unwrap()).map(|record| record.log));
            }
        }
        read.extend(std::iter::from_fn(|| reader.next().unwrap()).map(|record| record.log));
        assert_eq!(read, expected);
    }

    #[test]
    fn a_record_cut_short_swallows_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &["max-size=150"]);
        fs::write(&settings.path, "{\"log\":\"cut").unwrap();
        let mut writer = Writer::open(settings.clone()).unwrap();
        writer.write(Stream::Out, b"one\n").unwrap();
        assert_eq!(read_all(settings.clone()), "{\"log\":\"cut\none\n");
        // The end of the file is away when a new one is begun; what someone has removed is no obstacle.
        fs::remove_file(&settings.path).unwrap();
        writer.write(Stream::Out, "x".repeat(200).as_bytes()).unwrap();
        writer.write(Stream::Out, b"\ntwo\n").unwrap();
        assert!(read_all(settings).ends_with("two\n"));
    }

    #[test]
    fn unknown_drivers_and_options_are_refused_by_name() {
        let parse = |driver: &str, option: &str| {
            Settings::parse(driver, &[option.to_owned()], Path::new("/b"), "c").unwrap_err().to_string()
        };
        assert!(parse("syslog", "max-size=1").contains("syslog: not available"));
        assert!(parse("journald", "max-size=1").contains("max-size: not known to journald"));
        assert!(parse("json-file", "tag=x").contains("tag: not known"));
        assert!(parse("json-file", "compress=true").contains("compress: not known"));
        assert!(parse("json-file", "max-file=0").contains("max-file=0"));
    }
}
