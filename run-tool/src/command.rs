//! The command line: runc's global options and commands, and run-tool's own. Each command has a file; what several share is here.

mod attach;
mod candidate;
mod checkpoint;
mod create;
mod criu;
mod delete;
mod document;
mod events;
mod example;
mod exec;
mod features;
mod global;
mod healthcheck;
mod kill;
mod list;
mod logs;
mod moment;
mod pause;
mod ps;
mod restore;
mod run;
mod seal;
mod spec;
mod start;
mod state;
mod stdout;
mod stop;
mod update;
mod usage;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::global::{Global, name};
pub(crate) use self::stdout::StdoutClosed;
use self::stdout::print;
use crate::kernel::plain::plain;
use crate::kernel::{caller, descriptor, log};
use crate::spec::SPEC_VERSION;

/// Run containers from OCI bundles.
///
/// run-tool runs a bundle (a directory with a config.json and a root file system) as a container. Its command line is runc's, so
/// that docker, containerd, podman and the like can use it in runc's place: `ln -s run-tool runc`. It adds a few commands of its
/// own and never changes the meaning of runc's flags.
#[derive(Debug, Parser)]
#[command(name = "run-tool", disable_version_flag = true, subcommand_required = false, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The options before the command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Options {
    /// Enable debug logging.
    #[arg(long, global = true)]
    debug: bool,
    /// Write the log to this file instead of standard error.
    #[arg(long, value_name = "FILE", global = true)]
    log: Option<PathBuf>,
    /// Set the format of log records.
    #[arg(long, value_name = "text|json", global = true, default_value = "text")]
    log_format: String,
    /// Root directory for the state of containers, which should be on a tmpfs.
    ///
    /// The default is /run/run-tool, or $XDG_RUNTIME_DIR/run-tool for users other than root. If the program is called as runc, it
    /// is runc there instead of run-tool.
    #[arg(long, value_name = "DIR", global = true)]
    root: Option<PathBuf>,
    /// Enable systemd cgroup support; cgroupsPath must then have the form `slice:prefix:name`.
    #[arg(long, global = true)]
    systemd_cgroup: bool,
    /// Ignore cgroup permission errors.
    #[arg(long, value_name = "true|false|auto", default_value = "auto")]
    rootless: String,
    /// Path to the criu binary for checkpoint and restore [default: criu from $PATH].
    #[arg(long, value_name = "PATH")]
    criu: Option<PathBuf>,
    /// Print the version.
    #[arg(short = 'v', short_alias = 'V', long)]
    version: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Attach(attach::Attach),
    Checkpoint(checkpoint::Checkpoint),
    Create(create::Create),
    Delete(delete::Delete),
    Events(events::Events),
    Exec(exec::Exec),
    Features(features::Features),
    Healthcheck(healthcheck::Healthcheck),
    Kill(kill::Kill),
    List(list::List),
    Logs(logs::Logs),
    Pause(pause::Pause),
    Ps(ps::Ps),
    Restore(restore::Restore),
    Resume(pause::Resume),
    Run(run::Run),
    Spec(spec::SpecCommand),
    Start(start::Start),
    State(state::State),
    Stop(stop::Stop),
    Update(update::Update),
    Wait(stop::Wait),
    #[command(flatten)]
    Document(document::Document),
}

/// A command that failed.
pub(crate) struct Failure {
    /// The error with its context; `main` logs the whole chain.
    pub(crate) error: anyhow::Error,
    /// The exit status that runc has for this failure.
    pub(crate) status: u8,
    /// Whether the command is run-tool's own. Then the error has the form of the other tools, not that of a record in runc's log.
    pub(crate) ours: bool,
}

impl Failure {
    /// A failure of a command that runc does not have.
    fn ours(error: anyhow::Error) -> Self {
        Self { error, status: 1, ours: true }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { error, status: 1, ours: false }
    }
}

