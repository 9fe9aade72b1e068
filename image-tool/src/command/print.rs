//! Standard output and standard error.

use anyhow::{Context, Result};
use image_tool::program::pipe;
pub(super) use image_tool::program::say;

/// Writes to standard output.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<()> {
    pipe::print_bytes(bytes).context("standard output")
}

/// Writes one line to standard output.
pub(super) fn print_line(line: &str) -> Result<()> {
    pipe::print_line(line).context("standard output")
}
