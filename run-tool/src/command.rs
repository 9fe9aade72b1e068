//! The command line: runc's global options and commands, and run-tool's own.

mod attach;
mod checkpoint;
mod create;
mod criu;
mod delete;
mod events;
mod exec;
mod features;
mod global;
mod healthcheck;
mod kill;
mod list;
mod logs;
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
use crate::kernel::{log, syscall};
use crate::spec::SPEC_VERSION;

/// An OCI runtime.
///
/// run-tool runs a bundle: a folder with a config.json and a root file system, as bundle-tool, umoci or an engine makes it. Its
/// command line is runc's: `ln -s run-tool runc` puts it under docker, containerd, podman and the like. Beside runc's commands
/// it has a few of its own, which never change what runc's flags mean.
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
    /// Log what is of use to someone who looks for a fault.
    #[arg(long, global = true)]
    debug: bool,
    /// Write the log to this file instead of standard error.
    #[arg(long, value_name = "FILE", global = true)]
    log: Option<PathBuf>,
    /// Write log records as text or as JSON.
    #[arg(long, value_name = "text|json", global = true, default_value = "text", hide_default_value = true)]
    log_format: String,
    /// Keep the state of containers in this folder, which should be in memory.
    ///
    /// /run/run-tool by default, and run-tool below $XDG_RUNTIME_DIR for users other than root; called as runc, the same with runc.
    #[arg(long, value_name = "FOLDER", global = true)]
    root: Option<PathBuf>,
    /// Have systemd manage the control groups; cgroupsPath is then `slice:prefix:name`.
    #[arg(long, global = true)]
    systemd_cgroup: bool,
    /// Ignore missing rights over control groups: true, false or auto.
    #[arg(long, value_name = "true|false|auto", default_value = "auto", hide_default_value = true)]
    rootless: String,
    /// Checkpoint and restore with this program; criu in PATH by default.
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
    /// Print the manual page.
    #[command(hide = true)]
    Man,
    /// Print completions for a shell.
    #[command(hide = true)]
    Completions {
        /// bash, elvish, fish, powershell or zsh.
        shell: clap_complete::Shell,
    },
}

/// A command that failed, with the status that runc gives in this case.
pub(crate) struct Failure {
    /// Why.
    pub(crate) error: anyhow::Error,
    /// The exit status.
    pub(crate) status: u8,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { error, status: 1 }
    }
}

/// Carries out the command line and gives the exit status.
pub(crate) fn run() -> Result<u8, Failure> {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(failure) => return failure,
    };
    let preserved = match &arguments.command {
        Some(Command::Create(command)) => Some(command.preserved()),
        Some(Command::Run(command)) => Some(command.preserved()),
        Some(Command::Restore(_)) => Some(0),
        _ => None,
    };
    if let Some(preserved) = preserved {
        // Nothing of the caller's but what is to be handed on may come near a container.
        let (listen, _) = create::activation();
        syscall::close_from(3 + listen + preserved).context("close_range")?;
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
    let Some(command) = arguments.command else { return Ok(0) };
    if preserved.is_some() || matches!(command, Command::Exec(_) | Command::Healthcheck(_)) {
        seal::ensure(&global.root)?;
    }
    match command {
        Command::Attach(command) => Ok(command.run(&global)?),
        Command::Checkpoint(command) => done(command.run(&global)),
        Command::Create(command) => Ok(command.run(&global)?),
        Command::Delete(command) => done(command.run(&global)),
        Command::Events(command) => done(command.run(&global)),
        Command::Exec(command) => command.run(&global).map_err(|error| Failure { error, status: 255 }),
        Command::Features(command) => done(command.run()),
        Command::Healthcheck(command) => Ok(command.run(&global)?),
        Command::Kill(command) => done(command.run(&global)),
        Command::List(command) => done(command.run(&global)),
        Command::Logs(command) => done(command.run(&global)),
        Command::Pause(command) => done(command.run(&global)),
        Command::Ps(command) => done(command.run(&global)),
        Command::Restore(command) => Ok(command.run(&global)?),
        Command::Resume(command) => done(command.run(&global)),
        Command::Run(command) => Ok(command.run(&global)?),
        Command::Spec(command) => done(command.run()),
        Command::Start(command) => done(command.run(&global)),
        Command::State(command) => done(command.run(&global)),
        Command::Stop(command) => done(command.run(&global)),
        Command::Wait(command) => done(command.run(&global)),
        Command::Update(command) => done(command.run(&global)),
        Command::Man => done(man()),
        Command::Completions { shell } => done(completions(shell)),
    }
}

