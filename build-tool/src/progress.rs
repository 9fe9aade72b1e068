//! Progress on standard error: BuildKit's plain lines, its picture on a terminal, or its events as JSON.
//!
//! Stages run at the same time and their lines mix, so every line begins with the number of its step. With `--quiet`
//! nothing is shown until a step fails; then the last lines of its command are. All text is escaped but what a command
//! prints: a pipe gets that as it is, as from BuildKit, a terminal gets its colours, and the picture not even them. Imports no
//! other room.

mod colours;
mod json;
mod lines;
mod picture;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use image_tool::show::human::plain;
use serde_json::Value;

use self::colours::colours_only;
use self::json::Json;
use self::lines::Lines;
use self::picture::Picture;

/// How much progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Only the output of a command that fails.
    Quiet,
    /// Every event, line by line.
    Plain,
    /// A picture of the steps, drawn again and again.
    Terminal,
    /// Every event as a line of JSON.
    Json,
}

/// The writer of progress.
#[derive(Debug)]
pub struct Progress {
    count: AtomicUsize,
    /// Whether the lines go to a terminal.
    terminal: bool,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Quiet,
    Lines(Lines),
    Picture(Picture),
    Json(Json),
}

/// Something that happens to a step.
#[derive(Debug, Clone, Copy)]
enum Event<'a> {
    /// It begins; the title is safe for a terminal.
    Start(&'a str),
    /// A line of its command's output, as it is.
    Output(&'a str),
    /// A note, safe for a terminal.
    Note(&'a str),
    Cached,
    Done,
    /// It failed; why, safe for a terminal.
    Failed(&'a str),
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
        let sink = match show {
            Show::Quiet => Sink::Quiet,
            Show::Plain => Sink::Lines(Lines::new(colour)),
            Show::Terminal => Sink::Picture(Picture::new(colour)),
            Show::Json => Sink::Json(Json::default()),
        };
        Self { count: AtomicUsize::new(0), terminal, sink }
    }

    /// Begins a step with a title.
    pub fn start(&self, name: impl Into<String>) -> Task<'_> {
        let name = plain(&name.into());
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let start = Instant::now();
        self.event(number, start, Event::Start(&name));
        Task { progress: self, number, name, start, tail: Mutex::default() }
    }

    /// Writes a warning that belongs to no step.
    pub fn warn(&self, text: &str) {
        let text = plain(&format!("WARNING: {text}"));
        match &self.sink {
            Sink::Quiet => {}
            Sink::Lines(lines) => write(&(lines.paint("33", &text) + "\n")),
            Sink::Picture(picture) => picture.above(&(picture.paint("33", &text) + "\n")),
            Sink::Json(json) => json.warn(&text),
        }
    }

    /// Writes a finding of the lint for programs, in the form of BuildKit's `VertexWarning`; people read it in a [`Self::block`].
    pub fn finding(&self, finding: impl FnOnce() -> Value) {
        if let Sink::Json(json) = &self.sink {
            json.finding(finding());
        }
    }

    /// Writes several lines for people, which are safe for a terminal already.
    pub fn block(&self, text: &str) {
        match &self.sink {
            Sink::Picture(picture) => picture.above(text),
            // The steps' errors and warnings are among the events.
            Sink::Json(_) => {}
            _ => write(text),
        }
    }

    /// A line that a command printed, as it is shown.
    fn of_command(&self, line: &str) -> String {
        if self.terminal { colours_only(line) } else { line.to_owned() }
    }

    fn event(&self, number: usize, start: Instant, event: Event<'_>) {
        match &self.sink {
            Sink::Quiet => {}
            Sink::Lines(lines) => match event {
                Event::Output(line) => lines.event(number, start, Event::Output(&self.of_command(line))),
                event => lines.event(number, start, event),
            },
            Sink::Picture(picture) => picture.event(number, start, event),
            Sink::Json(json) => json.event(number, event),
        }
    }
}

/// Writes to standard error. If nobody reads it any more, the build goes on.
fn write(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
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
        self.event(Event::Output(line));
    }

    /// Writes a note about the step.
    pub fn note(&self, text: &str) {
        self.event(Event::Note(&plain(text)));
    }

    /// Ends the step: its result came from the cache.
    pub fn cached(self) {
        self.event(Event::Cached);
    }

    /// Ends the step: it was done now.
    pub fn done(self) {
        self.event(Event::Done);
    }

    /// Ends the step: it failed. `why` ends the step's own lines; the program prints the error once more at its end.
    pub fn failed(self, why: &str) {
        self.event(Event::Failed(&plain(why)));
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.is_empty() {
            return;
        }
        let mut text = format!("------\n > {}:\n", self.name);
        tail.iter().for_each(|line| text += &(self.progress.of_command(line) + "\n"));
        text += "------\n";
        self.progress.block(&text);
    }

    fn event(&self, event: Event<'_>) {
        self.progress.event(self.number, self.start, event);
    }
}
