//! docker's command line, read for the shell script that carries it out.
//!
//! `table` holds docker's own descriptions of its commands, `line` reads a command line by them, `answer` writes what was read as
//! assignments of shell variables, and `name` knows the short and long forms of commands and what cannot be; `complete` and `page` are its completions and manual page. The words of `run`, `create`,
//! `exec` and of those commands that a tool has under docker's options are left to that tool, which is called next.

mod answer;
mod complete;
mod line;
mod name;
pub(crate) mod page;
mod table;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use bundle_tool::bundle::Bundle;
use clap::ValueHint;
use image_tool::address::home::Home;
use image_tool::address::name as reference;
use image_tool::program::caller::caller;
use image_tool::program::{Said, dockers, pflag, pipe, say};

use self::answer::Answer;
use self::line::{Line, Wrong};
use self::name::Name;
use self::table::Usage;
use super::{client, is_dockers_name};

/// Read a docker command line and print it as assignments of shell variables.
///
/// This is how oci-docker, a shell script, reads docker's words: `command` is the command, each of its options a variable (`force=true`), all
/// that are given together are in `options` as quoted words, and what is left are the positional parameters. Of a container there stands NAME:WORD, the
/// container's name and the word that was given; the name is empty if there is no such container. An image is an address.
#[derive(clap::Args)]
#[command(
    hide = true,
    disable_help_flag = true,
    after_long_help = "Examples:
  bundle-tool docker stop --time=1 web
  eval \"$(bundle-tool docker container rm -fv web db)\""
)]
pub(crate) struct Docker {
    /// What was typed after docker.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", value_hint = ValueHint::Other)]
    words: Vec<OsString>,
}

impl Docker {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // `__complete INDEX -- WORD…`, as a shell's script asks the tools.
        if let [first, index, words @ ..] = self.words.as_slice()
            && first == "__complete"
        {
            // Behind the dashes stands the program's name.
            let words = words.strip_prefix(&[OsString::from("--")]).unwrap_or(words).get(1..).unwrap_or_default();
            let count = index.to_string_lossy().parse().unwrap_or(words.len()).min(words.len());
            return pipe::print_exactly(complete::lines(&words[..count]));
        }
        match read(&self.words) {
            Ok(answer) => pipe::print_exactly(answer.into_bytes()),
            Err(wrong) => {
                wrong.message.lines().for_each(say);
                Err(Said(wrong.status).into())
            }
        }
    }
}

/// Says what is wrong with the operands of one of docker's commands that a tool reads itself, as docker does, and returns its exit status.
/// `None`: it is not called as one, or something else is wrong.
pub(crate) fn miscounted(error: &clap::Error) -> Option<u8> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let name = caller()?;
    let is_option = |text: &str| text.len() > 1 && text.starts_with('-');
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, _) => {}
        (ErrorKind::UnknownArgument, Some(ContextValue::String(text))) if !is_option(text) => {}
        _ => return None,
    }
    let path = name.strip_prefix("docker ")?;
    let wrong = line::miscounted(&Usage::find(path)?, path);
    wrong.message.lines().for_each(say);
    Some(wrong.status)
}

