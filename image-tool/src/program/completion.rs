//! Completion in a shell: what bash, zsh and fish ask the program at each press of the tab key.
//!
//! A script registers a function that calls the program's hidden command `__complete INDEX -- WORD…`, which answers with a line for
//! each candidate: the word, and after a tab what it means. So the candidates come from the same definitions as the command line
//! itself, and can be what lies on disk now (names of images, of containers). The tables that clap_complete would write instead
//! cannot; those for bash never complete a program whose name holds a dash; and bash splits the words of an address at `:`.
//!
//! run-tool, which links no sibling, has this file as a module of its own: it knows nothing but clap, and `plain` of the module above.

use std::ffi::{OsStr, OsString};
use std::io;

use clap::{Args, Command, ValueEnum};
use clap_complete::{ArgValueCompleter, CompletionCandidate};

use super::plain;

/// A shell that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// The GNU shell.
    Bash,
    /// The friendly interactive shell.
    Fish,
    /// The Z shell.
    Zsh,
}

/// The names of values, as help shows them, with what lists the values that begin with a word.
pub type Candidates = &'static [(&'static str, fn(&OsStr) -> Vec<CompletionCandidate>)];

/// Print a script that completes the command line in a shell.
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// The script, for the program `tool`.
    #[must_use]
    pub fn script(&self, tool: &str) -> String {
        let template = match self.shell {
            Shell::Bash => include_str!("completion/bash"),
            Shell::Fish => include_str!("completion/fish"),
            Shell::Zsh => include_str!("completion/zsh"),
        };
        template.replace("TOOL", tool).replace("FUNCTION", &tool.replace('-', "_"))
    }
}

/// Print the candidates for a word of a command line.
#[derive(Debug, Args)]
#[command(hide = true, disable_help_flag = true)]
pub struct Complete {
    /// Which of the words to complete, counted from 0.
    index: usize,
    /// The command line, of which the program's name is the first word.
    #[arg(last = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl Complete {
    /// The candidates, one a line, by the definition of the command line.
    ///
    /// # Errors
    /// If there is no word at the index.
    pub fn answer(self, mut command: Command, candidates: Candidates) -> io::Result<String> {
        // The options of a command may be defined only when they are needed.
        command.build();
        answer(&mut with_candidates(command, candidates), self.index, self.words)
    }
}

/// Adds to each argument what lists the values of its name.
fn with_candidates(command: Command, candidates: Candidates) -> Command {
    let command = command.mut_args(|argument| {
        let names = argument.get_value_names().unwrap_or_default();
        let list = candidates.iter().find(|(name, _)| names.iter().any(|known| known.as_str() == *name));
        match list {
            Some((_, list)) => argument.add(ArgValueCompleter::new(*list)),
            None => argument,
        }
    });
    command.mut_subcommands(|command| with_candidates(command, candidates))
}

fn answer(command: &mut Command, index: usize, words: Vec<OsString>) -> io::Result<String> {
    let mut answer = String::new();
    for candidate in clap_complete::engine::complete(command, words, index, std::env::current_dir().ok().as_deref())? {
        let Some(value) = candidate.get_value().to_str() else { continue };
        // A file or an image can have any name; what a terminal would obey is not offered to it.
        if plain(value) != value {
            continue;
        }
        answer.push_str(value);
        if let Some(help) = candidate.get_help() {
            let help = help.to_string();
            let line = help.lines().next().unwrap_or_default();
            answer.push('\t');
            answer.push_str(&plain(line));
        }
        answer.push('\n');
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn candidates_are_subcommands_options_and_values() {
        let command = || {
            Command::new("a-tool").subcommand(
                Command::new("tag")
                    .about("Name it")
                    .arg(Arg::new("progress").long("progress").value_parser(["plain", "json"])),
            )
        };
        for (words, first) in [
            (vec!["a-tool", "t"], "tag\tName it"),
            (vec!["a-tool", "tag", "--pr"], "--progress"),
            (vec!["a-tool", "tag", "--progress", "j"], "json"),
            (vec!["a-tool", "tag", "--progress=j"], "--progress=json"),
        ] {
            let index = words.len() - 1;
            let words: Vec<OsString> = words.iter().map(Into::into).collect();
            let answer = answer(&mut command(), index, words.clone()).unwrap();
            assert_eq!(answer.lines().next(), Some(first), "{words:?}");
        }
    }
}
