//! What is wrong with the options of a command line in the words of pflag, the library with which the docker command reads its own.
//! Programs look for these words, and for the status.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// docker's exit status for a wrong option.
pub const STATUS: u8 = 125;

/// A value that docker's client hands on as it is. What is wrong with it is told by the daemon, and the status is that of any error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unread(pub String);

/// Whether it is an operand that is wrong: these, too, docker's client hands on as they are.
#[must_use]
pub fn is_about_operand(error: &clap::Error) -> bool {
    let name = error.get(ContextKind::InvalidArg);
    error.kind() == ErrorKind::ValueValidation
        && matches!(name, Some(ContextValue::String(text)) if text.starts_with(['<', '[']))
}

/// What is wrong with the options of a command line, as docker says it.
#[must_use]
pub fn reason(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    // `-t, --time <time>`
    let option = || {
        let whole = text(ContextKind::InvalidArg);
        whole.split([' ', '[', '=', '<']).find(|word| word.starts_with("--")).unwrap_or(&whole).to_owned()
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let given = text(ContextKind::InvalidArg);
            let given = given.split('=').next().unwrap_or_default();
            match given.strip_prefix("--") {
                Some(_) => format!("unknown flag: {given}"),
                None => {
                    let letter = given.trim_start_matches('-').chars().next().unwrap_or('-');
                    format!("unknown shorthand flag: '{letter}' in {given}")
                }
            }
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals
            if !error.to_string().contains("value is required") =>
        {
            let why = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
            format!("invalid argument {:?} for {:?} flag{why}", text(ContextKind::InvalidValue), option())
        }
        ErrorKind::InvalidValue | ErrorKind::NoEquals => format!("flag needs an argument: {}", option()),
        _ => super::usage::first_paragraph(error),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn wrong_options_are_told_as_docker_does() {
        let command = || {
            Command::new("x")
                .arg(Arg::new("time").short('t').long("time").value_parser(clap::value_parser!(i64)))
                .arg(Arg::new("force").short('f').long("force").action(clap::ArgAction::SetTrue))
        };
        for (line, said) in [
            ("x --foo", "unknown flag: --foo"),
            ("x --foo=1", "unknown flag: --foo"),
            ("x -Y", "unknown shorthand flag: 'Y' in -Y"),
            ("x -fY", "unknown shorthand flag: 'Y' in -Y"),
            ("x --time", "flag needs an argument: --time"),
            ("x --time a", "invalid argument \"a\" for \"--time\" flag: invalid digit found in string"),
        ] {
            assert_eq!(reason(&command().try_get_matches_from(line.split(' ')).unwrap_err()), said, "{line}");
        }
        let command = || command().arg(Arg::new("NAME").value_parser(clap::value_parser!(i64)));
        for (line, is) in [("x a", true), ("x --time a", false)] {
            assert_eq!(is_about_operand(&command().try_get_matches_from(line.split(' ')).unwrap_err()), is, "{line}");
        }
    }
}
