//! What is told to the shell: assignments that `eval` carries out. Every value stands in quotes, whatever is in it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;

use super::line::Line;
use super::table::{Kind, Usage};
use crate::command::shell::quoted;

/// Assignments, in their order.
#[derive(Debug, Default)]
pub(super) struct Answer(Vec<u8>);

impl Answer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Adds a variable.
    pub(super) fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.assign(name, value.as_ref());
        self
    }

    fn assign(&mut self, name: &str, value: &OsStr) {
        self.0.extend(format!("{name}=").bytes());
        self.0.extend(quoted(value).into_vec());
        self.0.push(b'\n');
    }

    /// Adds a variable of the environment.
    pub(super) fn export(&mut self, name: &str, value: &OsStr) {
        self.0.extend(b"export ");
        self.assign(name, value);
    }

    /// The text of help.
    pub(super) fn help(self, text: &str) -> Self {
        self.with("command", "help").with("text", text)
    }

    /// Adds each option of a command as a variable, empty where it is not given, and all that are given as words in `options`.
    pub(super) fn options(mut self, usage: &Usage, line: &Line) -> Self {
        for flag in &usage.flags {
            let value = line.value(flag.long);
            let value = match flag.kind {
                Kind::Switch(default) if is_on(value, default) => OsStr::new("true"),
                Kind::Switch(_) => OsStr::new(""),
                _ => value,
            };
            self.assign(&flag.long.replace('-', "_"), value);
        }
        self.with("options", words(usage, line, |_| true))
    }

    /// Sets the positional parameters.
    pub(super) fn operands(mut self, words: &[OsString]) -> Self {
        self.0.extend(b"set --");
        for word in words {
            self.0.push(b' ');
            self.0.extend(quoted(word).into_vec());
        }
        self.0.push(b'\n');
        self
    }
}

fn is_on(value: &OsStr, default: bool) -> bool {
    if value.is_empty() { default } else { value == "true" }
}

/// The options that are given, in one spelling, as words in quotes.
pub(super) fn words(usage: &Usage, line: &Line, wanted: impl Fn(&str) -> bool) -> OsString {
    let mut words = Vec::new();
    for flag in usage.flags.iter().filter(|flag| wanted(flag.long)) {
        if let Kind::Switch(default) = flag.kind {
            match is_on(line.value(flag.long), default) {
                true if !default => words.push(quoted(OsStr::new(&format!("--{}", flag.long)))),
                false if default => words.push(quoted(OsStr::new(&format!("--{}=false", flag.long)))),
                _ => {}
            }
            continue;
        }
        for value in line.values.get(flag.long).into_iter().flatten() {
            let mut word = OsString::from(format!("--{}=", flag.long));
            word.push(value);
            words.push(quoted(&word));
        }
    }
    words.join(OsStr::new(" "))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_given() {
        let words = ["", "a b", "it's", "$HOME `id` \\ \"x\"", "line\nbreak", "\t*?[~"].map(OsString::from);
        let usage = Usage::find("commit").unwrap();
        let given: Vec<OsString> =
            words.iter().map(|word| [OsStr::new("--change="), word].join(OsStr::new(""))).chain(["c".into()]).collect();
        let line = Line::read(&usage, "commit", &given).unwrap();
        let answer = Answer::default().options(&usage, &line).operands(&words);
        let mut script = answer.into_bytes();
        script.extend(b"printf '%s\\0' \"$@\"; eval \"set -- $options\"; printf '%s\\0' \"$@\"");
        for shell in ["sh", "bash"] {
            let output = std::process::Command::new(shell).arg("-c").arg(OsStr::from_bytes(&script)).output().unwrap();
            let read: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
            for (index, word) in words.iter().enumerate() {
                assert_eq!(read[index], word.as_bytes(), "{shell}");
                assert_eq!(read[index + words.len()], [b"--change=", word.as_bytes()].concat(), "{shell}");
            }
        }
    }
}