/// Reads the words after `docker`.
fn read(words: &[OsString]) -> Result<Answer, Wrong> {
    let main = Usage::find("").expect("docker describes itself");
    let refuse = |message: String| Wrong { message, status: 125 };
    let all = Line::parse(&main.flags, true, words).map_err(|why| refuse(format!("{why}\nSee 'docker --help'.")))?;
    let mut answer = Answer::default();
    global(&all, &mut answer)?;
    if all.value("version") == "true" {
        return Ok(answer.with("command", "--version"));
    }
    // `docker help ps` is `docker ps --help`.
    let is_help = all.operands.first().is_some_and(|word| word == "help");
    let words = &all.operands[usize::from(is_help)..];
    if all.help || words.is_empty() {
        return Ok(answer.help(&main.help("")));
    }
    let Name { path, typed, rest } = Name::find(words)?;
    let usage = Usage::find(path).expect("every name has a description");
    if usage.is_group() && !is_help {
        Line::read(&usage, &typed, rest)?;
    }
    if usage.is_group() || is_help {
        return Ok(answer.help(&usage.help(&typed)));
    }
    if name::is_read_elsewhere(path) && !asks_for_help(&usage, rest) {
        return Ok(answer.with("command", path.replace(' ', "_")).operands(rest));
    }
    let line = Line::read(&usage, &typed, rest)?;
    if line.help {
        return Ok(answer.help(&usage.help(&typed)));
    }
    if name::is_read_elsewhere(path) {
        return Ok(answer.with("command", path.replace(' ', "_")).operands(rest));
    }
    let mut line = line;
    name::MEANINGLESS.iter().filter(|(command, _)| *command == path).for_each(|(_, option)| {
        line.values.remove(option);
    });
    if usage.flags.iter().any(|flag| flag.long == "detach-keys")
        && line.value("detach-keys").is_empty()
        && let Some(keys) = client::detach_keys(all.value("config"))
    {
        line.values.insert("detach-keys", vec![keys.into()]);
    }
    if path.ends_with("prune") {
        let given = line.values.get("filter").map_or(&[][..], Vec::as_slice);
        let more = client::prune_filters(all.value("config"), given);
        if !more.is_empty() {
            line.values.entry("filter").or_default().extend(more);
        }
    }
    if path.ends_with("build") {
        for tag in line.values.get_mut("tag").into_iter().flatten() {
            *tag = named(tag).map_err(|why| Wrong {
                message: format!(
                    "invalid argument {:?} for \"-t, --tag\" flag: {why}\nSee 'docker {typed} --help'.",
                    tag.display()
                ),
                status: pflag::STATUS,
            })?;
        }
    }
    let mut answer = answer.with("command", path.replace(' ', "_")).options(&usage, &line);
    if path.ends_with("prune") {
        // What is left to a tool; the rest is for the script.
        answer = answer.with("filters", answer::words(&usage, &line, |flag| flag == "filter"));
    }
    match (path, line.operands.first()) {
        ("pull" | "push", Some(word)) => answer = answer.with("reference", full(&word.to_string_lossy())?),
        ("commit", _) => answer = answer.with("layout", Home::from_environment().images()),
        _ => {}
    }
    Ok(answer.operands(&operands(&usage, &line)?))
}

/// The name of an image in full, as docker prints it.
fn full(word: &str) -> Result<String, Wrong> {
    let (name, digest) = word.split_once('@').map_or((word, None), |(name, digest)| (name, Some(digest)));
    reference::check(name).map_err(|why| Wrong { message: format!("docker: {why}"), status: 1 })?;
    let (repository, tag) = reference::canonical(name);
    Ok(match digest {
        Some(digest) => format!("{repository}@{digest}"),
        None => format!("{repository}:{tag}"),
    })
}

/// The options before the command: the folder of the config, and what asks for another daemon.
fn global(line: &Line, answer: &mut Answer) -> Result<(), Wrong> {
    let refuse = |message: &str| Wrong { message: format!("docker: {message}"), status: 125 };
    for host in line.values.get("host").into_iter().flatten() {
        if !host.as_bytes().starts_with(b"unix://") {
            return Err(refuse("--host: there is no daemon, and so none on another host (run oci-docker there)"));
        }
    }
    if ["tls", "tlsverify"].iter().any(|name| line.value(name) == "true") {
        return Err(refuse("--tls: there is no daemon to talk to"));
    }
    if !["", "default"].iter().any(|known| line.value("context") == *known) {
        return Err(refuse("--context: there is one context, default"));
    }
    let levels = ["", "debug", "info", "warn", "error", "fatal"];
    if !levels.iter().any(|level| line.value("log-level") == *level) {
        let level = line.value("log-level").display();
        return Err(refuse(&format!("Unable to parse logging level: {level}")));
    }
    if !line.value("config").is_empty() {
        answer.export("DOCKER_CONFIG", line.value("config"));
    }
    Ok(())
}

/// Whether the words may ask for help. `-h` does, unless it is an option of the command.
fn asks_for_help(usage: &Usage, words: &[OsString]) -> bool {
    let has_letter = usage.flags.iter().any(|flag| flag.short == Some('h'));
    let is_help = |word: &OsString| word == "--help" || word.as_bytes().starts_with(b"--help=");
    words.iter().any(|word| is_help(word) || (word == "-h" && !has_letter))
}

