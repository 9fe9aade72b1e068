//! Standard output: what goes there, and that its reader may close it before everything is written.
//!
//! Only what a container itself prints (`attach`, `logs`, and the streams that it inherits) does not pass through here: as with docker
//! and runc it is the container that has the terminal, and a full-screen program must be able to drive it.

use std::io::{ErrorKind, IsTerminal as _, Write};

use anyhow::{Context, Result};

use crate::kernel::plain;

/// The reader of standard output closed it. That is no failure: it has read all it wanted (`run-tool logs web | head`).
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct StdoutClosed;

/// Writes lines to standard output; `StdoutClosed` if its reader has closed it. On a terminal, all is escaped that it would obey.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let text = if stdout.is_terminal() { plain::lines(text) } else { text.to_owned() };
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        result => result.context("standard output"),
    }
}

/// Writes JSON documents to standard output, escaped as JSON has it, so that they can be copied from a terminal.
pub(super) fn print_json(text: &str) -> Result<()> {
    print(&plain::json(text))
}
