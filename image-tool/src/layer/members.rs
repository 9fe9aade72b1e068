//! The members of a gzip stream, and the padding behind the last one.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Decompresses all members of a gzip stream (RFC 1952, 2.2). Zeros may follow the last one, as tapes and programs that write
/// whole blocks leave them; gzip(1) ignores them too. Anything else behind a member is an error.
pub struct Members<R: BufRead> {
    state: State<R>,
}

enum State<R: BufRead> {
    Member(Box<GzDecoder<R>>),
    Ended(R),
    /// Only while the state changes.
    Changing,
}

impl<R: BufRead> Members<R> {
    /// Decompresses `reader`.
    pub fn new(reader: R) -> Self {
        Self { state: State::Member(Box::new(GzDecoder::new(reader))) }
    }

    /// The compressed stream.
    pub fn into_inner(self) -> R {
        match self.state {
            State::Member(decoder) => decoder.into_inner(),
            State::Ended(reader) => reader,
            State::Changing => unreachable!("a change is complete when it returns"),
        }
    }

    /// Goes on behind a member.
    fn next(&mut self) -> io::Result<()> {
        let State::Member(decoder) = std::mem::replace(&mut self.state, State::Changing) else {
            unreachable!("only a member ends");
        };
        let mut reader = decoder.into_inner();
        let (is_end, is_padded) = match skip_zeros(&mut reader) {
            Ok(found) => found,
            Err(error) => {
                self.state = State::Ended(reader);
                return Err(error);
            }
        };
        if is_padded && !is_end {
            self.state = State::Ended(reader);
            return Err(io::Error::new(io::ErrorKind::InvalidData, "data behind the padding of a gzip stream"));
        }
        self.state = if is_end { State::Ended(reader) } else { State::Member(Box::new(GzDecoder::new(reader))) };
        Ok(())
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let State::Member(decoder) = &mut self.state else { return Ok(0) };
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.next()?;
        }
    }
}

/// Skips zeros; returns whether the stream has ended, and whether there were any.
fn skip_zeros(reader: &mut impl BufRead) -> io::Result<(bool, bool)> {
    let mut is_padded = false;
    loop {
        let bytes = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if bytes.is_empty() {
            return Ok((true, is_padded));
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let is_all = zeros == bytes.len();
        reader.consume(zeros);
        is_padded |= zeros > 0;
        if !is_all {
            return Ok((false, is_padded));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_are_joined_and_padding_is_no_data() {
        let (one, two) = (gzip(b"one "), gzip(b"two"));
        for (bytes, expected) in [
            ([&one[..], &two].concat(), Some("one two")),
            ([&one[..], &two, &[0; 1000]].concat(), Some("one two")),
            ([&one[..], &[0; 3], &two].concat(), None),
            ([&one[..], b"x"].concat(), None),
            ([&one[..], &[0; 3], b"x"].concat(), None),
            (one[..one.len() - 1].to_vec(), None),
        ] {
            // However the bytes arrive.
            for size in [1, 7, 4096] {
                let mut text = String::new();
                let read = Members::new(io::BufReader::with_capacity(size, &bytes[..])).read_to_string(&mut text);
                assert_eq!(read.ok().map(|_| text.as_str()), expected, "{bytes:?} {size}");
            }
        }
    }
}
