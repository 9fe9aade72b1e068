//! Where a container's output is kept: asked for on the command line, written by the supervisor, stored in the state, and read
//! again by `logs`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

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
            Driver::Journald => PathBuf::from(JOURNAL),
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
    pub(crate) fn kept(&self) -> Vec<u32> {
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

    /// The path of an older file.
    pub(crate) fn older(&self, index: u32) -> PathBuf {
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

#[cfg(test)]
mod tests {
    use super::*;

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
