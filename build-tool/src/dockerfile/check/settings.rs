//! The settings of the lint: `# check=skip=Rule,Rule;error=true`.

use std::collections::BTreeSet;

use crate::dockerfile::lex::directive;
use crate::dockerfile::{Dockerfile, Problem};

/// Rules that are off unless `experimental=` names them.
const EXPERIMENTAL: [&str; 1] = ["InvalidDefinitionDescription"];

/// Which rules are checked, and whether a finding is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    skip: BTreeSet<String>,
    experimental: BTreeSet<String>,
    /// Whether a finding makes the build fail.
    pub error: bool,
}

impl Settings {
    /// The settings of a file; `given` is the value of the build argument that replaces them.
    pub fn of(file: &Dockerfile, given: Option<&str>) -> Result<Self, Problem> {
        Self::parse(given.or(file.directives.check.as_deref()).unwrap_or_default())
    }

    /// The settings in the comments above an instruction. A comment that cannot be read is just a comment.
    pub(super) fn of_comments(comments: &[String]) -> Self {
        let check = |comment: &String| {
            let line = format!("# {comment}");
            let (key, value) = directive(&line)?;
            let value = value.split_whitespace().next()?;
            key.eq_ignore_ascii_case("check").then(|| Self::parse(value).unwrap_or_default())
        };
        comments.iter().find_map(check).unwrap_or_default()
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let mut settings = Self::default();
        let bad = |reason| Problem::CheckOption(text.to_owned(), reason);
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| bad("a setting lacks its ="))?;
            let names = || value.split(',').map(|rule| rule.trim().to_lowercase());
            match key.trim() {
                "skip" => settings.skip.extend(names()),
                "experimental" => settings.experimental.extend(names()),
                "error" => {
                    settings.error = match value.trim() {
                        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                        _ => return Err(bad("error is true or false")),
                    }
                }
                _ => return Err(bad("unknown setting")),
            }
        }
        Ok(settings)
    }

    pub(super) fn skips(&self, rule: &str) -> bool {
        self.skip.contains("all") || self.skip.contains(&rule.to_lowercase())
    }

    /// Whether findings of the rule are wanted.
    pub(super) fn reports(&self, rule: &str) -> bool {
        if EXPERIMENTAL.contains(&rule) {
            return self.experimental.contains("all") || self.experimental.contains(&rule.to_lowercase());
        }
        !self.skips(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_refused() {
        for (text, expected) in [
            ("skip=A, B;error=true", None),
            ("error=1;experimental=all", None),
            ("", None),
            ("skip", Some("a setting lacks its =")),
            ("error=maybe", Some("error is true or false")),
            ("skipp=A", Some("unknown setting")),
        ] {
            let found = Settings::parse(text).err().map(|problem| problem.to_string());
            let expected = expected.map(|reason| {
                format!("# check={text}: {reason} (expected skip=RULE,…, experimental=RULE,… and error=true, separated by ;)")
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}
