//! What is wrong with a command line, in one line, as every error is told.
//!
//! clap's own form takes five lines and leaves out the tool's name, which a reader of a pipeline's errors needs. run-tool, which links
//! no sibling, has this file as a module of its own: it knows nothing but clap.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What is wrong with a command line, in one line that ends with the command to run next.
#[must_use]
pub fn reason(error: &clap::Error, tool: &str, called: &str) -> String {
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
        _ => first_paragraph(error),
    };
    let similar =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue].map(text).concat();
    let hint = if similar.is_empty() { String::new() } else { format!("did you mean {}? ", similar.join(" or ")) };
    let command = if called.is_empty() { String::new() } else { format!("{called}: ") };
    let help = [tool, called, "--help"].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{command}{what} ({hint}{help})")
}

/// The paragraph of clap's message that says what is wrong, in one line; tips and usage follow it.
#[must_use]
pub fn first_paragraph(error: &clap::Error) -> String {
    let whole = error.to_string();
    let first = whole.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.strip_prefix("error: ").unwrap_or(first).split_whitespace().collect();
    let line = words.join(" ");
    line.strip_suffix(" found").map_or(line.clone(), str::to_owned)
}

/// The names of the command and subcommand that a command line calls.
#[must_use]
pub fn called(command: clap::Command, words: impl Iterator<Item = OsString>) -> String {
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
