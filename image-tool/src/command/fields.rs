//! The fields of an image's config as options.

use clap::{Args, ValueEnum, ValueHint};
use image_tool::edit::{Change, Field};
use image_tool::layout::platform::Platform;
use jiff::Timestamp;

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
    /// Remove a port; may be repeated.
    #[arg(long, value_name = "PORT", value_parser = port, value_hint = ValueHint::Other)]
    unset_expose: Vec<String>,
    /// Declare a volume at this path; may be repeated.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::Other)]
    volume: Vec<String>,
    /// Remove a volume; may be repeated.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::Other)]
    unset_volume: Vec<String>,
    /// Empty a field before anything is set; may be repeated.
    #[arg(long, value_name = "FIELD", value_enum)]
    clear: Vec<Cleared>,
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
    /// Set the time of creation, as in 2026-01-31T12:00:00Z or in seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = moment, value_hint = ValueHint::Other)]
    created: Option<i64>,
}

/// A field that can be emptied.
#[derive(Clone, Copy, ValueEnum)]
enum Cleared {
    Env,
    Label,
    Expose,
    Volume,
}

impl From<Cleared> for Field {
    fn from(field: Cleared) -> Self {
        match field {
            Cleared::Env => Self::Env,
            Cleared::Label => Self::Labels,
            Cleared::Expose => Self::ExposedPorts,
            Cleared::Volume => Self::Volumes,
        }
    }
}

fn moment(text: &str) -> Result<i64, String> {
    let seconds = text.parse().ok().or_else(|| Some(text.parse::<Timestamp>().ok()?.as_second()));
    // Years that RFC 3339 can write.
    let seconds = seconds.filter(|seconds| Timestamp::from_second(*seconds).is_ok());
    seconds.ok_or_else(|| "not a valid time (2026-01-31T12:00:00Z, or seconds since 1970)".to_owned())
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

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
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
            healthcheck: None,
            on_build: Vec::new(),
            stop_signal: fields.stop_signal,
            author: fields.author,
            platform: fields.set_platform,
            unset_expose: fields.unset_expose,
            unset_volumes: fields.unset_volume,
            clear: fields.clear.into_iter().map(Field::from).collect(),
            created: fields.created,
        }
    }
}