/// The operands as the tools take them.
fn operands(usage: &Usage, line: &Line) -> Result<Vec<OsString>, Wrong> {
    let parts = usage.parts();
    let home = Home::from_environment();
    let read = |(index, word): (usize, &OsString)| {
        let part = parts.get(index).or(parts.last()).map_or("", |part| part.trim_start_matches('['));
        match part.split(['[', ']', '.']).next().unwrap_or_default() {
            "IMAGE" if usage.path == "rmi" && word.to_string_lossy().trim().is_empty() => {
                Err(Wrong { message: dockers::daemon("image name cannot be blank"), status: 1 })
            }
            // stats has names as they are, because it shows them so.
            "CONTAINER" if usage.path != "stats" => Ok(container(&home, word)),
            "IMAGE" | "SOURCE_IMAGE" => Ok(address(word)),
            "TARGET_IMAGE" => new_name(word),
            "REPOSITORY" if ["commit", "import"].contains(&usage.path) => new_name(word),
            _ => Ok(word.clone()),
        }
    };
    line.operands.iter().enumerate().map(read).collect()
}

/// `NAME:WORD` for a container; docker takes a slash before its name.
fn container(home: &Home, word: &OsStr) -> OsString {
    let text = word.to_str().unwrap_or_default();
    let text = text.strip_prefix('/').unwrap_or(text);
    // The path of a folder is no name of docker's.
    let found = if text.contains('/') { None } else { Bundle::find(&home.bundles(), text).ok() };
    // Nor is the name that it had before it was renamed.
    let found = found.filter(|bundle| is_dockers_name(bundle, text));
    // Of a container whose files were removed by hand the runtime may still know.
    let lost = || Bundle::lost(&home.bundles(), text).unwrap_or_default();
    let mut pair = OsString::from(found.map_or_else(lost, |bundle| bundle.runtime_id()));
    pair.push(":");
    pair.push(word);
    pair
}

fn address(word: &OsStr) -> OsString {
    let mut address = OsString::from(":");
    address.push(word);
    address
}

/// The address of an image that is to have this name.
fn new_name(word: &OsStr) -> Result<OsString, Wrong> {
    named(word)
        .map_err(|why| Wrong { message: format!("Error parsing reference: {:?}: {why}", word.display()), status: 1 })
}

/// The same, or what is wrong with the name.
fn named(word: &OsStr) -> Result<OsString, impl std::fmt::Display + use<>> {
    reference::check(&word.to_string_lossy()).map(|()| address(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> String {
        let words: Vec<OsString> = text.split(' ').map(OsString::from).collect();
        match read(&words) {
            Ok(answer) => String::from_utf8(answer.into_bytes()).unwrap(),
            Err(wrong) => format!("{} {}", wrong.status, wrong.message),
        }
    }

    #[test]
    fn a_command_line_becomes_variables() {
        let stop = answer("container stop -t 1 nosuch");
        assert!(stop.starts_with("command='stop'\n"), "{stop}");
        for part in ["\ntime='1'\n", "\nsignal=''\n", "\noptions=''\\''--time=1'\\'''\n", "\nset -- ':nosuch'\n"] {
            assert!(stop.contains(part), "{part} in {stop}");
        }
        let tag = answer("-D image tag bb:1 it's");
        assert!(tag.starts_with("1 Error parsing reference"), "{tag}");
        assert!(answer("tag bb:1 mine:2").ends_with("set -- ':bb:1' ':mine:2'\n"));
        assert!(answer("run --rm img echo 'x").ends_with("command='run'\nset -- '--rm' 'img' 'echo' ''\\''x'\n"));
    }

    #[test]
    fn words_of_another_program_are_not_looked_at() {
        assert!(answer("run img cmd --help").starts_with("command='run'\n"));
        assert!(answer("container run --help").starts_with("command='help'\n"));
        assert!(answer("run -h name img --help").starts_with("command='run'\n"));
    }

    #[test]
    fn what_is_not_there_is_refused_with_a_reason() {
        for (text, said) in [
            ("foo", "1 docker: 'foo' is not a docker command.\nSee 'docker --help'"),
            ("swarm init", "1 docker: swarm: "),
            ("-H tcp://h:1 ps", "125 docker: --host: "),
            ("--context other ps", "125 docker: --context: "),
            ("--log-level=loud ps", "125 docker: Unable to parse logging level: loud"),
            ("--nosuch ps", "125 unknown flag: --nosuch\nSee 'docker --help'."),
            ("ps x --foo", "command='ps'"),
        ] {
            let answer = answer(text);
            assert!(answer.starts_with(said), "{text}: {answer}");
        }
    }

    #[test]
    fn every_name_has_a_description() {
        for path in name::all() {
            assert!(Usage::find(path).is_some(), "{path}");
        }
    }
}
