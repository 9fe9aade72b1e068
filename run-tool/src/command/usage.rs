//! The command line as runc reads it: Go's flags, put into the form that clap takes.
//!
//! `-name` is `--name`, a flag that is on or off can be given a value (`--detach=false`), one letter stands alone (`-qf` is no two
//! flags), what repeats replaces. What is wrong is said in runc's words, which clap's are not; help and everything that only
//! run-tool has stay clap's.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

/// A command line that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The command whose help is of use, unless it is that of all.
    pub(super) command: Option<String>,
    /// What to print before the help.
    pub(super) heading: String,
    /// What to log.
    pub(super) message: String,
}

/// A command line as clap takes it: the program's name and the global flags, then the command and what follows it.
pub(super) struct Line {
    pub(super) global: Vec<OsString>,
    pub(super) command: Result<Called, Wrong>,
}

/// The command that is called.
#[derive(Default)]
pub(super) struct Called {
    /// Its name and what follows it.
    pub(super) words: Vec<OsString>,
    /// Its flags, if they were read here: those of commands that only run-tool has are not.
    pub(super) command: Option<Command>,
}

/// How many operands a command of runc's takes.
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

/// Flags whose value is a number.
const NUMBERS: [&str; 4] = ["additional-gids", "blkio-weight", "pids-limit", "preserve-fds"];

/// Reads a command line for `program`, whose commands with their flags `find` gives. Wrong global flags are an error; what is
/// wrong later is told once the log is open.
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
    // What follows the name of the container is a program's there.
    let first = matches!(verb.as_str(), "exec" | "ps");
    let used =
        parsed.flags(&command, Some(program), rest, first).map_err(|message| wrong("Incorrect Usage: {}", message))?;
    parsed.operands.extend_from_slice(&rest[used..]);
    let help = parsed.flags.iter().any(|flag| flag == "--help");
    let count = parsed.operands.len();
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
    /// Reads flags, and operands between them unless it is to stop at the first. Gives how many arguments were used.
    fn flags(
        &mut self,
        command: &Command,
        program: Option<&Command>,
        arguments: &[OsString],
        stop: bool,
    ) -> Result<usize, String> {
        // Global flags may follow the command too, as in runc 1.5.
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
                // As runc has it: a signal may look like a flag.
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

    /// A flag that is on or off. With `either` it is no matter of course that it is off.
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
        // A path that is empty is one that was not given.
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
    fn flags_are_read_as_go_reads_them() {
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
    fn what_is_wrong_is_said_in_runc_s_words() {
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
