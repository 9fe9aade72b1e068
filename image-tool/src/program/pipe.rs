//! One line in, one line out: what joins the tools in a shell.
//!
//! Standard output is data and nothing else. A closed standard output ends a tool quietly, so it is an error type of its
//! own and not an `ErrorKind` that a broken socket could have too.

use std::io::{self, BufRead, IsTerminal as _, Write};
use std::os::fd::AsFd;

use anyhow::Context as _;

use crate::show::human;

/// The reader of our standard output has gone.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub struct StdoutClosed;

/// Why standard input does not name what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There was nothing: the program at the head of the pipeline failed.
    #[error("standard input is empty (the program before this one in the pipe printed nothing)")]
    Empty,
    /// There is more than one line.
    #[error("standard input holds more than one line (pipe one at a time, as xargs -n1 does)")]
    Several,
    /// The line is longer than any name.
    #[error("standard input's line is longer than {LIMIT} bytes")]
    TooLong,
    /// The line is not UTF-8.
    #[error("standard input's line is not UTF-8")]
    NotText,
    /// Reading failed.
    #[error("read standard input")]
    Read(#[source] io::Error),
}

const LIMIT: usize = 8192;

/// Reads the first line of `descriptor` byte by byte, so that all behind it is left for whoever inherits the descriptor.
///
/// # Errors
/// [`Error`], but never [`Error::Several`].
pub fn first_line(descriptor: impl AsFd) -> Result<String, Error> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match rustix::io::read(&descriptor, &mut byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() == LIMIT => return Err(Error::TooLong),
            Ok(_) => line.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::Read(error.into())),
        }
    }
    text(line)
}

/// Reads all of `reader`, which must be exactly one line.
///
/// # Errors
/// [`Error`].
pub fn only_line(reader: impl BufRead) -> Result<String, Error> {
    let mut lines = lines(reader);
    let first = lines.next().ok_or(Error::Empty)??;
    match lines.next() {
        None => Ok(first),
        Some(_) => Err(Error::Several),
    }
}

/// The lines of `reader` that are not empty.
pub fn lines(mut reader: impl BufRead) -> impl Iterator<Item = Result<String, Error>> {
    std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            match io::Read::take(&mut reader, LIMIT as u64 + 1).read_until(b'\n', &mut line) {
                Err(error) => return Some(Err(Error::Read(error))),
                Ok(0) => return None,
                Ok(_) if line == b"\n" => {}
                Ok(_) if line.last() != Some(&b'\n') && line.len() > LIMIT => return Some(Err(Error::TooLong)),
                Ok(_) => {
                    line.pop_if(|last| *last == b'\n');
                    return Some(text(line));
                }
            }
        }
    })
}

/// Prints one line on standard output and makes sure that it is gone. As [`print()`], but on a terminal it stays one line.
///
/// # Errors
/// As [`print()`].
pub fn print_line(line: &str) -> anyhow::Result<()> {
    let line = if io::stdout().is_terminal() { human::plain(line) } else { line.to_owned() };
    print_exactly(line + "\n")
}

/// Prints text on standard output and makes sure that it is gone.
///
/// On a terminal, what the terminal would obey is escaped ([`human::lines`]), since most of what the tools print comes from an image,
/// a registry or a file. Whoever reads a pipe or a file gets the text byte for byte.
///
/// # Errors
/// If it cannot be written. If nobody reads it, the error is [`StdoutClosed`]; see [`is_stdout_closed`].
pub fn print(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    if io::stdout().is_terminal() {
        return print_exactly(human::lines(&String::from_utf8_lossy(text.as_ref())));
    }
    print_exactly(text)
}

/// As [`print()`], byte for byte on a terminal too: for text in which the caller has escaped all that is not the user's own, as
/// [`Format::lines`](crate::show::format::Format::lines) does.
///
/// # Errors
/// As [`print()`].
pub fn print_exactly(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()).map_err(stdout_error).context("standard output")
}

/// Marks an error of standard output: a broken pipe becomes [`StdoutClosed`]. For errors of standard output only.
#[must_use]
pub fn stdout_error(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe { io::Error::other(StdoutClosed) } else { error }
}

/// Whether an error chain is the closed standard output, for `main` to end quietly.
#[must_use]
pub fn is_stdout_closed(mut error: &(dyn std::error::Error + 'static)) -> bool {
    loop {
        if error.is::<StdoutClosed>() {
            return true;
        }
        // An io::Error made from another error does not show that error in source(), only what lies behind it.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && inner.is::<StdoutClosed>()
        {
            return true;
        }
        match error.source() {
            Some(source) => error = source,
            None => return false,
        }
    }
}

fn text(line: Vec<u8>) -> Result<String, Error> {
    if line.is_empty() {
        return Err(Error::Empty);
    }
    String::from_utf8(line).map_err(|_| Error::NotText)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_first_line_leaves_the_rest_to_the_next_reader() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"images:a\nthe container's input").unwrap();
        drop(writer);
        assert_eq!(first_line(&reader).unwrap(), "images:a");
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "the container's input");
    }

    #[test]
    fn a_command_for_one_image_wants_exactly_one_line() {
        assert_eq!(only_line(&b"images:a\n"[..]).unwrap(), "images:a");
        assert_eq!(only_line(&b"images:a"[..]).unwrap(), "images:a");
        assert!(matches!(only_line(&b""[..]), Err(Error::Empty)));
        assert!(matches!(only_line(&b"a\nb\n"[..]), Err(Error::Several)));
        assert!(matches!(only_line(&b"\xff\n"[..]), Err(Error::NotText)));
        assert!(matches!(only_line(&vec![b'a'; 9000][..]), Err(Error::TooLong)));
    }

    #[test]
    fn a_broken_pipe_counts_as_closed_output_only_where_it_was_marked() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(!is_stdout_closed(&broken()));
        assert!(is_stdout_closed(&stdout_error(broken())));
    }
}
