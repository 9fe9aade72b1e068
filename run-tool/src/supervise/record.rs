//! A piece of a container's output: which stream it came from, and how it is told and stored.

use serde::Deserialize;

/// One of the two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, or the terminal.
    Out,
    /// Standard error.
    Err,
}

/// A record of a log.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    /// The line, with its end.
    pub(crate) log: String,
    /// `stdout` or `stderr`.
    #[serde(default)]
    pub(crate) stream: String,
    /// When it was written (RFC 3339).
    #[serde(default)]
    pub(crate) time: String,
}

/// A line longer than this is stored in pieces, as docker does.
pub(super) const PIECE: usize = 16 * 1024;

/// A line longer than this is no record of ours, where each byte of a piece takes six at most, and is shown in pieces: a container
/// that never ends a line must not fill the memory of who reads its log.
pub(super) const LINE: usize = 8 * PIECE;

/// How much of some text there is before a character that is not there as a whole.
pub(super) fn whole(text: &[u8]) -> usize {
    for back in 1..=text.len().min(3) {
        let length = match text[text.len() - back] {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        return if length > back { text.len() - back } else { text.len() };
    }
    text.len()
}
