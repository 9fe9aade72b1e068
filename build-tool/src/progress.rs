//! Progress on standard error, in BuildKit's plain style: `#5 [2/3] WORKDIR /files`, `#5 DONE 0.1s`.
//!
//! Stages run at the same time and their lines mix, so every line begins with the number of its step. With `--quiet`
//! nothing is shown until a step fails; then the last lines of its command are. All text is escaped but what a command
//! prints: a pipe gets that as it is, as from BuildKit, and a terminal gets its colours. Imports no other room.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use image_tool::show::human::{lines, plain};

/// How much progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Only the output of a command that fails.
    Quiet,
    /// Every event, line by line.
    Plain,
}

/// The writer of progress.
#[derive(Debug)]
pub struct Progress {
    show: Show,
    /// Whether the lines go to a terminal.
    terminal: bool,
    colour: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    last: usize,
}

/// A step under way. Its number and title begin its lines.
#[derive(Debug)]
pub struct Task<'a> {
    progress: &'a Progress,
    number: usize,
    name: String,
    start: Instant,
    tail: Mutex<VecDeque<String>>,
}

/// How many lines of a failed command are repeated.
const TAIL: usize = 30;

impl Progress {
    /// Starts at step 1. Colour is used on a terminal, unless `NO_COLOR` is set.
    pub fn new(show: Show) -> Self {
        let terminal = io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        Self { show, terminal, colour, state: Mutex::default() }
    }

    /// Begins a step with a title.
    pub fn start(&self, name: impl Into<String>) -> Task<'_> {
        let name = plain(&name.into());
        let number = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.count += 1;
            state.count
        };
        self.line(number, &name, None);
        Task { progress: self, number, name, start: Instant::now(), tail: Mutex::default() }
    }

    /// Writes a warning that belongs to no step.
    pub fn warn(&self, text: &str) {
        if self.show == Show::Plain {
            write(&(self.paint("33", &plain(&format!("WARNING: {text}"))) + "\n"));
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, number: usize, text: &str, colour: Option<&str>) {
        if self.show == Show::Quiet {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        if state.last != number && state.last != 0 {
            out.push('\n');
        }
        state.last = number;
        out += &self.paint("34", &format!("#{number}"));
        out.push(' ');
        out += &colour.map_or_else(|| text.to_owned(), |code| self.paint(code, text));
        out.push('\n');
        write(&out);
    }

    /// A line that a command printed, as it is shown.
    fn of_command(&self, line: &str) -> String {
        if self.terminal { colours_only(line) } else { line.to_owned() }
    }
}

/// Writes what is escaped to standard error. If nobody reads it any more, the build goes on.
fn write(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A line of a command for a terminal. Colours pass, up to the line's end, as in the terminal that BuildKit emulates for each step.
/// All else that a terminal obeys does not: stages run at the same time, so a cursor that moves would write into the lines of other
/// steps and into ours. Other control sequences are left out (ECMA-48, "Control sequences"), since they are of no use in a log, and the
/// rest is escaped.
fn colours_only(line: &str) -> String {
    let mut safe = String::with_capacity(line.len());
    let mut rest = line;
    let mut is_coloured = false;
    while let Some((before, sequence)) = rest.split_once("\x1b[") {
        safe += &lines(before);
        let parameters = sequence.find(|byte: char| !(' '..='?').contains(&byte)).unwrap_or(sequence.len());
        let (parameters, after) = sequence.split_at(parameters);
        match after.chars().next() {
            Some('m') if parameters.chars().all(|byte| byte.is_ascii_digit() || ";:".contains(byte)) => {
                safe += &format!("\x1b[{parameters}m");
                is_coloured = true;
                rest = &after[1..];
            }
            Some('@'..='~') => rest = &after[1..],
            _ => {
                safe += &plain("\x1b[");
                rest = sequence;
            }
        }
    }
    safe += &lines(rest);
    if is_coloured { safe + "\x1b[0m" } else { safe }
}

impl Task<'_> {
    /// Passes on a line of the command's output.
    pub fn output(&self, line: &str) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
        drop(tail);
        let line = self.progress.of_command(line);
        self.progress.line(self.number, &format!("{:.3} {line}", self.start.elapsed().as_secs_f64()), None);
    }

    /// Writes a note about the step.
    pub fn note(&self, text: &str) {
        self.progress.line(self.number, &plain(text), None);
    }

    /// Ends the step: its result came from the cache.
    pub fn cached(self) {
        self.progress.line(self.number, "CACHED", Some("32"));
    }

    /// Ends the step: it was done now.
    pub fn done(self) {
        self.progress.line(self.number, &format!("DONE {:.1}s", self.start.elapsed().as_secs_f64()), Some("32"));
    }

    /// Ends the step: it failed. `why` ends the step's own lines; the program prints the error once more at its end.
    pub fn failed(self, why: &str) {
        self.progress.line(self.number, &plain(&format!("ERROR: {why}")), Some("31"));
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        // With plain progress these lines are just above.
        if tail.is_empty() || self.progress.show != Show::Quiet {
            return;
        }
        let mut text = format!("------\n > {}:\n", self.name);
        tail.iter().for_each(|line| text += &(self.progress.of_command(line) + "\n"));
        text += "------\n";
        write(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_colours_its_own_lines_and_moves_no_cursor() {
        for (line, shown) in [
            ("plain\ttext", "plain\ttext"),
            ("\x1b[1;31mred\x1b[m text", "\x1b[1;31mred\x1b[m text\x1b[0m"),
            ("\x1b[01;31m\x1b[Kgrep\x1b[m\x1b[K", "\x1b[01;31mgrep\x1b[m\x1b[0m"),
            ("\x1b[2J\x1b[1A\x1b[?25l#1 DONE", "#1 DONE"),
            ("\x1b[>4;2mkeys", "keys"),
            ("\x1b]0;title\x07\u{9b}2J\u{202e}", "\\u{1b}]0;title\\u{7}\\u{9b}2J\\u{202e}"),
            ("\x1b[", "\\u{1b}["),
            ("\x1b[3\x1b[2J1m", "\\u{1b}[31m"),
            ("\x1b[12é", "\\u{1b}[12é"),
        ] {
            assert_eq!(colours_only(line), shown, "{line:?}");
        }
    }
}
