//! What people see of a build, on standard error, in the plain style of BuildKit: `#5 [2/3] WORKDIR /files`, `#5 DONE 0.1s`.
//!
//! Lines of several stages mix, so every line bears the number of its step. With `--quiet` nothing is shown until a step fails; then
//! what its command said last is.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use image_tool::show::human::plain;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Nothing but the output of a command that failed.
    Quiet,
    /// Everything, line by line.
    Plain,
}

/// The one who tells.
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

/// A step that is under way.
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
    /// Tell so much.
    pub fn new(show: Show) -> Self {
        let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { show, colour, state: Mutex::default() }
    }

    /// A step begins.
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

    /// Something that belongs to no step.
    pub fn warn(&self, text: &str) {
        if self.show == Show::Plain {
            // Nobody reads standard error any more: the build goes on.
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
        // Nobody reads standard error any more: the build goes on.
        let _ = io::stderr().lock().write_all(out.as_bytes());
    }
}

impl Task<'_> {
    /// A line of its command's output.
    pub fn output(&self, line: &str) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
        drop(tail);
        self.progress.line(self.number, &format!("{:.3} {line}", self.start.elapsed().as_secs_f64()), None);
    }

    /// Something to know about it.
    pub fn note(&self, text: &str) {
        self.progress.line(self.number, &plain(text), None);
    }

    /// It was done before.
    pub fn cached(self) {
        self.progress.line(self.number, "CACHED", Some("32"));
    }

    /// It is done.
    pub fn done(self) {
        self.progress.line(self.number, &format!("DONE {:.1}s", self.start.elapsed().as_secs_f64()), Some("32"));
    }

    /// It failed; `why` is for the end of the step's own lines, the error itself follows by itself.
    pub fn failed(self, why: &str) {
        self.progress.line(self.number, &plain(&format!("ERROR: {why}")), Some("31"));
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        // Where lines are shown, these were shown just above.
        if tail.is_empty() || self.progress.show != Show::Quiet {
            return;
        }
        let mut text = format!("------\n > {}:\n", self.name);
        tail.iter().for_each(|line| text += &format!("{line}\n"));
        text += "------\n";
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}