fn done(result: Result<()>) -> Result<u8, Failure> {
    result?;
    Ok(0)
}

/// The id of `--rootless` after a command.
const ROOTLESS: &str = "rootless after the command";

/// `--rootless` after a command, where runc's global options may stand too.
fn rootless() -> clap::Arg {
    clap::Arg::new(ROOTLESS)
        .long("rootless")
        .value_name("true|false|auto")
        .help_heading("Global options")
        .help("Ignore missing rights over control groups")
}

/// `-h` and `--help` are one, as in runc: clap's own are a summary and a manual.
fn help() -> clap::Arg {
    clap::Arg::new("help").short('h').long("help").action(clap::ArgAction::HelpLong).help("Print this help")
}

/// The command line with runc's layout of help: scripts look at its first lines.
fn command_line() -> clap::Command {
    let program = name();
    let template =
        |name: &str| format!("NAME:\n   {name} - {{about}}\n\nUSAGE:\n   {{usage}}\n\n{{all-args}}{{after-help}}");
    let top = format!(
        "NAME:\n   {program} - Open Container Initiative runtime\n\nUSAGE:\n   {{usage}}\n\n{{about-with-newline}}\n{{all-args}}"
    );
    let mut command = Arguments::command().bin_name(&program).help_template(top).disable_help_flag(true).arg(help());
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        let template = template(&format!("{program} {name}"));
        command = command.mut_subcommand(&name, |command| {
            let command = command.help_template(template).disable_help_flag(true).arg(help());
            // It has another meaning after `spec`.
            if name == "spec" { command } else { command.arg(rootless()) }
        });
    }
    command
}

/// Adds the options of a command.
type Augment = fn(clap::Command) -> clap::Command;

/// The commands that engines call often, each with what adds its options.
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

/// The command line without help and commands, of which the called one is added: to put the options of all together takes longer
/// than most commands themselves, and `create`, `run` and `exec` do it twice (see `seal`).
fn short_command_line() -> clap::Command {
    Options::augment_args(clap::Command::new("run-tool"))
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .arg_required_else_help(true)
}

/// What was matched, with `--rootless` from either side of the command.
fn read(matches: clap::ArgMatches) -> Result<Arguments, clap::Error> {
    let mut arguments = Arguments::from_arg_matches(&matches)?;
    if let Some((_, command)) = matches.subcommand()
        && let Ok(Some(value)) = command.try_get_one::<String>(ROOTLESS)
    {
        arguments.options.rootless.clone_from(value);
    }
    Ok(arguments)
}

/// A command with its options.
fn command_of(name: &str) -> Option<clap::Command> {
    match COMMANDS.iter().find(|(known, _)| *known == name) {
        Some((name, augment)) => Some(augment(clap::Command::new(*name)).arg(rootless())),
        None => command_line().find_subcommand(name).cloned(),
    }
}

/// Reads the command line. A wrong one ends here, with runc's status.
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
            // What is wrong with a command is for the log that the global flags name.
            line.global.push("list".into());
            let options = matches(program, &line.global)?.options;
            let opened = log::open(options.log.as_deref(), &options.log_format, options.debug);
            return Err(opened.map_err(Failure::from).and_then(|()| refuse(&wrong)));
        }
    }
    matches(program, &line.global)
}

fn matches(program: clap::Command, line: &[OsString]) -> Result<Arguments, Result<u8, Failure>> {
    // What the short form does not know, or has to explain, is the whole one's.
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
            return Err(Failure { error: anyhow::anyhow!("No help topic for '{name}'\n"), status: 3 });
        }
        // Nobody is left to tell if the streams are closed.
        let _ = error.print();
        Ok(u8::from(error.use_stderr()))
    })
}

/// Says what is wrong with a command line, and how it is used.
fn refuse(wrong: &usage::Wrong) -> Result<u8, Failure> {
    let mut program = command_line();
    program.build();
    let command = wrong.command.as_deref().and_then(|name| program.find_subcommand(name)).unwrap_or(&program);
    print(&format!("{}\n\n{}\n", wrong.heading, command.clone().render_help()))?;
    Err(anyhow::anyhow!("{}", wrong.message).into())
}

fn man() -> Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
    for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("run-tool {}", command.get_name());
        let page_of = command.clone().name(name.clone()).bin_name(name);
        clap_mangen::Man::new(page_of).render(&mut page)?;
    }
    print(&String::from_utf8(page)?)
}

fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "run-tool", &mut script);
    print(&String::from_utf8(script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_command_line_read_the_same() {
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
