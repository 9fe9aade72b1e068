//! Wildcards: one matcher for the three pattern languages of a build.
//!
//! - [`Pattern::path`]: Go's `filepath.Match`, for COPY's sources: `*` and `?` stop at `/`, `[a-z]`, `[^a-z]`, `\`
//!   escapes.
//! - [`Pattern::ignore`]: the same with `**`, for `.dockerignore` and `--exclude`. It is not gitignore's language.
//! - [`Pattern::shell`]: `*` and `?` match any character, for `${v#p}` and the like.
//!
//! Matching advances a set of positions in the pattern over the text. It takes time proportional to the product of both
//! lengths, whatever the pattern: a hostile `*a*a*a*a` does no harm.

use std::fmt;

/// The parts of a path or pattern that Go's `filepath.Clean` leaves: without `.`, `..` and doubled slashes.
#[must_use]
pub fn cleaned(path: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if path.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    parts
}

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// One character; `/` only if `slash`.
    One {
        slash: bool,
    },
    /// Any number of characters; `/` only if `slash`.
    Many {
        slash: bool,
    },
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `**/`: nothing, or what the next token, [`Token::Folders`], matches.
    MaybeFolders,
    /// Any text that ends in `/`.
    Folders,
}

/// A pattern that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern {
    /// The pattern as written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad pattern {:?}: {}", self.pattern, self.reason)
    }
}

impl std::error::Error for BadPattern {}

impl Pattern {
    /// Parses a pattern of COPY's sources.
    pub fn path(pattern: &str) -> Result<Self, BadPattern> {
        Self::parse(pattern, false)
    }

    /// Parses a pattern of `.dockerignore`, already cleaned and without its `!`.
    pub fn ignore(pattern: &str) -> Result<Self, BadPattern> {
        Self::parse(pattern, true)
    }

    fn parse(pattern: &str, double_star: bool) -> Result<Self, BadPattern> {
        let bad = |reason| BadPattern { pattern: pattern.to_owned(), reason };
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            let token = match c {
                '*' if double_star && chars.next_if_eq(&'*').is_some() => {
                    while chars.next_if_eq(&'*').is_some() {}
                    chars.next_if_eq(&'/');
                    match chars.peek() {
                        None => Token::Many { slash: true },
                        Some(_) => {
                            tokens.push(Token::MaybeFolders);
                            Token::Folders
                        }
                    }
                }
                '*' => Token::Many { slash: false },
                '?' => Token::One { slash: false },
                '[' => {
                    let negated = chars.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    let member = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next() {
                        Some('\\') => chars.next(),
                        Some('-' | ']') | None => None,
                        other => other,
                    };
                    while chars.peek() != Some(&']') || ranges.is_empty() {
                        let low = member(&mut chars).ok_or_else(|| bad("missing ]"))?;
                        let high = match chars.next_if_eq(&'-') {
                            Some(_) => member(&mut chars).ok_or_else(|| bad("a range lacks its end"))?,
                            None => low,
                        };
                        ranges.push((low, high));
                    }
                    chars.next();
                    Token::Class { negated, ranges }
                }
                '\\' => Token::Char(chars.next().ok_or_else(|| bad("it ends in \\"))?),
                c => Token::Char(c),
            };
            tokens.push(token);
        }
        Ok(Self { tokens })
    }

    /// Parses a pattern of parameter expansion.
    pub fn shell(pattern: &str) -> Result<Self, BadPattern> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Many { slash: true },
                '?' => Token::One { slash: true },
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Char(c),
                    _ => {
                        let reason = "\\ before a character that needs no escape";
                        return Err(BadPattern { pattern: pattern.to_owned(), reason });
                    }
                },
                c => Token::Char(c),
            });
        }
        Ok(Self { tokens })
    }

    /// Whether the pattern matches only itself.
    pub fn is_literal(&self) -> bool {
        self.tokens.iter().all(|token| matches!(token, Token::Char(_)))
    }

    /// The characters before the first wildcard.
    pub fn literal_prefix(&self) -> String {
        self.tokens.iter().map_while(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect()
    }

    /// Whether the pattern matches the whole of `text`.
    pub fn matches(&self, text: &str) -> bool {
        let mut states = self.start();
        for c in text.chars() {
            states = self.step(&states, c);
            if !states.iter().any(|live| *live) {
                return false;
            }
        }
        states[self.tokens.len()]
    }

    /// `text` without the shortest, or longest, prefix that matches.
    pub fn trim_prefix<'a>(&self, text: &'a str, longest: bool) -> &'a str {
        let mut states = self.start();
        let mut found = states[self.tokens.len()].then_some(0);
        for (at, c) in text.char_indices() {
            if found.is_some() && !longest {
                break;
            }
            states = self.step(&states, c);
            if states[self.tokens.len()] {
                found = Some(at + c.len_utf8());
            }
        }
        &text[found.unwrap_or(0)..]
    }

    /// `text` without the shortest, or longest, suffix that matches.
    pub fn trim_suffix<'a>(&self, text: &'a str, longest: bool) -> &'a str {
        let mut cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        if !longest {
            cuts.reverse();
        }
        match cuts.into_iter().find(|cut| self.matches(&text[*cut..])) {
            Some(cut) => &text[..cut],
            None => text,
        }
    }

    /// `text` with the first, or every, longest match replaced. As in Go, an empty match counts, unless it is at the end
    /// of the match before.
    pub fn replace(&self, text: &str, replacement: &str, all: bool) -> String {
        let mut result = String::new();
        let mut rest = text;
        let mut adjacent = false;
        loop {
            let after = self.longest(rest).map(|length| &rest[length..]);
            match after {
                Some(after) if after.len() < rest.len() || !adjacent => {
                    result.push_str(replacement);
                    if !all {
                        return result + after;
                    }
                    adjacent = after.len() < rest.len();
                    rest = after;
                    if adjacent {
                        continue;
                    }
                }
                _ => adjacent = false,
            }
            let Some(c) = rest.chars().next() else { return result };
            result.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }

    /// The length of the longest prefix of `text` that matches, perhaps 0.
    fn longest(&self, text: &str) -> Option<usize> {
        let mut states = self.start();
        let mut found = states[self.tokens.len()].then_some(0);
        for (at, c) in text.char_indices() {
            states = self.step(&states, c);
            if states[self.tokens.len()] {
                found = Some(at + c.len_utf8());
            }
        }
        found
    }

    fn start(&self) -> Vec<bool> {
        let mut states = vec![false; self.tokens.len() + 1];
        states[0] = true;
        self.skip_empty(&mut states);
        states
    }

    /// Adds the positions that are reached by tokens that match nothing.
    fn skip_empty(&self, states: &mut [bool]) {
        for (at, token) in self.tokens.iter().enumerate().filter(|(_, token)| token.may_be_empty()) {
            if states[at] {
                states[at + 1] = true;
                if *token == Token::MaybeFolders {
                    states[at + 2] = true;
                }
            }
        }
    }

    fn step(&self, states: &[bool], c: char) -> Vec<bool> {
        let mut next = vec![false; states.len()];
        for (at, token) in self.tokens.iter().enumerate() {
            if !states[at] {
                continue;
            }
            match token {
                Token::Char(expected) => next[at + 1] |= *expected == c,
                Token::One { slash } => next[at + 1] |= *slash || c != '/',
                Token::Class { negated, ranges } => {
                    let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    next[at + 1] |= inside != *negated && c != '/';
                }
                Token::Many { slash } => next[at] |= *slash || c != '/',
                Token::MaybeFolders => {}
                Token::Folders => {
                    next[at] = true;
                    next[at + 1] |= c == '/';
                }
            }
        }
        self.skip_empty(&mut next);
        next
    }
}

