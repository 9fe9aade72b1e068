//! How a container ends, is restarted and logs. The runtime does all of this; it reads the options from annotations.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::Context as _;
use bundle_tool::bundle::annotation;
use bundle_tool::option::boolean;
use bundle_tool::option::environment;
use bundle_tool::option::keys::Keys;
use bundle_tool::option::log;
use bundle_tool::option::signal;
use clap::{ArgAction, ValueHint};
use image_tool::program::pflag::Unread;

use super::{candidates, refuse};
use crate::command::client;

#[derive(clap::Args)]
#[command(next_help_heading = "Life cycle")]
pub(super) struct Life {
    /// Remove the bundle when the container is deleted.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    pub(super) rm: bool,
    /// Set a label of the container; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    pub(super) label: Vec<String>,
    /// Read labels from a file, one per line; may be repeated.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, value_hint = ValueHint::FilePath)]
    pub(super) label_file: Vec<PathBuf>,
    /// Add an annotation to config.json, which the runtime may act on; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    pub(super) annotation: Vec<String>,
    /// Signal to stop the container [default: the image's, or SIGTERM].
    #[arg(long, value_name = "SIGNAL", allow_hyphen_values = true, add = candidates::words(candidates::SIGNALS))]
    pub(super) stop_signal: Option<String>,
    /// Time to wait for the container to stop before it is killed; -1 waits forever [default: 10].
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub(super) stop_timeout: Option<i64>,
    /// Restart policy to apply when the container exits: no, on-failure[:N], always or unless-stopped [default: no].
    #[arg(long, value_name = "POLICY", allow_hyphen_values = true, add = candidates::words(&["no", "on-failure", "always", "unless-stopped"]))]
    pub(super) restart: Option<String>,
    /// Logging driver for the container: none, json-file, local (kept as json-file, with rotation) or journald.
    #[arg(long, value_name = "DRIVER", allow_hyphen_values = true, add = candidates::words(&["none", "json-file", "local", "journald"]))]
    pub(super) log_driver: Option<String>,
    /// Log driver option: max-size=SIZE, max-file=N, path=FILE, tag=TEXT, labels=NAME,… or env=NAME,… (kept beside each line of json-file),
    /// mode=blocking|non-blocking or max-buffer-size=SIZE; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", allow_hyphen_values = true, add = candidates::words(&["max-size=", "max-file=", "path="]))]
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
                refuse("--stop-signal", format!("{text:?} is not a valid signal"))
            }
            other => Ok(other.clone()),
        }
    }

    /// The annotations that were asked for, and those that tell a runtime the restart policy and the log driver.
    pub(super) fn annotations(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut all = environment::labels(self.annotation.clone()).context("--annotation")?;
        if let Some(name) = all.keys().find(|name| name.starts_with(annotation::PREFIX)) {
            return refuse("--annotation", format!("{name}: names with this prefix are reserved"));
        }
        if let Some(policy) = &self.restart {
            let policy = restart_policy(policy)?;
            if self.rm && policy.is_some() {
                return refuse("--restart", "cannot be combined with --rm");
            }
            all.extend(policy.map(|policy| (annotation::RESTART.to_owned(), policy)));
        }
        let options = environment::labels(self.log_opt.clone()).context("--log-opt")?;
        let (driver, options) = log::settings(self.log_driver.as_deref(), options)?;
        all.extend(driver.map(|driver| (annotation::LOG_DRIVER.to_owned(), driver)));
        if !options.is_empty() {
            all.insert(annotation::LOG_OPTIONS.into(), serde_json::to_string(&options)?);
        }
        Ok(all)
    }
}

/// A restart policy; `None` for none.
pub(crate) fn restart_policy(policy: &str) -> anyhow::Result<Option<String>> {
    if policy.split_once(':').is_some_and(|(_, count)| count.starts_with('-')) {
        return refuse("--restart", "maximum retry count cannot be negative");
    }
    if let Some((name @ ("always" | "unless-stopped" | "no"), _)) = policy.split_once(':') {
        return refuse("--restart", format!("maximum retry count cannot be used with restart policy '{name}'"));
    }
    let known = match policy.split_once(':') {
        Some(("on-failure", count)) => count.parse::<u32>().is_ok(),
        Some(_) => false,
        None => ["no", "", "on-failure", "always", "unless-stopped"].contains(&policy),
    };
    if !known {
        return refuse(
            "--restart",
            format!("{policy:?} is not a restart policy (no, on-failure[:N], always or unless-stopped)"),
        );
    }
    Ok(Some(policy.to_owned()).filter(|policy| !["no", ""].contains(&policy.as_str())))
}

/// What docker run does itself, and the runtime must do here; annotations of the bundle say so.
#[derive(clap::Args)]
#[command(next_help_heading = "Left to the runtime")]
pub(super) struct Running {
    /// Run the container in the background.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    pub(super) detach: bool,
    /// Attach to stdin, stdout or stderr; may be repeated.
    #[arg(short, long, value_name = "STREAM", allow_hyphen_values = true, value_parser = ["stdin", "stdout", "stderr"], ignore_case = true)]
    pub(super) attach: Vec<String>,
    /// Override the key sequence for detaching from the container [default: ctrl-p,ctrl-q].
    #[arg(long, value_name = "KEYS", allow_hyphen_values = true, value_parser = keys)]
    pub(super) detach_keys: Option<Keys>,
    /// Forward received signals to the container [default: true].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse)]
    pub(super) sig_proxy: Option<bool>,
    /// Runtime to use for the container.
    #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true, value_hint = ValueHint::CommandName)]
    pub(super) runtime: Option<String>,
    /// Skip image verification; only true is supported, since registry-tool verifies when it pulls.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    pub(super) disable_content_trust: bool,
}

impl Running {
    /// Takes the keys that the user has chosen for all containers, if the command line has none.
    pub(super) fn take_chosen_keys(&mut self) -> anyhow::Result<()> {
        if self.detach_keys.is_none() {
            self.detach_keys = client::detach_keys(OsStr::new("")).as_deref().map(keys).transpose()?;
        }
        Ok(())
    }

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
            (annotation::DETACH_KEYS, self.detach_keys.as_ref().map(|keys| keys.as_str().to_owned())),
            (annotation::SIGNAL_PROXY, self.sig_proxy.map(|on| on.to_string())),
            (annotation::RUNTIME, self.runtime.clone()),
        ];
        Ok(all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }
}

/// The detach keys, which docker's client hands on.
fn keys(text: &str) -> Result<Keys, Unread> {
    text.parse().map_err(|error| Unread(format!("Invalid detach keys ({text}) provided: {error}")))
}
