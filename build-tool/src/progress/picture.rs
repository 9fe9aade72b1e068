//! BuildKit's picture on a terminal: a line for each step with its time, and below a running one the last lines of its
//! output. A thread draws it ten times a second.

use std::collections::VecDeque;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use image_tool::show::human::plain;

use super::{Event, write};

/// How many lines of a running command are shown.
const LOG: usize = 6;

/// Draws the steps.
#[derive(Debug)]
pub(super) struct Picture {
    colour: bool,
    rows: Arc<Mutex<Rows>>,
    /// Dropped to stop the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Rows {
    begun: Instant,
    rows: Vec<Row>,
    /// Steps that are no longer drawn.
    past: usize,
    /// How many lines the last picture has.
    drawn: usize,
}

#[derive(Debug)]
struct Row {
    number: usize,
    name: String,
    start: Instant,
    end: Option<(Duration, End)>,
    log: VecDeque<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Cached,
    Done,
    Failed,
}

impl Picture {
    pub(super) fn new(colour: bool) -> Self {
        let rows = Rows { begun: Instant::now(), rows: Vec::new(), past: 0, drawn: 0 };
        let rows = Arc::new(Mutex::new(rows));
        let (stop, stopped) = mpsc::channel();
        let drawn = Arc::clone(&rows);
        let draw = move || {
            while stopped.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                drawn.lock().unwrap_or_else(PoisonError::into_inner).draw(colour, false);
            }
        };
        // Without a thread, the picture is drawn at the end only.
        let thread = std::thread::Builder::new().name("progress".into()).spawn(draw).ok();
        Self { colour, rows, stop: Some(stop), thread }
    }

    pub(super) fn paint(&self, code: &str, text: &str) -> String {
        paint(self.colour, code, text)
    }

    pub(super) fn event(&self, number: usize, start: Instant, event: Event<'_>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::Start(name) = event {
            let (end, log) = (None, VecDeque::new());
            rows.rows.push(Row { number, name: name.to_owned(), start, end, log });
            return;
        }
        let Some(row) = rows.rows.iter_mut().find(|row| row.number == number) else { return };
        match event {
            Event::Start(_) => {}
            Event::Output(line) | Event::Note(line) => {
                if row.log.len() == LOG {
                    row.log.pop_front();
                }
                row.log.push_back(visible(line));
            }
            Event::Cached => row.end = Some((start.elapsed(), End::Cached)),
            Event::Done => row.end = Some((start.elapsed(), End::Done)),
            Event::Failed(_) => row.end = Some((start.elapsed(), End::Failed)),
        }
    }

    /// Writes lines above the picture, below the steps that have ended.
    pub(super) fn above(&self, text: &str) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.draw(self.colour, true);
        write(text);
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported.
            let _ = thread.join();
        }
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).draw(self.colour, true);
    }
}

impl Rows {
    /// Draws the picture in place of the last one. With `settle`, it stays, and steps that have ended are not drawn
    /// again.
    fn draw(&mut self, colour: bool, settle: bool) {
        // A terminal that nobody has given a size has none.
        let size =
            rustix::termios::tcgetwinsize(std::io::stderr()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (width, height) = size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let height = if settle { usize::MAX } else { height.saturating_sub(1) };
        let lines = self.lines(colour, width.max(20), height);
        let up = if self.drawn > 0 { format!("\x1b[{}A\r\x1b[J", self.drawn) } else { String::new() };
        if lines.is_empty() {
            return;
        }
        write(&format!("{up}{}\n", lines.join("\n")));
        self.drawn = lines.len();
        if settle {
            let before = self.rows.len();
            self.rows.retain(|row| row.end.is_none());
            self.past += before - self.rows.len();
            self.drawn = 0;
        }
    }

    /// The lines of the picture; of steps that have ended, as many as there is room for.
    fn lines(&self, colour: bool, width: usize, height: usize) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let ended = self.past + self.rows.iter().filter(|row| row.end.is_some()).count();
        let total = self.past + self.rows.len();
        let time = self.begun.elapsed().as_secs_f64();
        let finished = if ended == total { " FINISHED" } else { "" };
        let head = cut(&format!("[+] Building {time:.1}s ({ended}/{total}){finished}"), width);
        let mut running: Vec<String> = Vec::new();
        let mut past: Vec<String> = Vec::new();
        for row in &self.rows {
            let lines = row.lines(colour, width);
            if row.end.is_some() { past.extend(lines) } else { running.extend(lines) }
        }
        running.truncate(height.saturating_sub(1));
        let room = height.saturating_sub(1 + running.len()).min(past.len());
        let mut lines = vec![head];
        lines.extend(past.split_off(past.len() - room));
        lines.extend(running);
        lines
    }
}

