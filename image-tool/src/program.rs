//! Where a program begins and ends: how it reads its command line, logs, fails, and documents itself.
//!
//! Every tool that links this crate goes through [`Tool::run`], so that one place decides what reaches a terminal: text that comes
//! from an image, a registry or a file is escaped there, an error is one line, and the exit status is 0, 1 or 2. This room knows
//! `clap` and `anyhow`, which the rest of the library does not; of layouts it knows only what completion offers.

pub mod archive;
pub mod caller;
pub mod candidates;
pub mod completion;
pub mod dockers;
pub mod document;
pub mod limits;
pub mod manual;
pub mod meter;
pub mod pflag;
pub mod pipe;
pub mod size;
pub mod usage;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::interrupt;
use crate::show::human::plain;

/// The crates whose events `-v` shows. Others stay silent: an HTTP client's log would show URLs that can hold secrets.
const CRATES: [&str; 4] = ["image_tool", "registry_tool", "bundle_tool", "build_tool"];

/// An error that has been told already. The program ends with this status and says no more.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("exit status {0}")]
pub struct Said(pub u8);

/// A command-line program, by the name that its messages begin with.
#[derive(Debug, Clone, Copy)]
pub struct Tool(pub &'static str);

impl Tool {
    /// Runs the program from its parsed command line to its exit status.
    ///
    /// A wrong command line ends with status 2. An error of `run` ends with the status that `status` gives it; a closed standard
    /// output is no error, since its reader has seen enough.
    pub fn run<A: Parser>(
        self,
        arguments: Result<A, clap::Error>,
        run: impl FnOnce(A) -> anyhow::Result<()>,
        status: impl FnOnce(&anyhow::Error) -> u8,
    ) -> ExitCode {
        caller::end_with_script();
        match arguments.map(run) {
            Err(error) => self.usage(&error, || usage::called(whole::<A>(), std::env::args_os())),
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(error)) if pipe::is_stdout_closed(error.as_ref()) => ExitCode::SUCCESS,
            Ok(Err(error)) if error.is::<Said>() => ExitCode::from(error.downcast::<Said>().map_or(1, |said| said.0)),
            Ok(Err(error)) => {
                interrupt::finish();
                let error = dockers::words(error);
                self.say(&format!("{error:#}"));
                self::hint();
                ExitCode::from(status(&error))
            }
        }
    }

    /// Writes one line to standard error, after the program's name, or that of the [`caller`].
    pub fn say(self, text: &str) {
        match caller::caller() {
            Some(name) => say(&caller::line(&name, text)),
            None => say(&format!("{}: {text}", self.0)),
        }
    }

    /// Prints help and version on standard output, and what is wrong with a command line as one line on standard error.
    fn usage(self, error: &clap::Error, called: impl FnOnce() -> String) -> ExitCode {
        if error.use_stderr() {
            if let Some(name) = caller::caller() {
                let source = std::error::Error::source(error);
                if let Some(unread) =
                    source.filter(|source| pflag::is_about_operand(error) || source.is::<pflag::Unread>())
                {
                    say(&dockers::daemon(&unread.to_string()));
                    return ExitCode::FAILURE;
                }
                say(&pflag::reason(error));
                say(&format!("See '{name} --help'."));
                return ExitCode::from(pflag::STATUS);
            }
            self.say(&usage::reason(error, self.0, &called()));
            return ExitCode::from(2);
        }
        // On a terminal clap's own print shows its styles.
        match error.print() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        }
    }
}

/// The line that docker run adds to what is wrong before the container starts.
fn hint() {
    if caller::caller().is_some_and(|name| name == "docker run") {
        say("See 'docker run --help'.");
    }
}

/// Reads a command line. Only the command that is called is defined with its options (clap's `defer`): to define those of all takes
/// longer than many a command itself. What a tool refuses, and help, is read again by the whole definition.
///
/// # Errors
/// What is wrong with it, or the help or version that was asked for.
pub fn parse<A: Parser>(words: impl IntoIterator<Item = OsString>) -> Result<A, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    A::try_parse_from(&words).or_else(|error| match error.kind() {
        ErrorKind::DisplayVersion => Err(error),
        _ => A::from_arg_matches(&whole::<A>().try_get_matches_from(&words)?),
    })
}

/// The definition of a command line with the options of all commands.
fn whole<A: Parser>() -> clap::Command {
    let mut command = A::command();
    command.build();
    command
}

/// Writes a line to standard error, with all escaped that a terminal would obey, be it one or not: errors are kept, and shown later.
/// If nobody reads it, the exit status has to do.
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
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .event_format(EventLine);
    let ours = Targets::new().with_targets(CRATES.map(|name| (name, level)));
    tracing_subscriber::registry().with(lines).with(ours).init();
}

/// An event as one line: its level, and its fields as [`say`] would write them.
struct EventLine;

impl<S, N> FormatEvent<S, N> for EventLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        let mut fields = String::new();
        context.format_fields(Writer::new(&mut fields), event)?;
        let fields = plain(&fields);
        match level {
            // Red and yellow, as compilers have them.
            Level::ERROR if writer.has_ansi_escapes() => writeln!(writer, "\x1b[31m{level:>5}\x1b[0m {fields}"),
            Level::WARN if writer.has_ansi_escapes() => writeln!(writer, "\x1b[33m{level:>5}\x1b[0m {fields}"),
            _ => writeln!(writer, "{level:>5} {fields}"),
        }
    }
}