/// Runs the command and returns its exit status.
pub(crate) fn run() -> Result<u8, Failure> {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(failure) => return failure,
    };
    caller::end_with_script();
    let preserved = match &arguments.command {
        Some(Command::Create(command)) => Some(command.preserved()),
        Some(Command::Run(command)) => Some(command.preserved()),
        Some(Command::Restore(_)) => Some(0),
        _ => None,
    };
    if let Some(preserved) = preserved {
        // No descriptor of the caller may reach a container, except those it is to inherit.
        let (listen, _) = create::activation();
        descriptor::close_from(3 + listen + preserved).context("close_range")?;
    }
    let options = &arguments.options;
    log::open(options.log.as_deref(), &options.log_format, options.debug)?;
    if options.version {
        let text = format!(
            "{} version {}\ncommit: v{}\nspec: {SPEC_VERSION}\nlibseccomp: {}\n",
            name(),
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_VERSION"),
            features::libseccomp()
        );
        print(&text)?;
        return Ok(0);
    }
    let global =
        Global::new(options.root.as_deref(), &options.rootless, options.systemd_cgroup, options.criu.as_deref())?;
    // Those that need no state do without its folder.
    if !matches!(arguments.command, None | Some(Command::Document(_) | Command::Features(_) | Command::Spec(_))) {
        global.make_root()?;
    }
    let Some(command) = arguments.command else { return Ok(0) };
    if preserved.is_some() || matches!(command, Command::Exec(_) | Command::Healthcheck(_)) {
        seal::ensure()?;
    }
    match command {
        Command::Attach(command) => command.run(&global).map_err(Failure::ours),
        Command::Checkpoint(command) => done(command.run(&global)),
        Command::Create(command) => Ok(command.run(&global)?),
        Command::Delete(command) => done(command.run(&global)),
        Command::Events(command) => done(command.run(&global)),
        Command::Exec(command) if command.is_client() => {
            as_docker(command.run(&global).map_err(exec::in_dockers_words), exec::docker_status)
        }
        Command::Exec(command) => command.run(&global).map_err(|error| Failure { error, status: 255, ours: false }),
        Command::Features(command) => done(command.run()),
        Command::Healthcheck(command) => command.run(&global).map_err(Failure::ours),
        Command::Kill(command) => done(command.run(&global)),
        Command::List(command) => done(command.run(&global)),
        Command::Logs(command) => command.run(&global).map(|()| 0).map_err(Failure::ours),
        Command::Pause(command) => done(command.run(&global)),
        Command::Ps(command) => done(command.run(&global)),
        Command::Restore(command) => Ok(command.run(&global)?),
        Command::Resume(command) => done(command.run(&global)),
        Command::Run(command) if command.is_supervised() => as_docker(command.run(&global), run::docker_status),
        Command::Run(command) => Ok(command.run(&global)?),
        Command::Spec(command) => done(command.run()),
        Command::Start(command) => done(command.run(&global)),
        Command::State(command) => done(command.run(&global)),
        Command::Stop(command) => command.run(&global).map(|()| 0).map_err(Failure::ours),
        Command::Wait(command) => command.run(&global).map(|()| 0).map_err(Failure::ours),
        Command::Update(command) => done(command.run(&global)),
        Command::Document(document) => {
            let command = candidate::add(example::add(Arguments::command()));
            document.run(&command).map(|()| 0).map_err(Failure::ours)
        }
    }
}

/// What docker's command would end with.
fn as_docker(result: Result<u8>, status: fn(&anyhow::Error) -> u8) -> Result<u8, Failure> {
    result.map_err(|error| Failure { status: status(&error), error, ours: true })
}

fn done(result: Result<()>) -> Result<u8, Failure> {
    result?;
    Ok(0)
}

/// clap's id for `--rootless` after a command; before the command its id is `rootless`.
const ROOTLESS: &str = "rootless after the command";

