//! The command line by the rules of Go's flag package, which runc uses, translated for clap.
//!
//! `-name` means `--name`. A boolean flag may have a value (`--detach=false`). Short flags cannot be combined (`-qf`). A repeated
//! flag replaces the earlier one. Usage errors are runc's. Help, and the commands that only run-tool has, are left to clap.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

/// A usage error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The command whose help is printed; `None` for the help of the program.
    pub(super) command: Option<String>,
    /// The line to print before the help.
    pub(super) heading: String,
    /// The message to log.
    pub(super) message: String,
}

/// A command line in clap's form: the program's name and the global flags, then the command with its arguments.
pub(super) struct Line {
    pub(super) global: Vec<OsString>,
    pub(super) command: Result<Called, Wrong>,
}

/// The command that is called.
#[derive(Default)]
pub(super) struct Called {
    /// Its name and its arguments.
    pub(super) words: Vec<OsString>,
    /// Its definition, if it is one of runc's commands. Other commands are left to clap.
    pub(super) command: Option<Command>,
}

/// runc's commands with the least and the greatest number of operands.
const OPERANDS: [(&str, usize, usize); 17] = [
    ("checkpoint", 1, 1),
    ("create", 1, 1),
    ("delete", 1, 1),
    ("events", 1, 1),
    ("exec", 1, usize::MAX),
    ("features", 0, 0),
    ("kill", 1, 2),
    ("list", 0, 0),
    ("pause", 1, 1),
    ("ps", 1, usize::MAX),
    ("restore", 1, 1),
    ("resume", 1, 1),
    ("run", 1, 1),
    ("spec", 0, 0),
    ("start", 1, 1),
    ("state", 1, 1),
    ("update", 1, 1),
];

/// Whether runc has this command.
pub(super) fn is_of_runc(name: &str) -> bool {
    OPERANDS.iter().any(|(known, ..)| *known == name)
}

/// Flags whose value must be an integer.
const NUMBERS: [&str; 4] = ["additional-gids", "blkio-weight", "pids-limit", "preserve-fds"];

/// Parses a command line. `program` has the global flags, and `find` gives the definition of a command. An error in the global
/// flags is returned at once. An error in the command is part of the result, so that the caller can open the log first.
pub(super) fn read(
    program: &Command,
    find: impl Fn(&str) -> Option<Command>,
    arguments: impl Iterator<Item = OsString>,
) -> Result<Line, Wrong> {
    let mut arguments = arguments;
    let name = arguments.next().unwrap_or_else(|| "run-tool".into());
    let rest: Vec<OsString> = arguments.collect();
    let wrong = |message: String| Wrong { command: None, heading: format!("Incorrect Usage. {message}"), message };
    let mut parsed = Parsed::default();
    let used = parsed.flags(program, None, &rest, true).map_err(wrong)?;
    let mut global = vec![name.clone()];
    global.append(&mut parsed.flags);
    let Some(verb) = rest.get(used) else { return Ok(Line { global, command: Ok(Called::default()) }) };
    let command = command(program, find, &name, verb, &rest[used + 1..]);
    Ok(Line { global, command })
}

