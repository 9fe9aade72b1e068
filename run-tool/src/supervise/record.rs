//! Records of a container's output, as the log drivers store them and `logs` prints them.

use std::collections::BTreeMap;

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
    /// The text of the line, with its newline.
    pub(crate) log: String,
    /// `stdout` or `stderr`; empty in a plain log.
    #[serde(default)]
    pub(crate) stream: String,
    /// The time at which it was written (RFC 3339); empty in a plain log.
    #[serde(default)]
    pub(crate) time: String,
    /// What is stored beside it.
    #[serde(default)]
    pub(crate) attrs: BTreeMap<String, String>,
}

/// The size of the pieces in which longer lines are stored, as in docker.
pub(super) const PIECE: usize = 16 * 1024;

/// The size of the pieces in which longer lines of a log are read. A container that never ends a line must not fill the reader's
/// memory. Records of run-tool are never that long: a byte of a piece takes six bytes of JSON at most.
pub(super) const LINE: usize = 8 * PIECE;

/// The length of a text without an incomplete UTF-8 character at its end.
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