/// `--rootless` after a command: runc 1.5 accepts all global options there.
fn rootless() -> clap::Arg {
    clap::Arg::new(ROOTLESS)
        .long("rootless")
        .value_name("true|false|auto")
        .help_heading("Global options")
        .help("Ignore cgroup permission errors")
        // Behind those that clap adds.
        .display_order(100)
}

/// `-h` and `--help` print the same text, as in runc. clap's own `-h` would print a shorter one.
fn help() -> clap::Arg {
    clap::Arg::new("help").short('h').long("help").action(clap::ArgAction::HelpLong).help("Print this help")
}

/// The whole command line. Its help has runc's layout, because scripts look at the first lines.
fn command_line() -> clap::Command {
    let program = name();
    let layout = |command: clap::Command, name: &str, about: &str| {
        // The long description is the summary and more paragraphs. The summary is in the line of the name.
        let description = command.get_long_about().map(ToString::to_string).unwrap_or_default();
        let template =
            format!("NAME:\n   {name} - {about}\n\nUSAGE:\n   {{usage}}\n\n{{before-help}}{{all-args}}{{after-help}}");
        let command = command.help_template(template).disable_help_flag(true).arg(help());
        match description.split_once("\n\n") {
            Some((_, description)) => command.before_long_help(description.to_owned()),
            None => command,
        }
    };
    let command = example::add(Arguments::command()).bin_name(&program);
    let mut command = layout(command, &program, "Open Container Initiative runtime");
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(&name, |command| {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let command = layout(command, &format!("{program} {name}"), &about);
            // `spec` has a `--rootless` of its own, with another meaning.
            if name == "spec" { command } else { command.arg(rootless()) }
        });
    }
    command
}

/// Adds a command's options to its definition (clap's `Args::augment_args`).
type Augment = fn(clap::Command) -> clap::Command;

/// The commands that engines call often. Each is defined alone, without building the whole command line.
const COMMANDS: [(&str, Augment); 13] = [
    ("create", create::Create::augment_args),
    ("delete", delete::Delete::augment_args),
    ("events", events::Events::augment_args),
    ("exec", exec::Exec::augment_args),
    ("kill", kill::Kill::augment_args),
    ("list", list::List::augment_args),
    ("pause", pause::Pause::augment_args),
    ("ps", ps::Ps::augment_args),
    ("resume", pause::Resume::augment_args),
    ("run", run::Run::augment_args),
    ("start", start::Start::augment_args),
    ("state", state::State::augment_args),
    ("update", update::Update::augment_args),
];

/// The global options alone, without help; the caller adds the one command that is called. Building the options of all commands
/// takes longer than most commands themselves, and `create`, `run` and `exec` would do it twice (see `seal`).
fn short_command_line() -> clap::Command {
    Options::augment_args(clap::Command::new("run-tool"))
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .arg_required_else_help(true)
}

/// Reads clap's matches; a `--rootless` after the command replaces one before it.
fn read(matches: clap::ArgMatches) -> Result<Arguments, clap::Error> {
    let mut arguments = Arguments::from_arg_matches(&matches)?;
    if let Some((_, command)) = matches.subcommand()
        && let Ok(Some(value)) = command.try_get_one::<String>(ROOTLESS)
    {
        arguments.options.rootless.clone_from(value);
    }
    Ok(arguments)
}

/// The definition of a command, with its options.
fn command_of(name: &str) -> Option<clap::Command> {
    match COMMANDS.iter().find(|(known, _)| *known == name) {
        Some((name, augment)) => Some(augment(clap::Command::new(*name)).arg(rootless())),
        None => command_line().find_subcommand(name).cloned(),
    }
}

