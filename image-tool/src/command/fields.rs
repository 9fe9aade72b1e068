//! The fields of an image's config as options.

use clap::Args;
use image_tool::edit::Change;
use image_tool::layout::platform::Platform;

/// The fields of a config that can be set.
#[derive(Args)]
pub(super) struct Fields {
    /// Set a variable, KEY=VALUE; can stand several times, as all that follow it here.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Take a variable out.
    #[arg(long, value_name = "KEY")]
    unset_env: Vec<String>,
    /// Set a label, KEY=VALUE.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// Take a label out.
    #[arg(long, value_name = "KEY")]
    unset_label: Vec<String>,
    /// Declare a port, as 8080/tcp.
    #[arg(long, value_name = "PORT", value_parser = port)]
    expose: Vec<String>,
    /// Declare a volume.
    #[arg(long, value_name = "PATH")]
    volume: Vec<String>,
    /// Set the command: a JSON array, or one word; an empty text takes it out.
    #[arg(long, value_name = "COMMAND", value_parser = words)]
    cmd: Option<Words>,
    /// Set the entrypoint: a JSON array, or one word; an empty text takes it out.
    #[arg(long, value_name = "COMMAND", value_parser = words)]
    entrypoint: Option<Words>,
    /// Set the user, NAME or UID, with :GROUP if need be.
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Set the working directory.
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Set the signal that ends the container.
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Set who made the image.
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Set what platform the image says it is for.
    #[arg(long, value_name = "PLATFORM")]
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
        _ => Err("not KEY=VALUE".into()),
    }
}

fn port(text: &str) -> Result<String, String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match (number.parse::<u16>(), protocol) {
        (Ok(1..), "tcp" | "udp" | "sctp") => Ok(format!("{number}/{protocol}")),
        _ => Err("not a port (8080, 53/udp)".into()),
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
