//! What goes to standard output, and what people are told on standard error.

use std::io::{self, Write};

use anyhow::{Context, Result};
use image_tool::pipe;
use image_tool::show::human;

/// Writes to standard output.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(pipe::stdout_error).context("standard output")
}

/// Writes one line to standard output.
pub(super) fn print_line(line: &str) -> Result<()> {
    pipe::print_line(line).context("standard output")
}

/// Tells people something; that nobody listens is no reason to stop.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", human::plain(text));
}
