//! Standard output, whose reader may close it before everything is written.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};

/// The reader of standard output closed it. That is no failure: it has read all it wanted (`run-tool logs web | head`).
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct StdoutClosed;

/// Writes to standard output; `StdoutClosed` if its reader has closed it.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(StdoutClosed.into()),
        result => result.context("standard output"),
    }
}
