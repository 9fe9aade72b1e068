//! BuildKit's plain style: `#5 [2/3] WORKDIR /files`, `#5 DONE 0.1s`.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Event, write};

/// Writes events line by line.
#[derive(Debug)]
pub(super) struct Lines {
    colour: bool,
    /// The step of the last line.
    last: Mutex<usize>,
}

impl Lines {
    pub(super) fn new(colour: bool) -> Self {
        Self { colour, last: Mutex::new(0) }
    }

    pub(super) fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn event(&self, number: usize, start: Instant, event: Event<'_>) {
        let seconds = start.elapsed().as_secs_f64();
        let text = match event {
            Event::Start(name) => name.to_owned(),
            Event::Output(line) => format!("{seconds:.3} {line}"),
            Event::Note(text) => text.to_owned(),
            Event::Cached => self.paint("32", "CACHED"),
            Event::Done => self.paint("32", &format!("DONE {seconds:.1}s")),
            Event::Failed(why) => self.paint("31", &format!("ERROR: {why}")),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = if *last != number && *last != 0 { "\n" } else { "" };
        *last = number;
        write(&format!("{gap}{} {text}\n", self.paint("34", &format!("#{number}"))));
    }
}
