//! A command line of docker's, read by clap as pflag would read it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use bundle_tool::option::boolean;
use clap::{Arg, ArgAction, Command, value_parser};
use image_tool::program::pflag;

use super::table::{Count, Flag, Kind, Usage};

/// A command line that docker would accept.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The values of the options that are given, by their names. A switch has `true` or `false`.
    pub(super) values: BTreeMap<&'static str, Vec<OsString>>,
    /// What is left.
    pub(super) operands: Vec<OsString>,
    /// Whether help is asked for.
    pub(super) help: bool,
}

/// A command line that docker would refuse: what it says, and its exit status.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) status: u8,
}

const OPERANDS: &str = "operands";
const HELP: &str = "help";

impl Line {
    /// Reads the words after the name of a command. `path` is that name as it was typed.
    pub(super) fn read(usage: &Usage, path: &str, words: &[OsString]) -> Result<Self, Wrong> {
        let line = Self::parse(&usage.flags, usage.ends_options(), words).map_err(|message| Wrong {
            message: format!("{message}\nSee '{} --help'.", called(path)),
            status: pflag::STATUS,
        })?;
        if !line.help && !usage.is_group() {
            line.check_count(usage, path)?;
        }
        Ok(line)
    }

    /// Reads options and operands. The error is what pflag would say.
    pub(super) fn parse(flags: &[Flag], ends_options: bool, words: &[OsString]) -> Result<Self, String> {
        let is_help = |flag: &&Flag| flag.long == HELP;
        let has_letter = flags.iter().any(|flag| flag.short == Some('h'));
        let help = Arg::new(HELP).long(HELP).action(ArgAction::SetTrue);
        let operands = Arg::new(OPERANDS)
            .action(ArgAction::Append)
            .num_args(0..)
            .value_parser(value_parser!(OsString))
            .trailing_var_arg(ends_options);
        let command = Command::new("docker")
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true)
            .args(flags.iter().filter(|flag| !is_help(flag)).map(|flag| argument(flag).aliases(aliases(flag, flags))))
            .arg(if has_letter { help } else { help.short('h') })
            .arg(operands);
        // clap would take a bare dash after an option of a letter for one more letter, and pflag does not know it either.
        let matches = command.try_get_matches_from(words).map_err(|error| pflag::reason(&error))?;
        let mut line = Self { help: matches.get_flag(HELP), ..Self::default() };
        for flag in flags.iter().filter(|flag| !is_help(flag)) {
            let values: Vec<OsString> = match flag.kind {
                Kind::Switch(_) => {
                    matches.get_one::<bool>(flag.long).map(|on| OsString::from(on.to_string())).into_iter().collect()
                }
                Kind::Number => matches
                    .get_one::<i64>(flag.long)
                    .map(|number| OsString::from(number.to_string()))
                    .into_iter()
                    .collect(),
                _ => matches.get_many::<OsString>(flag.long).into_iter().flatten().cloned().collect(),
            };
            if !values.is_empty() {
                line.values.insert(flag.long, values);
            }
        }
        line.operands = matches.get_many::<OsString>(OPERANDS).into_iter().flatten().cloned().collect();
        Ok(line)
    }

    fn check_count(&self, usage: &Usage, path: &str) -> Result<(), Wrong> {
        let allowed = usage.count();
        if (allowed.least..=allowed.most).contains(&self.operands.len()) {
            Ok(())
        } else {
            Err(miscounted(usage, path))
        }
    }

    /// The last value of an option; empty if it is not given.
    pub(super) fn value(&self, name: &str) -> &OsStr {
        self.values.get(name).and_then(|values| values.last()).map_or(OsStr::new(""), OsString::as_os_str)
    }
}

/// A command line with more or fewer operands than the command takes.
pub(super) fn miscounted(usage: &Usage, path: &str) -> Wrong {
    let plural = |number: usize| if number == 1 { "argument" } else { "arguments" };
    let Count { least, most } = usage.count();
    let wanted = match (least, most) {
        (0, 0) => "accepts no arguments".to_owned(),
        (least, most) if least == most => format!("requires exactly {least} {}", plural(least)),
        (least, usize::MAX) => format!("requires at least {least} {}", plural(least)),
        (0, most) => format!("requires at most {most} {}", plural(most)),
        (least, most) => format!("requires at least {least} and at most {most} {}", plural(most)),
    };
    let called = called(path);
    let summary = usage.summary();
    Wrong { message: format!("\"{called}\" {wanted}.\nSee '{called} --help'.\n\n{summary}"), status: 1 }
}

/// The command as a person types it.
fn called(path: &str) -> String {
    format!("docker {path}").trim_end().to_owned()
}

