//! The keys that detach from a container (docker's `--detach-keys`).

use anyhow::{Context, Result};

/// A sequence of keys, and how many of it have been typed.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    sequence: Vec<u8>,
    typed: usize,
}

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// The bytes that are for the container.
    pub(crate) bytes: Vec<u8>,
    /// Whether the sequence is complete.
    pub(crate) detaches: bool,
}

impl Keys {
    /// Parses `ctrl-p,ctrl-q`, or single characters, into the bytes that a terminal sends.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let sequence: Result<Vec<u8>> =
            text.split(',').filter(|key| !key.is_empty()).map(|key| byte(text, key)).collect();
        Ok(Self { sequence: sequence?, typed: 0 })
    }

    /// Takes what was typed. The first keys of the sequence are held back until another key follows: as in docker, the container sees none
    /// of a sequence that is complete.
    pub(crate) fn filter(&mut self, bytes: &[u8]) -> Typed {
        let mut passed = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if self.sequence.get(self.typed) != Some(byte) {
                passed.extend_from_slice(&self.sequence[..self.typed]);
                self.typed = 0;
            }
            if self.sequence.get(self.typed) != Some(byte) {
                passed.push(*byte);
                continue;
            }
            self.typed += 1;
            if self.typed == self.sequence.len() {
                return Typed { bytes: passed, detaches: true };
            }
        }
        Typed { bytes: passed, detaches: false }
    }
}

/// The byte that a terminal sends for a key.
fn byte(text: &str, key: &str) -> Result<u8> {
    let control = |name: &str| match name.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        b"@" => Some(0),
        b"[" => Some(27),
        b"\\" => Some(28),
        b"]" => Some(29),
        b"^" => Some(30),
        b"_" => Some(31),
        _ => None,
    };
    match (key.strip_prefix("ctrl-"), key.as_bytes()) {
        (Some(name), _) => control(&name.to_ascii_lowercase()),
        (None, [byte]) => Some(*byte),
        _ => None,
    }
    .with_context(|| {
        format!("--detach-keys {text}: {key:?} is not a valid key (use a character, or ctrl- and a letter)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_dockers() {
        assert_eq!(Keys::parse("ctrl-p,ctrl-q").unwrap().sequence, [16, 17]);
        assert_eq!(Keys::parse("ctrl-@,a").unwrap().sequence, [0, b'a']);
        assert!(Keys::parse("ctrl-pp").is_err());
    }

    #[test]
    fn the_container_sees_what_does_not_detach() {
        let pass = |bytes: &[u8]| Typed { bytes: bytes.to_vec(), detaches: false };
        let left = |bytes: &[u8]| Typed { bytes: bytes.to_vec(), detaches: true };
        let mut keys = Keys::parse("ctrl-p,ctrl-q").unwrap();
        assert_eq!(keys.filter(b"ab"), pass(b"ab"));
        assert_eq!(keys.filter(&[16, b'x', 17]), pass(&[16, b'x', 17]), "not in a row");
        assert_eq!(keys.filter(&[b'a', 16]), pass(b"a"), "the first is held back");
        assert_eq!(keys.filter(&[16]), pass(&[16]), "the first again");
        assert_eq!(keys.filter(&[17, b'z']), left(b""));
        let mut none = Keys::parse("").unwrap();
        assert_eq!(none.filter(b"abc"), pass(b"abc"));
    }
}
