//! Environment variables and labels: docker's precedence, and the format of `--env-file` and `--label-file`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use image_tool::error::During as _;

/// Why variables or labels cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
    /// A line of a file is neither `NAME=VALUE` nor `NAME`.
    #[error("{path}:{line}: {reason}")]
    Line {
        /// The path of the file.
        path: PathBuf,
        /// The number of the line, counted from 1.
        line: usize,
        /// What is wrong with the line.
        reason: &'static str,
    },
    /// An option's value lacks a name.
    #[error("invalid environment variable: {0:?} (no name before =)")]
    NoName(String),
    /// A variable of the caller cannot be written to config.json, which is UTF-8.
    #[error("{0}: the caller's value is not UTF-8")]
    NotUtf8(String),
}

/// The search path for images that set none.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Reads an environment file. `NAME=VALUE` is taken literally, quotes included; blank lines and those that begin with `#` are skipped.
/// `NAME` alone is kept for [`resolve`].
pub fn read_file(path: &Path) -> Result<Vec<String>, Error> {
    let bytes = fs::read(path).during("read", path)?;
    let mut found = Vec::new();
    for (index, line) in bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).split(|byte| *byte == b'\n').enumerate()
    {
        let wrong = |reason| Error::Line { path: path.into(), line: index + 1, reason };
        let line = std::str::from_utf8(line).map_err(|_| wrong("not UTF-8"))?;
        // Blanks before a name are indentation; those in a value belong to it.
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() {
            return Err(wrong("no name before the '='"));
        }
        if name.contains(char::is_whitespace) {
            return Err(wrong("a name cannot hold a blank"));
        }
        found.push(line.to_owned());
    }
    Ok(found)
}

/// The variables of `--env-file` and `--env` together, with the caller's values where names stand alone. A name of an option for which the
/// caller has none stays, and removes a variable where these are put; a name of a file sets nothing then.
pub fn given(files: &[PathBuf], entries: &[String]) -> Result<Vec<String>, Error> {
    let caller = |name: &str| std::env::var_os(name);
    let mut variables = Vec::new();
    for file in files {
        for entry in read_file(file)? {
            if let Some(entry) = resolve(&entry, caller)? {
                put(&mut variables, entry);
            }
        }
    }
    for entry in entries {
        let resolved = resolve(entry, caller)?;
        put(&mut variables, resolved.unwrap_or_else(|| entry.clone()));
    }
    Ok(variables)
}

/// Completes a `NAME` without `=` with the caller's value; `None` if the caller has none.
pub fn resolve(entry: &str, caller: impl Fn(&str) -> Option<OsString>) -> Result<Option<String>, Error> {
    match entry.split_once('=') {
        Some(("", _)) => Err(Error::NoName(entry.into())),
        Some(_) => Ok(Some(entry.into())),
        None if entry.is_empty() => Err(Error::NoName(entry.into())),
        None => match caller(entry).map(OsString::into_string) {
            Some(Ok(value)) => Ok(Some(format!("{entry}={value}"))),
            Some(Err(_)) => Err(Error::NotUtf8(entry.into())),
            None => Ok(None),
        },
    }
}

/// Sets `entries` in `base`: an existing variable keeps its place and gets the new value, others are appended. A name without `=` removes
/// the variable.
pub fn overlay(base: &mut Vec<String>, entries: impl IntoIterator<Item = String>) {
    for entry in entries {
        if entry.contains('=') {
            put(base, entry);
        } else {
            base.retain(|old| name_of(old) != entry);
        }
    }
}

/// Puts an entry, which may be a name without `=`, in the place of that of the same name, or at the end.
pub fn put(entries: &mut Vec<String>, entry: String) {
    match entries.iter_mut().find(|old| name_of(old) == name_of(&entry)) {
        Some(old) => *old = entry,
        None => entries.push(entry),
    }
}

/// The value of `name` among `NAME=VALUE` entries.
pub fn value<'a>(entries: &'a [String], name: &str) -> Option<&'a str> {
    entries.iter().find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}

/// Labels from `NAME=VALUE` entries. `NAME` alone has an empty value; the last of several entries takes precedence.
pub fn labels(entries: impl IntoIterator<Item = String>) -> Result<BTreeMap<String, String>, Error> {
    entries
        .into_iter()
        .map(|entry| match entry.split_once('=').unwrap_or((&entry, "")) {
            ("", _) => Err(Error::NoName(entry.clone())),
            (name, value) => Ok((name.to_owned(), value.to_owned())),
        })
        .collect()
}

fn name_of(entry: &str) -> &str {
    entry.split('=').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(content: &str) -> Result<Vec<String>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        fs::write(&path, content).unwrap();
        read_file(&path)
    }

    #[test]
    fn a_file_is_read_line_by_line_without_quotes() {
        let lines = file("\u{feff}A=1\n  # a comment\n\nB=\"quoted\" # kept\r\nC\n\tD= spaced \n").unwrap();
        assert_eq!(lines, ["A=1", "B=\"quoted\" # kept", "C", "D= spaced "]);
    }

    #[test]
    fn a_bad_line_is_named_with_its_number() {
        for (content, reason) in
            [("A=1\n=2\n", ":2: no name before the '='"), ("A B=1", ":1: a name cannot hold a blank")]
        {
            let message = file(content).unwrap_err().to_string();
            assert!(message.ends_with(reason), "{message}");
        }
    }

    #[test]
    fn a_bare_name_takes_the_callers_value() {
        let caller = |name: &str| (name == "HOME").then(|| "/root".into());
        assert_eq!(resolve("HOME", caller).unwrap().as_deref(), Some("HOME=/root"));
        assert_eq!(resolve("NONE", caller).unwrap(), None);
        assert_eq!(resolve("A=", caller).unwrap().as_deref(), Some("A="));
        assert!(resolve("=x", caller).is_err() && resolve("", caller).is_err());
    }

    #[test]
    fn a_variable_keeps_its_place_and_takes_the_last_value() {
        let mut base = vec!["PATH=/bin".to_owned(), "A=1".to_owned()];
        overlay(&mut base, ["B=2".to_owned(), "PATH=/sbin".to_owned(), "B=3".to_owned()]);
        assert_eq!(base, ["PATH=/sbin", "A=1", "B=3"]);
        assert_eq!(value(&base, "B"), Some("3"));
        assert_eq!(value(&base, "PAT"), None);
        overlay(&mut base, ["A".to_owned(), "NONE".to_owned()]);
        assert_eq!(base, ["PATH=/sbin", "B=3"], "a bare name removes the variable");
    }

    proptest! {
        #[test]
        fn no_name_is_twice_in_an_environment(entries in proptest::collection::vec("[AB]{1,2}=[a-z]?", 0..12)) {
            let mut base = Vec::new();
            overlay(&mut base, entries.clone());
            let mut names: Vec<&str> = base.iter().map(|entry| name_of(entry)).collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            prop_assert_eq!(all, names.len());
            for entry in &entries {
                prop_assert!(value(&base, name_of(entry)).is_some());
            }
        }
    }
}
