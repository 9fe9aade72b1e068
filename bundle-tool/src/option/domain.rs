//! Search domains (`--dns-search`), by docker's grammar.

use std::str::FromStr;

/// Text that is not a domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid domain (such as example.com, or . for none)")]
pub struct Error(String);

/// A search domain. `.` means none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(String);

impl Domain {
    /// The domain as text, without a dot at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Domain {
    type Err = Error;

    /// Labels of letters, digits and `-`, separated by dots; blanks around them are cut off. At least one letter is needed.
    fn from_str(text: &str) -> Result<Self, Error> {
        let trimmed = text.trim();
        if trimmed == "." {
            return Ok(Self(trimmed.into()));
        }
        let name = trimmed.strip_suffix('.').unwrap_or(trimmed);
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let label = |label: &str| {
            let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            inner && edge(label.bytes().next()) && edge(label.bytes().last())
        };
        let good = name.len() < 255 && name.contains(|c: char| c.is_ascii_alphabetic()) && name.split('.').all(label);
        if good { Ok(Self(name.into())) } else { Err(Error(text.into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_read_as_docker_reads_them() {
        for (text, expected) in
            [("example.com", "example.com"), (" a.b. ", "a.b"), (".", "."), ("1.a", "1.a"), ("a-b", "a-b")]
        {
            assert_eq!(text.parse::<Domain>().unwrap().as_str(), expected, "{text}");
        }
        for text in ["", "a b", "-a", "a-", "a..b", "1.2", "a_b", "a\nnameserver 1.2.3.4", &"a".repeat(255)] {
            assert!(text.parse::<Domain>().is_err(), "{text}");
        }
    }
}
