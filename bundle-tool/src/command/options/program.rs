//! Which program runs, as whom and with what around it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bundle_tool::option::environment;
use clap::ArgAction;

use super::refuse;

#[derive(clap::Args)]
#[command(next_help_heading = "Program")]
pub(super) struct Program {
    /// Run this program in place of the image's entrypoint; "" takes that away.
    #[arg(long, value_name = "PROGRAM")]
    pub(super) entrypoint: Option<String>,
    /// Set an environment variable; a name alone takes the caller's value.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<String>,
    /// Set the variables that a file lists, one a line.
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<PathBuf>,
    /// Run in this folder, which is made if it is missing.
    #[arg(short, long, value_name = "PATH")]
    pub(super) workdir: Option<String>,
    /// Run as this user; names are those of the image's /etc/passwd and /etc/group.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,
    /// Add the user to a group.
    #[arg(long, value_name = "GROUP")]
    pub(super) group_add: Vec<String>,
    /// Give the program a terminal.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    pub(super) tty: bool,
    /// Leave the program standard input.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    pub(super) interactive: bool,
    /// Run a small init as the first process, which forwards signals and reaps children.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    pub(super) init: bool,
}

impl Program {
    pub(super) fn variables(&self) -> anyhow::Result<Vec<String>> {
        let mut entries = Vec::new();
        for file in &self.env_file {
            entries.extend(environment::read_file(file).context("--env-file")?);
        }
        entries.extend(self.env.iter().cloned());
        let mut variables = Vec::new();
        for entry in &entries {
            // A name that the caller has no value for is no variable.
            let resolved = environment::resolve(entry, |name| std::env::var_os(name)).context("--env")?;
            environment::overlay(&mut variables, resolved);
        }
        Ok(variables)
    }
}

/// An init of this host that can be mounted into a container: they are linked statically for that.
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
