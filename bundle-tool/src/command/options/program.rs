//! The program: its environment, user, working directory and terminal.

use std::path::{Path, PathBuf};

use bundle_tool::option::boolean;
use bundle_tool::option::environment;
use clap::{ArgAction, ValueHint};

use super::refuse;

#[derive(clap::Args)]
#[command(next_help_heading = "Program")]
pub(super) struct Program {
    /// Overwrite the entrypoint of the image; "" removes it.
    #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true)]
    pub(super) entrypoint: Option<String>,
    /// Set an environment variable; NAME alone takes the caller's value, or removes the image's if the caller has none; may be
    /// repeated.
    #[arg(short, long, value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    pub(super) env: Vec<String>,
    /// Read environment variables from a file, one per line; may be repeated.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, value_hint = ValueHint::FilePath)]
    pub(super) env_file: Vec<PathBuf>,
    /// Working directory inside the container, created if it is missing.
    #[arg(short, long, value_name = "PATH", allow_hyphen_values = true)]
    pub(super) workdir: Option<String>,
    /// User, and optionally group, by name or ID; names are looked up in the image's /etc/passwd and /etc/group.
    #[arg(short, long, value_name = "USER[:GROUP]", allow_hyphen_values = true)]
    pub(super) user: Option<String>,
    /// Add an additional group to join; may be repeated.
    #[arg(long, value_name = "GROUP", allow_hyphen_values = true)]
    pub(super) group_add: Vec<String>,
    /// Allocate a pseudo-TTY.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    pub(super) tty: bool,
    /// Keep standard input open for the program.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    pub(super) interactive: bool,
    /// Run an init inside the container that forwards signals and reaps processes.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    pub(super) init: bool,
}

impl Program {
    pub(super) fn variables(&self) -> anyhow::Result<Vec<String>> {
        environment::given(&self.env_file, &self.env).map_err(|error| {
            let is_of_file = matches!(error, environment::Error::Io(_) | environment::Error::Line { .. });
            anyhow::Error::new(error).context(if is_of_file { "--env-file" } else { "--env" })
        })
    }
}

/// An init on this host. Those listed are statically linked, so that they run in any container.
pub(super) fn find_init() -> anyhow::Result<PathBuf> {
    const PLACES: [&str; 6] = [
        "/usr/libexec/docker/docker-init",
        "/usr/bin/docker-init",
        "/usr/bin/tini-static",
        "/sbin/docker-init",
        "/usr/libexec/podman/catatonit",
        "/usr/bin/catatonit",
    ];
    match PLACES.iter().map(Path::new).find(|path| path.exists()) {
        Some(path) => Ok(path.to_owned()),
        None => refuse("--init", "no init on this host (apt install catatonit)"),
    }
}
