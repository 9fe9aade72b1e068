//! What a user has told docker's client for all commands: config.json in `$DOCKER_CONFIG`, else ~/.docker. Credentials are registry-tool's.

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
}

/// The detach keys for all containers; `None` if the user has chosen none.
pub(crate) fn detach_keys() -> Option<String> {
    Some(config().detach_keys).filter(|keys| !keys.is_empty())
}

/// The file's content. As for docker, one that cannot be read is told and then is as if it were empty.
fn config() -> Config {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
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
