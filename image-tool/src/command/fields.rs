//! The fields of an image's config as options.

use clap::{Args, ValueHint};
use image_tool::edit::Change;
use image_tool::layout::platform::Platform;

/// The fields of a config that can be set.
#[derive(Args)]
pub(super) struct Fields {
    /// Set an environment variable; may be repeated.
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair, value_hint = ValueHint::Other)]
    env: Vec<(String, String)>,
    /// Remove an environment variable; may be repeated.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    unset_env: Vec<String>,
    /// Set a label; may be repeated.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair, value_hint = ValueHint::Other)]
    label: Vec<(String, String)>,
    /// Remove a label; may be repeated.
    #[arg(long, value_name = "KEY", value_hint = ValueHint::Other)]
    unset_label: Vec<String>,
    /// Declare a port, such as 8080/tcp; may be repeated.
    #[arg(long, value_name = "PORT", value_parser = port, value_hint = ValueHint::Other)]
    expose: Vec<String>,
    /// Declare a volume at this path; may be repeated.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::Other)]
    volume: Vec<String>,
    /// Set the command: a JSON array or a single word; an empty string removes it.
    #[arg(long, value_name = "COMMAND", value_parser = words, value_hint = ValueHint::Other)]
    cmd: Option<Words>,
    /// Set the entrypoint: a JSON array or a single word; an empty string removes it.
    #[arg(long, value_name = "COMMAND", value_parser = words, value_hint = ValueHint::Other)]
    entrypoint: Option<Words>,
    /// Set the user, and optionally the group, by name or ID.
    #[arg(short, long, value_name = "USER[:GROUP]", value_hint = ValueHint::Other)]
    user: Option<String>,
    /// Set the working directory.
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::Other)]
    workdir: Option<String>,
    /// Set the signal that stops a container of the image.
    #[arg(long, value_name = "SIGNAL", value_hint = ValueHint::Other)]
    stop_signal: Option<String>,
    /// Set the author of the image.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    author: Option<String>,
    /// Set the platform.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_hint = ValueHint::Other)]
    set_platform: Option<Platform>,
}

#[derive(Clone)]
struct Words(Vec<String>);

fn words(text: &str) -> Result<Words, String> {
    match text {
        "" => Ok(Words(Vec::new())),
        array if array.starts_with('[') => serde_json::from_str(array).map(Words).map_err(|error| error.to_string()),
        word => Ok(Words(vec![word.into()])),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("missing name or '='".into()),
    }
}

fn port(text: &str) -> Result<String, String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match (number.parse::<u16>(), protocol) {
        (Ok(1..), "tcp" | "udp" | "sctp") => Ok(format!("{number}/{protocol}")),
        _ => Err("not a valid port (8080, 53/udp)".into()),
    }
}

impl From<Fields> for Change {
    fn from(fields: Fields) -> Self {
        Self {
            env: fields.env.into_iter().map(|(key, value)| format!("{key}={value}")).collect(),
            unset_env: fields.unset_env,
            cmd: fields.cmd.map(|words| words.0),
            entrypoint: fields.entrypoint.map(|words| words.0),
            user: fields.user,
            workdir: fields.workdir,
            labels: fields.label,
            unset_labels: fields.unset_label,
            expose: fields.expose,
            volumes: fields.volume,
            stop_signal: fields.stop_signal,
            author: fields.author,
            platform: fields.set_platform,
        }
    }
}
