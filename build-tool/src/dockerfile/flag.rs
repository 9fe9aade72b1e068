//! Flags of instructions: `--name=value` after the keyword.

use image_tool::edit::span::Span;

use super::near::near;
use super::problem::Problem;

/// The flags of a line.
pub(super) struct Flags<'a> {
    pub(super) keyword: &'static str,
    pub(super) given: &'a [String],
}

/// The flags that each instruction has.
const FLAGS: [(&str, &[&str]); 5] = [
    ("ADD", &["chown", "chmod", "link", "keep-git-dir", "checksum", "unpack", "exclude"]),
    ("COPY", &["from", "chown", "chmod", "link", "parents", "exclude"]),
    ("FROM", &["platform"]),
    ("HEALTHCHECK", &["interval", "timeout", "start-period", "start-interval", "retries"]),
    ("RUN", &["mount", "network", "security", "device"]),
];

impl Flags<'_> {
    fn values(&self, flag: &'static str) -> impl Iterator<Item = Option<&str>> {
        self.given.iter().filter_map(move |given| {
            let given = given.strip_prefix("--")?;
            match given.split_once('=') {
                Some((name, value)) => (name == flag).then_some(Some(value)),
                None => (given == flag).then_some(None),
            }
        })
    }

    /// A problem with a flag's value.
    pub(super) fn bad(&self, flag: &'static str, reason: impl Into<String>) -> Problem {
        Problem::BadFlag { instruction: self.keyword, flag, reason: reason.into() }
    }

    /// The values of a flag that may be repeated.
    pub(super) fn strings(&self, flag: &'static str) -> Result<Vec<String>, Problem> {
        self.values(flag).map(|value| Ok(value.ok_or_else(|| self.bad(flag, "missing =value"))?.to_owned())).collect()
    }

    /// The value of a flag that may be given once.
    pub(super) fn string(&self, flag: &'static str) -> Result<Option<String>, Problem> {
        let mut values = self.strings(flag)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Problem::RepeatedFlag(self.keyword, flag)),
        }
    }

    /// The value of a flag that is true or false.
    pub(super) fn boolean(&self, flag: &'static str) -> Result<Option<bool>, Problem> {
        let mut values = self.values(flag);
        let value = match values.next() {
            None => return Ok(None),
            Some(None | Some("true")) => true,
            Some(Some("false")) => false,
            Some(Some(other)) => return Err(self.bad(flag, format!("{other:?} is neither true nor false"))),
        };
        match values.next() {
            None => Ok(Some(value)),
            Some(_) => Err(Problem::RepeatedFlag(self.keyword, flag)),
        }
    }

    /// The value of a flag that is a duration, in nanoseconds; 0 if it is not given.
    pub(super) fn duration(&self, flag: &'static str) -> Result<u64, Problem> {
        let Some(value) = self.string(flag)? else { return Ok(0) };
        match value.parse().map(Span::nanoseconds) {
            Ok(time @ 1..1_000_000) => Err(self.bad(flag, format!("{time}ns is less than 1ms"))),
            Ok(time) => Ok(time),
            Err(error) => Err(self.bad(flag, error.to_string())),
        }
    }

    /// Refuses flags that the instruction does not have.
    pub(super) fn finish(&self) -> Result<(), Problem> {
        let known = FLAGS.iter().find(|(keyword, _)| *keyword == self.keyword).map_or(&[][..], |(_, known)| known);
        for given in self.given {
            let name = given.trim_start_matches('-').split('=').next().unwrap_or_default();
            if !known.contains(&name) {
                let near = near(name, known.iter().copied());
                return Err(Problem::UnknownFlag { instruction: self.keyword, flag: name.to_owned(), near });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the README's table: an instruction or a flag, and the names of tests.
    fn table() -> Vec<(String, Vec<String>)> {
        let page = include_str!("../../README.md");
        let (_, section) = page.split_once("\n## Instructions\n").expect("the README has the section");
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| {
            let (what, tests) = row.split_once("` | ").expect("a row has two cells");
            let tests = tests.trim_end_matches([' ', '|']).split(", ").map(|test| test.trim_matches('`').to_owned());
            (what.to_owned(), tests.collect())
        })
        .collect()
    }

    #[test]
    fn every_flag_is_in_the_readme_with_a_test() {
        let table = table();
        let rows: Vec<&str> = table.iter().map(|(what, _)| what.as_str()).collect();
        let keywords = crate::dockerfile::instruction::KEYWORDS.map(str::to_owned);
        let flags =
            FLAGS.iter().flat_map(|(keyword, flags)| flags.iter().map(move |flag| format!("{keyword} --{flag}")));
        let mut expected: Vec<String> = keywords.into_iter().chain(flags).collect();
        expected.sort();
        assert_eq!(rows, expected);
    }

    #[test]
    fn the_tests_in_the_readme_exist() {
        let crate_folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = ["src", "tests"].into_iter().flat_map(|folder| walkdir::WalkDir::new(crate_folder.join(folder)));
        let files = files.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "rs"));
        let sources: String = files.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect();
        for (what, tests) in table() {
            assert!(!tests.is_empty(), "{what}");
            for test in tests {
                assert!(sources.contains(&format!("fn {test}() {{")), "{what}: {test}");
            }
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("1m30s", Some(90_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("100ms", Some(100_000_000)),
            ("0", Some(0)),
            ("1us", None),
            ("5", None),
            ("", None),
            ("x", None),
            ("1d", None),
        ] {
            let given = [format!("--interval={text}")];
            let flags = Flags { keyword: "HEALTHCHECK", given: &given };
            assert_eq!(flags.duration("interval").ok(), expected, "{text}");
        }
    }
}
