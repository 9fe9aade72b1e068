//! What an image's config says about running it.
//!
//! Read from the config's bytes, not from `oci_spec`'s type: that knows no `Healthcheck`, and rejects the nulls that docker writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A config that does not read as one.
#[derive(Debug, thiserror::Error)]
#[error("image config")]
pub struct Error(#[from] serde_json::Error);

/// The part of an image's config that a container is made from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Runtime {
    /// The program, before the command's words.
    #[serde(default, deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// The command's words if none are given.
    #[serde(default, deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// `NAME=VALUE` entries.
    #[serde(default, deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The working folder.
    #[serde(default, deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// `USER[:GROUP]`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: String,
    /// `PORT[/PROTOCOL]`, each with an empty object.
    #[serde(default, deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// Folders that are volumes, each with an empty object.
    #[serde(default, deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, Value>,
    /// Labels.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the program to stop.
    #[serde(default, deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// Docker's health check.
    pub healthcheck: Option<Healthcheck>,
}

/// Docker's health check; times are in nanoseconds, 0 stands for docker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", "…"]` or `["NONE"]`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// How long one may take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// In which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u64,
}

impl Healthcheck {
    /// Takes over from `image` what is not said here, as docker does.
    #[must_use]
    pub fn over(mut self, image: &Self) -> Self {
        if self.test.is_empty() {
            self.test.clone_from(&image.test);
        }
        for (own, theirs) in [
            (&mut self.interval, image.interval),
            (&mut self.timeout, image.timeout),
            (&mut self.start_period, image.start_period),
            (&mut self.retries, image.retries),
        ] {
            if *own == 0 {
                *own = theirs;
            }
        }
        self
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(source: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(source).map(Option::unwrap_or_default)
}

impl Runtime {
    /// Reads an image config document.
    pub fn from_config(json: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(default, deserialize_with = "null_is_default")]
            config: Runtime,
        }
        Ok(serde_json::from_slice::<Config>(json)?.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_absent_fields_are_empty() {
        let json = br#"{"architecture":"amd64","os":"linux","config":{"Cmd":null,"Env":["A=1"],"Entrypoint":["/x"],"Volumes":{"/v":{}},
            "ExposedPorts":null,"Healthcheck":{"Test":["NONE"]},"OnBuild":null}}"#;
        let runtime = Runtime::from_config(json).unwrap();
        assert_eq!(
            (runtime.entrypoint, runtime.cmd, runtime.env),
            (vec!["/x".to_owned()], vec![], vec!["A=1".to_owned()])
        );
        assert_eq!(runtime.volumes.keys().collect::<Vec<_>>(), ["/v"]);
        assert_eq!(runtime.healthcheck.unwrap().test, ["NONE"]);
        let own = Healthcheck { retries: 9, ..Healthcheck::default() };
        let image =
            Healthcheck { test: vec!["CMD".into(), "true".into()], interval: 5, retries: 3, ..Healthcheck::default() };
        assert_eq!(own.over(&image), Healthcheck { retries: 9, ..image.clone() });
        assert!(Runtime::from_config(br#"{"config":null}"#).unwrap().cmd.is_empty());
        assert!(Runtime::from_config(b"{}").unwrap().user.is_empty());
        assert!(Runtime::from_config(br#"{"config":{"Cmd":"sh"}}"#).is_err());
    }
}