impl Row {
    fn lines(&self, colour: bool, width: usize) -> Vec<String> {
        let seconds = self.end.map_or_else(|| self.start.elapsed(), |(time, _)| time).as_secs_f64();
        let time = format!("{seconds:.1}s");
        let (mark, code) = match self.end {
            None => ("", ""),
            Some((_, End::Cached)) => ("CACHED ", "34"),
            Some((_, End::Done)) => ("", "34"),
            Some((_, End::Failed)) => ("ERROR ", "31"),
        };
        let room = width.saturating_sub(time.chars().count() + 1);
        let title = cut(&format!(" => {mark}{}", self.name), room);
        let line = format!("{title:room$} {time}");
        let mut lines = vec![if code.is_empty() { line } else { paint(colour, code, &line) }];
        if self.end.is_none() {
            lines.extend(self.log.iter().map(|line| cut(&format!(" => => # {line}"), width)));
        }
        lines
    }
}

fn paint(colour: bool, code: &str, text: &str) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// A line without the sequences that colour it or move the cursor; what else could is escaped.
fn visible(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' if chars.next_if_eq(&'[').is_some() => {
                // A control sequence ends at its first letter (ECMA-48, 5.4).
                for c in chars.by_ref() {
                    if ('@'..='~').contains(&c) {
                        break;
                    }
                }
            }
            '\t' => text.push_str("    "),
            c => text.push(c),
        }
    }
    plain(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: usize, end: Option<End>, log: &[&str]) -> Row {
        let end = end.map(|end| (Duration::from_millis(1250), end));
        let log = log.iter().map(|line| visible(line)).collect();
        Row { number, name: format!("[{number}/3] RUN x"), start: Instant::now(), end, log }
    }

    #[test]
    fn running_steps_are_below_those_that_have_ended() {
        let rows = vec![
            row(1, Some(End::Cached), &[]),
            row(2, None, &["\x1b[1mone\x1b[0m\ttwo", "\u{7}bell"]),
            row(3, Some(End::Failed), &["gone"]),
        ];
        let rows = Rows { begun: Instant::now(), rows, past: 1, drawn: 0 };
        let expected = [
            "[+] Building 0.0s (3/4)",
            " => CACHED [1/3] RUN x             1.2s",
            " => ERROR [3/3] RUN x              1.2s",
            " => [2/3] RUN x                    0.0s",
            " => => # one    two",
            " => => # \\u{7}bell",
        ];
        assert_eq!(rows.lines(false, 39, 10), expected);
        let short = rows.lines(false, 39, 5);
        assert_eq!(short, [&expected[..1], &expected[2..]].concat(), "the oldest are left out");
        assert_eq!(rows.lines(false, 39, 2).len(), 2);
        assert!(rows.lines(true, 39, 10)[2].starts_with("\x1b[31m => ERROR"));
    }

    #[test]
    fn nothing_is_drawn_before_the_first_step() {
        let rows = Rows { begun: Instant::now(), rows: Vec::new(), past: 0, drawn: 0 };
        assert!(rows.lines(false, 80, 24).is_empty());
    }
}
