//! `.dockerignore`: Go's patterns, `**` and exceptions, as moby's patternmatcher reads them.
//!
//! The last pattern that matches a path, or a directory above it, decides. This is not gitignore's language: a pattern
//! without `/` is anchored at the root, and `!` also applies inside excluded directories.

use std::path::Path;

use crate::dockerfile::pattern::{BadPattern, Pattern, cleaned};

/// The rules of an ignore file, or of `--exclude`.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    exception: bool,
    pattern: Pattern,
    /// Whether it is a pattern that all files match.
    everything: bool,
}

/// A line that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}")]
pub struct Error {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with its pattern.
    pub source: BadPattern,
}

impl Ignore {
    /// Parses the text of an ignore file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut ignore = Self::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            ignore.push(line).map_err(|source| Error { line: number + 1, source })?;
        }
        Ok(ignore)
    }

    /// Makes rules of the patterns of a COPY's `--exclude`.
    pub fn of_patterns<'a>(patterns: impl IntoIterator<Item = &'a String>) -> Result<Self, BadPattern> {
        let mut ignore = Self::default();
        patterns.into_iter().try_for_each(|pattern| ignore.push(pattern))?;
        Ok(ignore)
    }

    fn push(&mut self, line: &str) -> Result<(), BadPattern> {
        let line = line.trim();
        let (line, exception) = match line.strip_prefix('!') {
            Some(rest) => (rest.trim(), true),
            None => (line, false),
        };
        if line.is_empty() {
            return if exception {
                Err(BadPattern { pattern: "!".to_owned(), reason: "! without a pattern" })
            } else {
                Ok(())
            };
        }
        let cleaned = cleaned(line).join("/");
        // `.` would exclude the context itself.
        if !cleaned.is_empty() {
            let everything = ["*", "**", "**/*"].contains(&cleaned.as_str());
            self.rules.push(Rule { exception, pattern: Pattern::ignore(&cleaned)?, everything });
        }
        Ok(())
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some rule is an exception, with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.exception)
    }

    /// Whether some rule excludes all files.
    pub fn excludes_everything(&self) -> bool {
        self.rules.iter().any(|rule| rule.everything && !rule.exception)
    }

    /// Whether `path`, relative to the context, is excluded.
    pub fn excludes(&self, path: &Path) -> bool {
        let text = path.to_string_lossy();
        let mut excluded = false;
        for rule in &self.rules {
            if rule.exception == excluded && Self::matches(&rule.pattern, &text) {
                excluded = !rule.exception;
            }
        }
        excluded
    }

    fn matches(pattern: &Pattern, path: &str) -> bool {
        pattern.matches(path) || path.match_indices('/').any(|(at, _)| pattern.matches(&path[..at]))
    }

    /// Whether an exception may include something below the excluded directory `path`.
    pub fn reaches_below(&self, path: &Path) -> bool {
        let directory = format!("{}/", path.to_string_lossy());
        self.rules.iter().filter(|rule| rule.exception).any(|rule| {
            let prefix = rule.pattern.literal_prefix();
            prefix.starts_with(&directory) || directory.starts_with(&prefix)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_match_decides() {
        for (text, path, excluded) in [
            ("*.log", "a.log", true),
            ("*.log", "d/a.log", false),
            ("**/*.log", "d/a.log", true),
            ("node_modules", "node_modules/x/y.js", true),
            ("node_modules", "sub/node_modules", false),
            ("docs\n!docs/README.md", "docs/README.md", false),
            ("docs\n!docs/README.md", "docs/x", true),
            ("!docs/README.md\ndocs", "docs/README.md", true),
            ("*\n!src", "src/main.rs", false),
            ("*\n!src\nsrc/*.o", "src/x.o", true),
            ("/abs", "abs", true),
            ("./a/../b/", "b/c", true),
            ("# comment\n\n  x  ", "x", true),
            (" # not a comment", "# not a comment", true),
            (".", "x", false),
            ("a/**/z", "a/b/c/z", true),
            ("**", "anything/at/all", true),
        ] {
            assert_eq!(Ignore::parse(text).unwrap().excludes(Path::new(path)), excluded, "{text:?} on {path}");
        }
    }

    #[test]
    fn exceptions_reach_only_where_they_can() {
        let ignore = Ignore::parse("*\n!src/lib\n!doc*/x").unwrap();
        for (path, reaches) in [("src", true), ("src/lib", true), ("srcx", false), ("target", false), ("docs", true)] {
            assert_eq!(ignore.reaches_below(Path::new(path)), reaches, "{path}");
        }
        assert!(Ignore::parse("*\n!**/keep").unwrap().reaches_below(Path::new("any")));
    }

    #[test]
    fn bad_lines_are_named() {
        assert_eq!(Ignore::parse("a\n[").unwrap_err().line, 2);
        assert_eq!(Ignore::parse("!").unwrap_err().source.reason, "! without a pattern");
    }
}
