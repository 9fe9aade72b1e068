//! Who may do what with which repositories, where not everybody may do everything.
//!
//! A line of the file names repositories by a pattern, users, and what they may do: `team/** alice,bob pull,push`. What no line allows
//! is not allowed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use thiserror::Error;

/// Why rules cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RulesError {
    /// The file cannot be read.
    #[error("{}", .path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no rule.
    #[error("{}: line {line} is not REPOSITORIES USERS RIGHTS, such as: team/** alice,bob pull,push (rights are pull, push and delete)", .path.display())]
    Line {
        /// The path.
        path: PathBuf,
        /// The number of the line.
        line: usize,
    },
}

/// Something that may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Reading a repository.
    Pull,
    /// Writing to it, and reading it.
    Push,
    /// Deleting from it.
    Delete,
}

#[derive(Debug)]
struct Rule {
    repositories: Pattern,
    users: Vec<String>,
    rights: Vec<Right>,
}

/// Everybody, also without a password.
const EVERYBODY: &str = "*";
/// Everybody who has proved to be somebody.
const USERS: &str = "@users";

/// The rules of a registry.
pub struct Rules {
    path: PathBuf,
    held: Mutex<(Option<SystemTime>, Vec<Rule>)>,
}

impl Rules {
    /// Reads a file of rules. It is read again whenever it has changed.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn read(path: &Path) -> Result<Self, RulesError> {
        let rules = read(path)?;
        Ok(Self { path: path.into(), held: Mutex::new((changed(path), rules)) })
    }

    /// Whether a user, or nobody, may do something with a repository, which may have several spellings.
    pub(super) fn allow(&self, user: Option<&str>, spellings: &[String], right: Right) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = changed(&self.path);
        if now != held.0 {
            match read(&self.path) {
                Ok(rules) => *held = (now, rules),
                // A file that is being written may be half there; what was known holds until it is whole.
                Err(error) => tracing::warn!("{error}"),
            }
        }
        held.1.iter().any(|rule| {
            let is_user = |known: &String| match known.as_str() {
                EVERYBODY => true,
                USERS => user.is_some(),
                known => user == Some(known),
            };
            let is_right = rule.rights.contains(&right) || right == Right::Pull && rule.rights.contains(&Right::Push);
            is_right && rule.users.iter().any(is_user) && spellings.iter().any(|name| rule.repositories.fits(name))
        })
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn read(path: &Path) -> Result<Vec<Rule>, RulesError> {
    let text = std::fs::read_to_string(path).map_err(|source| RulesError::Read { path: path.into(), source })?;
    let mut rules = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let rule = parse(line).ok_or_else(|| RulesError::Line { path: path.into(), line: number + 1 })?;
        rules.push(rule);
    }
    Ok(rules)
}

fn parse(line: &str) -> Option<Rule> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [repositories, users, rights] = words[..] else { return None };
    let right = |word: &str| match word {
        "pull" => Some(Right::Pull),
        "push" => Some(Right::Push),
        "delete" => Some(Right::Delete),
        _ => None,
    };
    let users: Vec<String> = users.split(',').map(str::to_owned).collect();
    if users.iter().any(String::is_empty) {
        return None;
    }
    let rights = rights.split(',').map(right).collect::<Option<Vec<_>>>()?;
    Some(Rule { repositories: Pattern::of(repositories), users, rights })
}

/// A pattern of repositories' names: `*` is any text without a slash, `**` any text.
#[derive(Debug)]
struct Pattern(Vec<Piece>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Byte(u8),
    Part,
    All,
}

impl Pattern {
    fn of(text: &str) -> Self {
        let mut pieces = Vec::new();
        for byte in text.bytes() {
            match (byte, pieces.last()) {
                (b'*', Some(Piece::Part | Piece::All)) => *pieces.last_mut().expect("there is one") = Piece::All,
                (b'*', _) => pieces.push(Piece::Part),
                (byte, _) => pieces.push(Piece::Byte(byte)),
            }
        }
        Self(pieces)
    }

    /// Whether a name is meant. For each piece, all places are known where the text before it may end: no name makes this slow.
    fn fits(&self, name: &str) -> bool {
        let name = name.as_bytes();
        let mut ends = vec![false; name.len() + 1];
        ends[0] = true;
        for piece in &self.0 {
            let mut next = vec![false; name.len() + 1];
            for at in 0..=name.len() {
                let before = at.checked_sub(1);
                next[at] = match piece {
                    Piece::Byte(byte) => before.is_some_and(|before| ends[before] && name[before] == *byte),
                    Piece::Part => ends[at] || before.is_some_and(|before| next[before] && name[before] != b'/'),
                    Piece::All => ends[at] || before.is_some_and(|before| next[before]),
                };
            }
            ends = next;
        }
        ends[name.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_a_part_of_a_name_and_two_do_not() {
        for (pattern, name, fits) in [
            ("team/app", "team/app", true),
            ("team/app", "team/app2", false),
            ("team/*", "team/app", true),
            ("team/*", "team/app/x", false),
            ("team/*", "team", false),
            ("team/**", "team/app/x", true),
            ("team/**", "teams/app", false),
            ("**", "a/b/c", true),
            ("*", "a", true),
            ("*", "a/b", false),
            ("*-*/b", "a-c/b", true),
            ("**/app", "a/b/app", true),
        ] {
            assert_eq!(Pattern::of(pattern).fits(name), fits, "{pattern} {name}");
        }
        let name = "a".repeat(255);
        assert!(!Pattern::of(&"*a".repeat(60)).fits(&(name + "/")));
    }

    #[test]
    fn what_no_line_allows_is_not_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules");
        std::fs::write(&path, "# who\n\npublic/** * pull\nteam/* alice,bob push\nteam/* bob delete\n** @users pull\n")
            .unwrap();
        let rules = Rules::read(&path).unwrap();
        let may = |user: Option<&str>, name: &str, right| rules.allow(user, &[name.to_owned()], right);
        for (user, name, right, allowed) in [
            (None, "public/a", Right::Pull, true),
            (None, "public/a", Right::Push, false),
            (None, "team/a", Right::Pull, false),
            (Some("eve"), "team/a", Right::Pull, true),
            (Some("eve"), "team/a", Right::Push, false),
            (Some("alice"), "team/a", Right::Push, true),
            (Some("alice"), "team/a", Right::Delete, false),
            (Some("bob"), "team/a", Right::Delete, true),
            (Some("@users"), "public/a", Right::Push, false),
        ] {
            assert_eq!(may(user, name, right), allowed, "{user:?} {name} {right:?}");
        }
        for line in ["team alice", "team alice read", "team , pull", "team alice pull more", "a b pull,"] {
            std::fs::write(&path, format!("** * pull\n{line}\n")).unwrap();
            assert!(matches!(Rules::read(&path), Err(RulesError::Line { line: 2, .. })), "{line}");
        }
    }
}