fn command(
    program: &Command,
    find: impl Fn(&str) -> Option<Command>,
    name: &OsStr,
    verb: &OsStr,
    rest: &[OsString],
) -> Result<Called, Wrong> {
    let verb = verb.to_string_lossy().into_owned();
    let mut words = vec![OsString::from(&verb)];
    let known = OPERANDS.iter().find(|(known, ..)| *known == verb).and_then(|known| find(&verb).zip(Some(known)));
    let Some((command, (_, least, most))) = known else {
        words.extend_from_slice(rest);
        return Ok(Called { words, command: None });
    };
    let wrong = |heading: &str, message: String| Wrong {
        command: Some(verb.clone()),
        heading: heading.replace("{}", &message),
        message,
    };
    let mut parsed = Parsed::default();
    // Their arguments after the container id belong to another program.
    let first = matches!(verb.as_str(), "exec" | "ps");
    let used =
        parsed.flags(&command, Some(program), rest, first).map_err(|message| wrong("Incorrect Usage: {}", message))?;
    parsed.operands.extend_from_slice(&rest[used..]);
    let help = parsed.flags.iter().any(|flag| flag == "--help");
    let count = parsed.operands.len();
    // What follows the id then is for people who look at the processes.
    let most = if verb == "run" && parsed.flags.iter().any(|flag| flag == "--supervise") { &usize::MAX } else { most };
    if !help && !(*least..=*most).contains(&count) {
        let (kind, number) = match (least == most, count < *least) {
            (true, _) => ("exactly", least),
            (false, true) => ("a minimum of", least),
            (false, false) => ("a maximum of", most),
        };
        let name = name.to_string_lossy();
        return Err(wrong("Incorrect Usage.", format!("{name}: \"{verb}\" requires {kind} {number} argument(s)")));
    }
    words.append(&mut parsed.flags);
    if !parsed.operands.is_empty() {
        words.push("--".into());
        words.append(&mut parsed.operands);
    }
    Ok(Called { words, command: Some(command) })
}

#[derive(Default)]
struct Parsed {
    flags: Vec<OsString>,
    operands: Vec<OsString>,
}

impl Parsed {
    /// Parses flags and the operands between them, or with `stop` only up to the first operand. Returns the number of arguments
    /// that it consumed.
    fn flags(
        &mut self,
        command: &Command,
        program: Option<&Command>,
        arguments: &[OsString],
        stop: bool,
    ) -> Result<usize, String> {
        // As in runc 1.5, global flags may also follow the command.
        let global = || program.into_iter().flat_map(Command::get_arguments).filter(|flag| flag.is_global_set());
        let mut index = 0;
        while let Some(argument) = arguments.get(index) {
            let bytes = argument.as_bytes();
            if bytes == b"--" {
                index += 1;
                if !stop {
                    self.operands.extend_from_slice(&arguments[index..]);
                    index = arguments.len();
                }
                break;
            }
            if bytes.len() < 2 || bytes[0] != b'-' {
                if stop {
                    break;
                }
                self.operands.push(argument.clone());
                index += 1;
                continue;
            }
            index += 1;
            let stripped = bytes.strip_prefix(b"--").unwrap_or(&bytes[1..]);
            if stripped.is_empty() || matches!(stripped[0], b'-' | b'=') {
                return Err(format!("bad flag syntax: {}", argument.to_string_lossy()));
            }
            let (name, value) = match stripped.iter().position(|byte| *byte == b'=') {
                Some(at) => (&stripped[..at], Some(OsStr::from_bytes(&stripped[at + 1..]).to_owned())),
                None => (stripped, None),
            };
            let name = String::from_utf8_lossy(name).into_owned();
            let help = matches!(name.as_str(), "h" | "help");
            let flag = command.get_arguments().chain(global()).find(|flag| is_called(flag, &name));
            match flag {
                None if help => self.switch("help", &name, value, false)?,
                // As in runc: `kill ID -9` is a signal.
                None if !self.operands.is_empty() => self.operands.push(argument.clone()),
                None => return Err(format!("flag provided but not defined: -{name}")),
                Some(flag) => {
                    let long = flag.get_long().unwrap_or_default();
                    let either = flag.get_num_args().is_some_and(|count| count.min_values() == 0);
                    if either {
                        self.switch(long, &name, value, true)?;
                    } else if flag.get_action().takes_values() {
                        let value = match value {
                            Some(value) => value,
                            None => {
                                index += 1;
                                let next = arguments.get(index - 1);
                                next.cloned().ok_or_else(|| format!("flag needs an argument: -{name}"))?
                            }
                        };
                        self.value(flag, long, &name, &value)?;
                    } else {
                        self.switch(long, &name, value, false)?;
                    }
                }
            }
        }
        Ok(index)
    }

