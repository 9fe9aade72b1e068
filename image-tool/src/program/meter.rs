//! A line on the terminal that says how far a long work is, and goes away with it.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::show::human::plain;

/// What is done sooner needs no line.
const PATIENCE: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(100);
/// Goes to the start of the line and clears it (ECMA-48).
const CLEAR: &str = "\r\x1b[K";

/// The line, until it is dropped.
#[derive(Debug)]
pub struct Meter(Option<(Sender<()>, JoinHandle<()>)>);

impl Meter {
    /// Shows what `text` says, a few times a second, if standard error is a terminal.
    pub fn start(text: impl Fn() -> String + Send + 'static) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let (done, stopped) = channel();
        let show = move || {
            let (mut wait, mut is_shown) = (PATIENCE, false);
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                // If the terminal is gone, the work goes on.
                let _ = write!(io::stderr(), "{CLEAR}{}", plain(&text()));
                (wait, is_shown) = (STEP, true);
            }
            if is_shown {
                let _ = write!(io::stderr(), "{CLEAR}");
            }
        };
        // Without a thread there is no line.
        Self(std::thread::Builder::new().name("meter".into()).spawn(show).ok().map(|thread| (done, thread)))
    }

    /// Shows how much of layers has been read.
    #[must_use]
    pub fn of_layers(progress: impl Fn() -> (u64, u64) + Send + 'static) -> Self {
        Self::start(move || {
            let (bytes, entries) = progress();
            format!("reading layers: {}, {entries} entries", crate::show::human::size(bytes))
        })
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.0.take() {
            drop(done);
            // It panics only because of a bug, and has printed a message.
            let _ = thread.join();
        }
    }
}