/// Other names of an option of run and create, which docker's help does not show.
fn aliases(flag: &Flag, flags: &[Flag]) -> Option<&'static str> {
    let runs = flags.iter().any(|flag| flag.long == "network-alias");
    match flag.long {
        "network" if runs => Some("net"),
        "network-alias" => Some("net-alias"),
        "dns-option" => Some("dns-opt"),
        _ => None,
    }
}

fn argument(flag: &Flag) -> Arg {
    let argument = Arg::new(flag.long).long(flag.long);
    let argument = match flag.short {
        Some(letter) => argument.short(letter),
        None => argument,
    };
    match flag.kind {
        Kind::Switch(_) => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(boolean::parse)
            .action(ArgAction::Set),
        Kind::Optional => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(value_parser!(OsString))
            .action(ArgAction::Set),
        Kind::Number => argument.value_parser(value_parser!(i64)).allow_hyphen_values(true).action(ArgAction::Set),
        Kind::One => argument.value_parser(value_parser!(OsString)).allow_hyphen_values(true).action(ArgAction::Set),
        Kind::Many => {
            argument.value_parser(value_parser!(OsString)).allow_hyphen_values(true).action(ArgAction::Append)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Wrong> {
        let words: Vec<OsString> = text.split(' ').skip(1).map(OsString::from).collect();
        let path = text.split(' ').next().unwrap();
        let line = Line::read(&Usage::find(path).unwrap(), path, &words)?;
        let mut shown: Vec<String> = line
            .values
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={}", value.display())))
            .collect();
        shown.extend(line.operands.iter().map(|word| word.display().to_string()));
        Ok(shown.join(" "))
    }

    #[test]
    fn options_have_every_spelling_of_pflag() {
        for (text, seen) in [
            ("stop --time 1 a", "time=1 a"),
            ("stop --time=1 a", "time=1 a"),
            ("stop -t1 a", "time=1 a"),
            ("stop -t=1 a", "time=1 a"),
            ("stop -t -1 a", "time=-1 a"),
            ("rm -fv a", "force=true volumes=true a"),
            ("rm -f=false a", "force=false a"),
            ("rm --force=T a -v", "force=true volumes=true a"),
            ("rm -f -f a b", "force=true a b"),
            ("rm -- -f", "-f"),
            ("kill -sKILL a", "signal=KILL a"),
            ("kill -s TERM --signal=HUP a", "signal=HUP a"),
            ("logs a --tail -1", "tail=-1 a"),
            ("run -it --name x -e A -e B=1 img -d --rm", "env=A env=B=1 interactive=true name=x tty=true img -d --rm"),
            ("run --rm -- img -x", "rm=true img -x"),
            ("run --entrypoint -x img", "entrypoint=-x img"),
            ("run --net host --net-alias a --dns-opt b img", "dns-option=b network=host network-alias=a img"),
            ("exec -iu 33 c id -u", "interactive=true user=33 c id -u"),
            ("top c -o pid", "c -o pid"),
            ("build -tNAME --pull .", "pull=true tag=NAME ."),
            ("build --provenance=mode=max --sbom .", "provenance=mode=max sbom=true ."),
            ("import - name", "- name"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(seen), "{text}");
        }
    }

    #[test]
    fn what_docker_refuses_is_refused_in_its_words() {
        for (text, said, status) in [
            ("rm --foo x", "unknown flag: --foo\nSee 'docker rm --help'.", 125),
            ("run -Y img", "unknown shorthand flag: 'Y' in -Y\nSee 'docker run --help'.", 125),
            ("stop a --time", "flag needs an argument: --time\nSee 'docker stop --help'.", 125),
            ("tag a", "\"docker tag\" requires exactly 2 arguments.\nSee 'docker tag --help'.", 1),
            ("rm", "\"docker rm\" requires at least 1 argument.\nSee 'docker rm --help'.", 1),
            ("ps x", "\"docker ps\" accepts no arguments.\nSee 'docker ps --help'.", 1),
            ("images a b", "\"docker images\" requires at most 1 argument.\nSee 'docker images --help'.", 1),
        ] {
            let wrong = read(text).unwrap_err();
            assert!(wrong.message.starts_with(said), "{text}: {}", wrong.message);
            assert_eq!(wrong.status, status, "{text}");
        }
    }

    #[test]
    fn help_wins_over_missing_operands() {
        let words = [OsString::from("--help")];
        assert!(Line::read(&Usage::find("rm").unwrap(), "rm", &words).unwrap().help);
        let words = [OsString::from("-h")];
        assert!(Line::read(&Usage::find("rm").unwrap(), "rm", &words).unwrap().help);
        // Of run it is the host's name.
        let words = ["-h", "x", "img", "--help"].map(OsString::from);
        assert!(!Line::read(&Usage::find("run").unwrap(), "run", &words).unwrap().help);
    }
}
