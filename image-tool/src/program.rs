//! Where a program begins and ends: how it reads its command line, logs, fails, and documents itself.
//!
//! Every tool that links this crate goes through [`Tool::run`], so that one place decides what reaches a terminal: text that comes
//! from an image, a registry or a file is escaped there, an error is one line, and the exit status is 0, 1 or 2. This room knows
//! `clap` and `anyhow`, which the rest of the library does not; of layouts it knows only what completion offers.

pub mod candidates;
pub mod completion;
pub mod document;
pub mod manual;
pub mod pipe;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::show::human::plain;

/// The crates whose events `-v` shows. Others stay silent: an HTTP client's log would show URLs that can hold secrets.
const CRATES: [&str; 4] = ["image_tool", "registry_tool", "bundle_tool", "build_tool"];

/// A command-line program, by the name that its messages begin with.
#[derive(Debug, Clone, Copy)]
pub struct Tool(pub &'static str);

impl Tool {
    /// Runs the program from its parsed command line to its exit status.
    ///
    /// A wrong command line ends with status 2. An error of `run` ends with the status that `status` gives it; a closed standard
    /// output is no error, since its reader has seen enough.
    pub fn run<A: CommandFactory>(
        self,
        arguments: Result<A, clap::Error>,
        run: impl FnOnce(A) -> anyhow::Result<()>,
        status: impl FnOnce(&anyhow::Error) -> u8,
    ) -> ExitCode {
        match arguments.map(run) {
            Err(error) => self.usage(&error, &called(A::command(), std::env::args_os())),
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) if pipe::is_stdout_closed(error.as_ref()) => ExitCode::SUCCESS,
            Ok(Err(error)) => {
                self.say(&format!("{error:#}"));
                ExitCode::from(status(&error))
            }
        }
    }

    /// Writes one line to standard error, after the program's name.
    pub fn say(self, text: &str) {
        say(&format!("{}: {text}", self.0));
    }

    /// Prints help and version on standard output, and what is wrong with a command line as one line on standard error.
    fn usage(self, error: &clap::Error, called: &str) -> ExitCode {
        if error.use_stderr() {
            self.say(&reason(error, self.0, called));
            return ExitCode::from(2);
        }
        // On a terminal clap's own print shows its styles.
        match error.print() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        }
    }
}

/// Writes a line to standard error, with its control characters escaped. If nobody reads it, the exit status has to do.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(text));
}

/// Writes events of the tools' own crates to standard error: warnings, and with `verbose` 1 also information, with 2 all details.
pub fn log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time();
    let ours = Targets::new().with_targets(CRATES.map(|name| (name, level)));
    tracing_subscriber::registry().with(lines).with(ours).init();
}

/// What is wrong with a command line, in one line that ends with the command to run next.
fn reason(error: &clap::Error, tool: &str, called: &str) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let what = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "missing command".to_owned()
        }
        ErrorKind::MissingRequiredArgument => format!("missing {}", text(ContextKind::InvalidArg).join(" ")),
        _ => {
            let whole = error.to_string();
            // The first paragraph says what is wrong; tips and usage follow.
            let first = whole.split("\n\n").next().unwrap_or_default();
            let words: Vec<&str> = first.strip_prefix("error: ").unwrap_or(first).split_whitespace().collect();
            let line = words.join(" ");
            line.strip_suffix(" found").map_or(line.clone(), str::to_owned)
        }
    };
    let similar =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue].map(text).concat();
    let hint = if similar.is_empty() { String::new() } else { format!("did you mean {}? ", similar.join(" or ")) };
    let command = if called.is_empty() { String::new() } else { format!("{called}: ") };
    let help = [tool, called, "--help"].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{command}{what} ({hint}{help})")
}

/// The names of the command and subcommand that a command line calls.
fn called(command: clap::Command, words: impl Iterator<Item = OsString>) -> String {
    let mut command = &command;
    let mut names = Vec::new();
    for word in words.skip(1) {
        match command.find_subcommand(&word) {
            Some(called) => {
                names.push(called.get_name());
                command = called;
            }
            // A global option may stand before the command.
            None if word.as_encoded_bytes().starts_with(b"-") => {}
            None => break,
        }
    }
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    fn wrong(line: &str) -> String {
        let command = Command::new("a-tool").subcommand_required(true).subcommand(
            Command::new("tag")
                .arg(Arg::new("address").required(true).value_name("ADDRESS"))
                .arg(Arg::new("progress").long("progress").value_parser(["plain", "json"])),
        );
        let called = called(command.clone(), line.split(' ').map(OsString::from));
        reason(&command.try_get_matches_from(line.split(' ')).unwrap_err(), "a-tool", &called)
    }

    #[test]
    fn a_wrong_command_line_is_one_line_that_names_the_next_command() {
        for (line, said) in [
            ("a-tool", "missing command (a-tool --help)"),
            ("a-tool tagg", "unrecognized subcommand 'tagg' (did you mean tag? a-tool --help)"),
            ("a-tool tag", "tag: missing <ADDRESS> (a-tool tag --help)"),
            ("a-tool tag a b", "tag: unexpected argument 'b' (a-tool tag --help)"),
            (
                "a-tool tag a --progres=json",
                "tag: unexpected argument '--progres' (did you mean --progress? a-tool tag --help)",
            ),
            (
                "a-tool tag a --progress plian",
                "tag: invalid value 'plian' for '--progress <progress>' [possible values: plain, json] (did you mean plain? a-tool tag --help)",
            ),
        ] {
            assert_eq!(wrong(line), said, "{line}");
        }
    }
}