    /// Sets a boolean flag. With `either`, an explicit `false` differs from a flag that is not given, and is kept.
    fn switch(&mut self, long: &str, name: &str, value: Option<OsString>, either: bool) -> Result<(), String> {
        let flag = OsString::from(format!("--{long}"));
        let off = OsString::from(format!("--{long}=false"));
        self.flags.retain(|other| *other != flag && *other != off);
        let value = value.map(|value| value.to_string_lossy().into_owned());
        match value.as_deref() {
            None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => self.flags.push(flag),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") if either => self.flags.push(off),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => {}
            Some(value) => return Err(format!("invalid boolean value {value:?} for -{name}: parse error")),
        }
        Ok(())
    }

    fn value(&mut self, flag: &Arg, long: &str, name: &str, value: &OsStr) -> Result<(), String> {
        let text = value.to_string_lossy();
        let fits = match long {
            "interval" => super::events::duration(&text).is_ok(),
            _ => !NUMBERS.contains(&long) || text.parse::<i64>().is_ok(),
        };
        if !fits {
            let why = match flag.get_action() {
                ArgAction::Append => format!("strconv.ParseInt: parsing {text:?}: invalid syntax"),
                _ => "parse error".to_owned(),
            };
            return Err(format!("invalid value {text:?} for flag -{name}: {why}"));
        }
        let prefix = format!("--{long}=");
        if !matches!(flag.get_action(), ArgAction::Append) {
            self.flags.retain(|other| !other.as_bytes().starts_with(prefix.as_bytes()));
        }
        // For runc an empty path is the same as none.
        if !(value.is_empty() && flag.get_value_parser().type_id() == TypeId::of::<PathBuf>()) {
            self.flags.push(OsString::from_vec([prefix.as_bytes(), value.as_bytes()].concat()));
        }
        Ok(())
    }
}

fn is_called(flag: &Arg, name: &str) -> bool {
    let mut letters = name.chars();
    let letter = letters.next().filter(|_| letters.next().is_none());
    let short = |letter| {
        flag.get_short() == Some(letter) || flag.get_all_short_aliases().is_some_and(|all| all.contains(&letter))
    };
    flag.get_long() == Some(name)
        || flag.get_all_aliases().is_some_and(|all| all.contains(&name))
        || letter.is_some_and(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Command {
        let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let value = |name: &'static str| Arg::new(name).long(name);
        Command::new("runc").arg(value("root")).subcommand(
            Command::new("exec").arg(flag("tty").short('t')).arg(value("env").short('e').action(ArgAction::Append)),
        )
    }

    fn line(text: &str) -> Result<String, String> {
        let find = |name: &str| program().find_subcommand(name).cloned();
        let line = read(&program(), find, text.split(' ').map(OsString::from)).map_err(|wrong| wrong.message)?;
        let called = line.command.map_err(|wrong| wrong.message)?;
        let all: Vec<String> =
            line.global.iter().chain(&called.words).map(|word| word.to_string_lossy().into()).collect();
        Ok(all.join(" "))
    }

    #[test]
    fn flags_are_parsed_as_in_go() {
        for (given, read) in [
            (
                "runc -root x exec -e A=b -env B= -t=true c ls -l",
                "runc --root=x exec --env=A=b --env=B= --tty -- c ls -l",
            ),
            ("runc --root=x --root y exec -t -t=false c", "runc --root=y exec -- c"),
            ("runc exec -- c", "runc exec -- c"),
            ("runc other -x", "runc other -x"),
        ] {
            assert_eq!(line(given).as_deref(), Ok(read));
        }
    }

    #[test]
    fn usage_errors_are_runcs() {
        for (given, message) in [
            ("runc --nosuch", "flag provided but not defined: -nosuch"),
            ("runc --root", "flag needs an argument: -root"),
            ("runc exec -te c", "flag provided but not defined: -te"),
            ("runc exec --tty=x c", "invalid boolean value \"x\" for -tty: parse error"),
            ("runc exec ---tty", "bad flag syntax: ---tty"),
            ("runc exec", "runc: \"exec\" requires a minimum of 1 argument(s)"),
        ] {
            assert_eq!(line(given), Err(message.to_owned()));
        }
    }
}