/// Reads the command line. If it is wrong, the inner result is what the program ends with.
fn parse() -> Result<Arguments, Result<u8, Failure>> {
    let mut program = short_command_line();
    let mut line = usage::read(&program, command_of, std::env::args_os()).map_err(|wrong| refuse(&wrong))?;
    match line.command {
        Ok(mut called) => {
            line.global.append(&mut called.words);
            if let Some(command) = called.command {
                program = program.subcommand(command);
            }
        }
        Err(wrong) => {
            // The message belongs in the log that the global options name, so these are read first, with some valid command.
            line.global.push("list".into());
            let options = matches(program, &line.global)?.options;
            let opened = log::open(options.log.as_deref(), &options.log_format, options.debug);
            return Err(opened.map_err(Failure::from).and_then(|()| refuse(&wrong)));
        }
    }
    matches(program, &line.global)
}

fn matches(program: clap::Command, line: &[OsString]) -> Result<Arguments, Result<u8, Failure>> {
    // The short form has neither help nor all commands. Whatever it rejects, the whole command line explains.
    let matches = program.try_get_matches_from(line);
    let matches = matches.and_then(read).or_else(|_| command_line().try_get_matches_from(line).and_then(read));
    matches.map_err(|error| {
        if error.kind() == clap::error::ErrorKind::InvalidSubcommand
            && let Some(clap::error::ContextValue::String(name)) =
                error.get(clap::error::ContextKind::InvalidSubcommand)
        {
            if let Ok(global) = Arguments::try_parse_from(line.iter().take_while(|word| *word != name.as_str())) {
                let global = global.options;
                log::open(global.log.as_deref(), &global.log_format, global.debug)?;
            }
            return Err(Failure { error: anyhow::anyhow!("No help topic for '{name}'\n"), status: 3, ours: false });
        }
        let called = document::usage::called(command_line(), line.iter().cloned());
        if error.use_stderr() && !called.is_empty() && !usage::is_of_runc(&called) {
            log::ours(&document::usage::reason(&error, "run-tool", &called));
            return Ok(2);
        }
        if error.use_stderr() {
            // The message may repeat a word of the command line that comes from elsewhere.
            log::say_lines(&error.render().to_string());
            return Ok(1);
        }
        // If the stream is closed there is nobody left to tell.
        let _ = error.print();
        Ok(0)
    })
}

/// Prints what is wrong with a command line and the help of the command, as runc does, and fails.
fn refuse(wrong: &usage::Wrong) -> Result<u8, Failure> {
    let mut program = command_line();
    program.build();
    let command = wrong.command.as_deref().and_then(|name| program.find_subcommand(name)).unwrap_or(&program);
    print(&format!("{}\n\n{}\n", plain(&wrong.heading), command.clone().render_help()))?;
    Err(anyhow::anyhow!("{}", wrong.message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_and_the_whole_command_line_parse_alike() {
        for line in [
            "run-tool --root /x --debug --log-format json run -d -b /b --pid-file=p --preserve-fds 2 id",
            "run-tool exec -t -u 1:2 -e A=1 -e B=2 --cap CAP_KILL id sh -c --help",
            "run-tool delete --force id",
            "run-tool kill id -9",
            "run-tool list -q --format json",
            "run-tool update --memory 5 id",
            "run-tool --version",
            "run-tool create id",
            "run-tool run --root /y --debug --systemd-cgroup --log=l id",
        ] {
            let read = |command: clap::Command| {
                command.try_get_matches_from(line.split(' ')).and_then(read).map_err(|error| error.kind())
            };
            let called = line.split(' ').find(|word| COMMANDS.iter().any(|(name, _)| name == word));
            let short = short_command_line().subcommands(called.and_then(command_of));
            assert_eq!(format!("{:?}", read(short)), format!("{:?}", read(command_line())), "{line}");
        }
        let whole = command_line();
        for (name, augment) in COMMANDS {
            let ids = |command: &clap::Command| {
                let ids = command.get_arguments().map(|argument| argument.get_id().to_string());
                ids.filter(|id| id != ROOTLESS && id != "help").collect::<Vec<_>>()
            };
            let found = whole.find_subcommand(name).unwrap();
            assert_eq!(ids(&augment(clap::Command::new(name))), ids(found), "{name}");
        }
    }
}
