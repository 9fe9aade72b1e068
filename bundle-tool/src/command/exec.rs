use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use bundle_tool::container::exec::{self, Wish};
use bundle_tool::option::boolean;
use bundle_tool::option::environment;
use bundle_tool::option::keys::Keys;
use clap::{ArgAction, ValueHint};
use image_tool::program::caller::caller;
use image_tool::program::pflag::Unread;
use image_tool::program::pipe;

use super::{About as _, Rejected, candidates, client, shell};

/// Describe a further program for a container, as docker exec does.
///
/// Prints assignments of shell variables: `name`, the container's name; `detach`, `interactive` and `tty`; and `process`, the document for `run-tool
/// exec --process`. Users and groups are looked up in the container's /etc/passwd and /etc/group.
#[derive(clap::Args)]
#[command(
    args_override_self = true,
    after_long_help = "Examples:
  bundle-tool exec -u www-data -w /srv web id
  eval \"$(bundle-tool exec web date)\" && echo \"$process\" | run-tool exec --process /dev/stdin \"$name\""
)]
pub(crate) struct Exec {
    /// Run the program in the background.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    detach: bool,
    /// Override the key sequence for detaching from the container.
    #[arg(long, value_name = "KEYS", allow_hyphen_values = true, value_parser = keys)]
    detach_keys: Option<Keys>,
    /// Set an environment variable; NAME alone takes the caller's value; may be repeated.
    #[arg(short, long, value_name = "NAME[=VALUE]", allow_hyphen_values = true)]
    env: Vec<String>,
    /// Read environment variables from a file, one per line; may be repeated.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, allow_hyphen_values = true)]
    env_file: Vec<PathBuf>,
    /// Keep standard input open for the program.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    interactive: bool,
    /// Give the program all capabilities.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    privileged: bool,
    /// Allocate a pseudo-TTY.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    tty: bool,
    /// User, and optionally group, by name or ID [default: the container's].
    #[arg(short, long, value_name = "USER[:GROUP]", allow_hyphen_values = true)]
    user: Option<String>,
    /// Working directory inside the container [default: the container's].
    #[arg(short, long, value_name = "PATH", allow_hyphen_values = true)]
    workdir: Option<String>,
    /// Container name, ID prefix or bundle path.
    #[arg(add = candidates::containers())]
    container: String,
    /// Program to execute, and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Exec {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = super::bundle(&self.container)?;
        // For docker the name that it had before it was renamed is none.
        if caller().is_some() && !super::is_dockers_name(&bundle, &self.container) {
            anyhow::bail!("No such container: {}", self.container);
        }
        if self.interactive && self.tty && !self.detach && !std::io::stdin().is_terminal() {
            anyhow::bail!("the input device is not a TTY");
        }
        let wish = Wish {
            env: environment::given(&self.env_file, &self.env)?,
            arguments: self.command,
            user: self.user.filter(|user| !user.is_empty()),
            workdir: self.workdir.filter(|path| !path.is_empty()),
            tty: self.tty,
            privileged: self.privileged,
        };
        // docker's status for a program that cannot be started.
        let process =
            exec::process(&bundle, &wish).about(&self.container).map_err(|error| Rejected::new(error, 126))?;
        let chosen = || client::detach_keys(OsStr::new("")).filter(|_| caller().is_some());
        let detach_keys = match self.detach_keys {
            Some(own) => own,
            None => chosen().as_deref().map(keys).transpose()?.unwrap_or_default(),
        };
        let yes = |on: bool| if on { "true" } else { "" };
        let name = bundle.runtime_id();
        let answer = shell::assignments(&[
            ("name", &name),
            ("detach", yes(self.detach)),
            ("interactive", yes(self.interactive)),
            ("tty", yes(self.tty)),
            ("detach_keys", detach_keys.as_str()),
            ("process", &process.to_string()),
        ]);
        pipe::print_exactly(answer)
    }
}

/// The detach keys, which docker's client hands on.
fn keys(text: &str) -> Result<Keys, Unread> {
    text.parse().map_err(|error| Unread(format!("Invalid escape keys ({text}) provided: {error}")))
}
