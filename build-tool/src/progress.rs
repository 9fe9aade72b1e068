//! Progress on standard error, in BuildKit's plain style: `#5 [2/3] WORKDIR /files`, `#5 DONE 0.1s`.
//!
//! Stages run at the same time and their lines mix, so every line begins with the number of its step. With `--quiet`
//! nothing is shown until a step fails; then the last lines of its command are. All text is escaped but what a command
//! prints. Imports no other room.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use image_tool::show::human::plain;

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
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { show, colour, state: Mutex::default() }
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
            // If nobody reads standard error any more, the build goes on.
            let _ = writeln!(io::stderr().lock(), "{}", self.paint("33", &plain(&format!("WARNING: {text}"))));
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
        // If nobody reads standard error any more, the build goes on.
        let _ = io::stderr().lock().write_all(out.as_bytes());
    }
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
        tail.iter().for_each(|line| text += &format!("{line}\n"));
        text += "------\n";
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}
