//! How a container ends and what is written down about it: the runtime reads it from the annotations.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use bundle_tool::bundle::annotation;
use bundle_tool::option::environment;
use bundle_tool::option::signal;
use clap::ArgAction;

use super::refuse;

#[derive(clap::Args)]
#[command(next_help_heading = "Life")]
pub(super) struct Life {
    /// Remove the bundle when the container is deleted.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    pub(super) rm: bool,
    /// Label the container: NAME=VALUE.
    #[arg(short, long, value_name = "LABEL")]
    pub(super) label: Vec<String>,
    /// Set the labels that a file lists, one a line.
    #[arg(long, value_name = "FILE")]
    pub(super) label_file: Vec<PathBuf>,
    /// The signal that asks the program to stop.
    #[arg(long, value_name = "SIGNAL")]
    pub(super) stop_signal: Option<String>,
    /// Seconds until a program that was asked to stop is killed; -1 for never.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) stop_timeout: Option<i64>,
    /// What to do when the program ends: no, on-failure[:N], always, unless-stopped. The runtime reads it.
    #[arg(long, value_name = "POLICY")]
    pub(super) restart: Option<String>,
    /// Where the program's output goes. The runtime reads it.
    #[arg(long, value_name = "DRIVER")]
    pub(super) log_driver: Option<String>,
    /// An option of the log driver: NAME=VALUE.
    #[arg(long, value_name = "OPTION")]
    pub(super) log_opt: Vec<String>,
}

impl Life {
    pub(super) fn labels(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut entries = Vec::new();
        for file in &self.label_file {
            entries.extend(environment::read_file(file).context("--label-file")?);
        }
        entries.extend(self.label.iter().cloned());
        environment::labels(entries).context("--label")
    }

    pub(super) fn stop_signal(&self) -> anyhow::Result<Option<String>> {
        match &self.stop_signal {
            Some(text) if signal::number(text).is_none() => {
                refuse("--stop-signal", format!("{text:?} is not a signal"))
            }
            other => Ok(other.clone()),
        }
    }

    /// What the runtime reads.
    pub(super) fn annotations(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        if let Some(policy) = &self.restart {
            let known = match policy.split_once(':') {
                Some(("on-failure", count)) => count.parse::<u32>().is_ok(),
                Some(_) => false,
                None => ["no", "", "on-failure", "always", "unless-stopped"].contains(&policy.as_str()),
            };
            if !known {
                return refuse(
                    "--restart",
                    format!("{policy:?} is none of no, on-failure[:N], always, unless-stopped"),
                );
            }
            let never = ["no", ""].contains(&policy.as_str());
            if self.rm && !never {
                return refuse("--restart", "does not go with --rm");
            }
            if !never {
                all.insert(annotation::RESTART.into(), policy.clone());
            }
        }
        if let Some(driver) = &self.log_driver {
            if !["none", "json-file", "local", "journald"].contains(&driver.as_str()) {
                return refuse("--log-driver", format!("{driver:?} is none of none, json-file, local, journald"));
            }
            all.insert(annotation::LOG_DRIVER.into(), driver.clone());
        }
        if !self.log_opt.is_empty() {
            let options = environment::labels(self.log_opt.clone()).context("--log-opt")?;
            all.insert(annotation::LOG_OPTIONS.into(), serde_json::to_string(&options)?);
        }
        Ok(all)
    }
}

/// What docker run does itself. It is written down in the bundle for whoever runs it, as these tools' docker does.
#[derive(clap::Args)]
#[command(next_help_heading = "Running, which is the runtime's (annotations of the bundle)")]
pub(super) struct Running {
    /// Run in the background.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    pub(super) detach: bool,
    /// Attach to stdin, stdout or stderr.
    #[arg(short, long, value_name = "STREAM", value_parser = ["stdin", "stdout", "stderr"], ignore_case = true)]
    pub(super) attach: Vec<String>,
    /// The keys that detach.
    #[arg(long, value_name = "KEYS")]
    pub(super) detach_keys: Option<String>,
    /// Pass signals on to the program.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(super) sig_proxy: Option<bool>,
    /// The runtime.
    #[arg(long, value_name = "PROGRAM")]
    pub(super) runtime: Option<String>,
    /// Do not verify the image's signature, which is registry-tool's to do when it pulls.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    pub(super) disable_content_trust: bool,
}

impl Running {
    pub(super) fn annotations(&self) -> anyhow::Result<Vec<(String, String)>> {
        if !self.disable_content_trust {
            return refuse(
                "--disable-content-trust",
                "false: signatures are verified when an image is pulled, not when it is run",
            );
        }
        let attach = (!self.attach.is_empty()).then(|| self.attach.join(",").to_lowercase());
        let all = [
            (annotation::DETACH, self.detach.then(|| "true".into())),
            (annotation::ATTACH, attach),
            (annotation::DETACH_KEYS, self.detach_keys.clone()),
            (annotation::SIGNAL_PROXY, self.sig_proxy.map(|on| on.to_string())),
            (annotation::RUNTIME, self.runtime.clone()),
        ];
        Ok(all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }
}
