//! The key sequence that detaches from a container (`--detach-keys`).

use std::str::FromStr;

/// Text that is not a sequence of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a key sequence (characters and ctrl-X, separated by commas; X is a letter or one of @[\\]^_)")]
pub struct Error(String);

/// A key sequence; empty for a runtime's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(String);

impl Keys {
    /// The sequence as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Keys {
    type Err = Error;

    /// Reads a sequence as docker does: each key is one character, or `ctrl-` and what a terminal has a control character for.
    fn from_str(text: &str) -> Result<Self, Error> {
        let key = |key: &str| match key.strip_prefix("ctrl-") {
            Some(rest) => {
                rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_lowercase() || b"@[\\]^_".contains(&byte))
            }
            None => key.len() == 1 && key.is_ascii(),
        };
        // Without keys, a runtime's default is meant.
        if text.is_empty() || text.split(',').all(key) { Ok(Self(text.into())) } else { Err(Error(text.into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        for text in ["", "a", "ctrl-x,x", "ctrl-p,ctrl-q", "ctrl-@", "ctrl-[", "ctrl-_", "~,."] {
            assert_eq!(text.parse::<Keys>().unwrap().as_str(), text, "{text}");
        }
        for text in ["ctrl-?", "ctrl-", "ctrl-ab", "ctrl-A", "ab", ",", "a,", "é"] {
            assert!(text.parse::<Keys>().is_err(), "{text}");
        }
    }
}
