//! Reading of log files, while they are written and rotated.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::Result;

use super::super::record::{LINE, Record, whole};
use crate::container::output::{Driver, Settings};
use crate::kernel::error::Fails;

/// Reads a container's log from its oldest file on, and then what is added.
pub(crate) struct Reader {
    settings: Settings,
    /// The files to read after the current one; the next one is the last.
    next: Vec<PathBuf>,
    current: Option<BufReader<File>>,
    inode: u64,
    partial: Vec<u8>,
    /// An incomplete record at the end of a file.
    cut: Option<Vec<u8>>,
    /// Whether the current file had been rotated when it was last read to its end.
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

    /// Finds the files that are newer than the current one, or all files if that no longer exists.
    fn find_newer(&mut self) {
        self.next = vec![self.settings.path.clone()];
        for path in self.settings.kept().into_iter().map(|index| self.settings.older(index)) {
            if fs::metadata(&path).is_ok_and(|metadata| metadata.ino() == self.inode) {
                break;
            }
            self.next.push(path);
        }
    }

    /// The next record. `None`: there is none yet.
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

    /// The last line, if it has no newline. To be called once the container has ended.
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
            // The file has been rotated meanwhile. Records may have been added until then, so read it once more.
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
            attrs: BTreeMap::new(),
        };
        match self.settings.driver {
            // A line that a crash has truncated is shown as it is.
            Driver::JsonFile => serde_json::from_slice(line).unwrap_or_else(|_| plain()),
            Driver::None | Driver::File | Driver::Journald => plain(),
        }
    }
}