impl Token {
    fn may_be_empty(&self) -> bool {
        matches!(self, Token::Many { .. } | Token::MaybeFolders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn path_patterns_stop_at_slashes() {
        for (pattern, text, expected) in [
            ("*.py", "a.py", true),
            ("*.py", ".py", true),
            ("*.py", "d/a.py", false),
            ("d/*.py", "d/a.py", true),
            ("?.py", "é.py", true),
            ("?", "/", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[\\]]", "]", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("**", "a/b", false),
            ("*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(Pattern::path(pattern).unwrap().matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn ignore_patterns_know_double_stars() {
        for (pattern, text, expected) in [
            ("**", "a/b/c", true),
            ("**/*.go", "a.go", true),
            ("**/*.go", "a/b/c.go", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("**/b", "xb", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a**", "abc/d", true),
            ("**/foo/**", "x/foo/y/z", true),
            ("*.md", "docs/a.md", false),
            ("*a**b", "aab", true),
        ] {
            assert_eq!(Pattern::ignore(pattern).unwrap().matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn broken_patterns_are_refused() {
        for pattern in ["[a", "a\\", "[", "[a-", "[]"] {
            assert!(Pattern::path(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn empty_matches_are_replaced_as_in_go() {
        for (pattern, text, all, expected) in [
            ("*", "", false, "X"),
            ("*", "ab", true, "X"),
            ("", "ab", false, "Xab"),
            ("", "ab", true, "XaXbX"),
            ("", "", true, "X"),
            ("b", "abba", true, "aXXa"),
            ("b*", "abc", true, "aX"),
            ("é", "éé", true, "XX"),
        ] {
            assert_eq!(Pattern::shell(pattern).unwrap().replace(text, "X", all), expected, "{pattern} in {text}");
        }
    }

    #[test]
    fn literals_are_known() {
        assert!(Pattern::path("a\\*b").unwrap().is_literal());
        assert_eq!(Pattern::ignore("docs/api*").unwrap().literal_prefix(), "docs/api");
    }

    proptest! {
        #[test]
        fn a_text_matches_itself(text in "[a-z/.]{0,20}") {
            prop_assert!(Pattern::path(&text).unwrap().matches(&text));
            prop_assert!(Pattern::ignore(&text).unwrap().matches(&text));
        }

        #[test]
        fn never_panics(pattern in "[]*?\\[\\\\^a-c/-]{0,12}", text in "[a-c/é]{0,12}") {
            for pattern in [Pattern::path(&pattern), Pattern::ignore(&pattern), Pattern::shell(&pattern)].into_iter().flatten() {
                let _ = pattern.matches(&text);
                let _ = pattern.replace(&text, "x", true);
                let _ = (pattern.trim_prefix(&text, true), pattern.trim_suffix(&text, false));
            }
        }
    }
}
