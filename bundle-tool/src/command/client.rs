//! What a user has told docker's client for all commands: config.json in `$DOCKER_CONFIG`, else ~/.docker. Credentials are registry-tool's.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::PathBuf;

use serde::Deserialize;

use super::warn;

/// The most bytes of the file that are read.
const LIMIT: u64 = 4 << 20;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    #[serde(rename = "detachKeys")]
    detach_keys: String,
    #[serde(rename = "pruneFilters")]
    prune_filters: Vec<String>,
}

/// The detach keys for all containers; `None` if the user has chosen none. `folder` is that of the file, empty for the default.
pub(crate) fn detach_keys(folder: &OsStr) -> Option<String> {
    Some(config(folder).detach_keys).filter(|keys| !keys.is_empty())
}

/// The filters for all prune commands, beside those of the command line: but for those that it has, and labels of which it says the opposite.
pub(crate) fn prune_filters(folder: &OsStr, given: &[OsString]) -> Vec<OsString> {
    let has = |filter: &str| given.iter().any(|own| own == filter);
    let is_added = |filter: &String| match filter.split_once('=') {
        _ if has(filter) => false,
        Some(("label", label)) => !has(&format!("label!={label}")),
        Some(("label!", label)) => !has(&format!("label={label}")),
        known => known.is_some(),
    };
    config(folder).prune_filters.into_iter().filter(is_added).map(OsString::from).collect()
}

/// The file's content. As for docker, one that cannot be read is told and then is as if it were empty.
fn config(folder: &OsStr) -> Config {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let given = Some(PathBuf::from(folder)).filter(|path| !path.as_os_str().is_empty());
    let folder = given.or_else(|| variable("DOCKER_CONFIG")).or_else(|| Some(variable("HOME")?.join(".docker")));
    let Some(path) = folder.map(|folder| folder.join("config.json")) else { return Config::default() };
    let mut text = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(LIMIT).read_to_end(&mut text));
    let config = match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return Config::default(),
        Err(error) => Err(error.to_string()),
        // The error of serde_json tells a place and a kind, but no text of other members, which may be secrets.
        Ok(_) => serde_json::from_slice(&text).map_err(|error| error.to_string()),
    };
    config.unwrap_or_else(|error| {
        warn(&format!("Error loading config file: {}: {error}", path.display()));
        Config::default()
    })
}
