//! The part of an image's config that concerns running it.
//!
//! It is parsed from the config itself, since the type of `oci_spec` lacks `Healthcheck` and rejects the nulls that docker writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The config is not valid.
#[derive(Debug, thiserror::Error)]
#[error("image config")]
pub struct Error(#[from] serde_json::Error);

/// The settings of an image that a container is made from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Runtime {
    /// The program, which the command follows.
    #[serde(default, deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// The default command, or the default arguments of the entrypoint.
    #[serde(default, deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// The environment, as `NAME=VALUE` entries.
    #[serde(default, deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The working directory; empty for `/`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// The user, as `USER[:GROUP]`; empty for root.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: String,
    /// The exposed ports, as `PORT[/PROTOCOL]`; the values are empty objects.
    #[serde(default, deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// The paths of volumes; the values are empty objects.
    #[serde(default, deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, Value>,
    /// The labels of the image.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops the container; empty for the default.
    #[serde(default, deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// The health check; absent if the image has none.
    pub healthcheck: Option<Healthcheck>,
}

/// A health check as docker writes it. Times are in nanoseconds; 0 means docker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// The command: `["CMD", …]`, `["CMD-SHELL", "…"]` or `["NONE"]`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// The time between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// The time that one check may take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// The time after the start in which failures are not counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// The number of consecutive failures that mean unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u64,
}

impl Healthcheck {
    /// Fills what is unset from the health check of the image, as docker does.
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
    /// Parses an image config document.
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
