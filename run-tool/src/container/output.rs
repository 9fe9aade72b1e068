//! The log settings of a supervised container. They come from the command line, and the state stores them for `logs` and for later
//! runs of the supervisor.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The socket where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// A log driver, by docker's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Driver {
    /// The output is discarded.
    None,
    /// docker's format: one JSON object a line.
    JsonFile,
    /// The plain bytes.
    File,
    /// One entry of systemd's journal for each line.
    Journald,
}

/// Where a container's output is kept, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The value of `--log-driver`.
    pub(crate) driver: Driver,
    /// The log file, or journald's socket.
    pub(crate) path: PathBuf,
    /// The size in bytes at which the file is rotated; zero for never.
    #[serde(default)]
    pub(crate) max_size: u64,
    /// How many files are kept, the current one included.
    #[serde(default)]
    pub(crate) max_file: u32,
    /// The id of the container; only set for journald.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) container: String,
    /// The name of the container, if it is not its id; only set for journald.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// The identifier that journalctl shows before each line; only set for journald.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) tag: String,
    /// What is stored beside each line; only set for json-file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) attributes: BTreeMap<String, String>,
}

/// The container whose output is kept.
#[derive(Clone, Debug)]
pub(crate) struct Origin<'a> {
    /// Its bundle.
    pub(crate) bundle: &'a Path,
    /// Its id.
    pub(crate) id: &'a str,
    /// Its name, if it has another.
    pub(crate) name: Option<&'a str>,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The variables of its program, as `NAME=VALUE`.
    pub(crate) env: &'a [String],
}

impl Origin<'_> {
    /// Adds the labels or variables of a comma-separated list to the attributes; those that it does not have are left out.
    fn select(&self, key: &str, list: &str, attributes: &mut BTreeMap<String, String>) {
        let value = |name: &str| match key {
            "labels" => self.labels.get(name).cloned(),
            _ => self.env.iter().rev().find_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.to_owned())),
        };
        attributes.extend(list.split(',').filter_map(|name| Some((name.to_owned(), value(name)?))));
    }
}

impl Settings {
    /// Those of a program whose output is not kept.
    pub(crate) fn none() -> Self {
        let (path, attributes) = (PathBuf::new(), BTreeMap::new());
        let [container, name, tag] = [const { String::new() }; 3];
        Self { driver: Driver::None, path, max_size: 0, max_file: 1, container, name, tag, attributes }
    }

    /// Parses `--log-driver` and `--log-opt`. By default the file is in the bundle: the folder of the state is on a tmpfs, where
    /// logs would take memory.
    pub(crate) fn parse(driver: &str, options: &[String], origin: &Origin<'_>) -> Result<Self> {
        let Origin { bundle, id, name, .. } = *origin;
        let driver = match driver {
            "none" => Driver::None,
            "json-file" => Driver::JsonFile,
            "file" => Driver::File,
            "journald" => Driver::Journald,
            "syslog" | "local" | "gelf" | "fluentd" | "awslogs" | "splunk" | "etwlogs" | "gcplogs" => {
                bail!("--log-driver {driver}: not supported (use json-file, file, journald or none)")
            }
            _ => bail!("--log-driver {driver}: unknown log driver (use json-file, file, journald or none)"),
        };
        let path = match driver {
            Driver::Journald => PathBuf::from(JOURNAL),
            Driver::File => bundle.join(format!("{id}-log")),
            Driver::None | Driver::JsonFile => bundle.join(format!("{id}-json.log")),
        };
        let names = if driver == Driver::Journald { id } else { "" };
        let name = name.filter(|name| driver == Driver::Journald && *name != id).unwrap_or_default().to_owned();
        // As docker has it, the short form of an id that is not the name.
        let tag: String = if name.is_empty() { names.to_owned() } else { names.chars().take(12).collect() };
        let container = names.to_owned();
        let mut settings =
            Self { driver, path, max_size: 0, max_file: 1, container, name, tag, attributes: BTreeMap::new() };
        let options: BTreeMap<&str, &str> = options
            .iter()
            .map(|option| option.split_once('=').with_context(|| format!("--log-opt {option}: expected KEY=VALUE")))
            .collect::<Result<_>>()?;
        for (key, value) in options {
            match key {
                // No log here keeps a container waiting, whatever the size of a buffer.
                "mode" if ["blocking", "non-blocking"].contains(&value) => {}
                "max-buffer-size" if size(value).is_some() => {}
                "tag" if matches!(settings.driver, Driver::Journald | Driver::JsonFile) => {
                    if value.contains("{{") {
                        bail!("--log-opt tag={value}: templates are not supported (write the text itself)");
                    }
                    if settings.driver == Driver::Journald {
                        settings.tag = value.to_owned();
                    } else if !value.is_empty() {
                        settings.attributes.insert("tag".to_owned(), value.to_owned());
                    }
                }
                "labels" | "env" if settings.driver == Driver::JsonFile => {
                    origin.select(key, value, &mut settings.attributes);
                }
                _ if settings.driver == Driver::Journald => {
                    bail!("--log-opt {key}: not supported by journald (tag, mode and max-buffer-size are)")
                }
                "max-size" => {
                    settings.max_size =
                        size(value).with_context(|| format!("--log-opt max-size={value}: not a valid size"))?;
                }
                "max-file" => {
                    settings.max_file = value.parse().ok().filter(|count| *count > 0).with_context(|| {
                        format!("--log-opt max-file={value}: expected a number of files, at least 1")
                    })?;
                }
                "path" => settings.path = bundle.join(value),
                _ => bail!("--log-opt {key}: unknown option (use max-size, max-file, path, mode, labels, env or tag)"),
            }
        }
        Ok(settings)
    }

    /// The numbers of the rotated files that exist, the newest first. They are read from disk, because max-file may be any number.
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

    /// The path of the rotated file with a number.
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
            let origin = Origin { bundle: Path::new("/b"), id: "c", name: None, labels: BTreeMap::new(), env: &[] };
            Settings::parse(driver, &[option.to_owned()], &origin).unwrap_err().to_string()
        };
        assert!(parse("syslog", "max-size=1").contains("syslog: not supported"));
        assert!(parse("journald", "max-size=1").contains("max-size: not supported by journald"));
        assert!(parse("file", "tag=x").contains("tag: unknown option"));
        assert!(parse("file", "labels=x").contains("labels: unknown option"));
        assert!(parse("json-file", "mode=x").contains("mode: unknown option"));
        assert!(parse("json-file", "compress=true").contains("compress: unknown option"));
        assert!(parse("json-file", "max-file=0").contains("max-file=0"));
    }
}
