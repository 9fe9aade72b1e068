//! Flags of instructions: `--name=value` behind the keyword.

use super::near::near;
use super::problem::Problem;

/// The flags of a line; what is taken is known, what is left is a mistake.
pub(super) struct Flags<'a> {
    pub(super) keyword: &'static str,
    pub(super) given: &'a [String],
}

/// Which flags each instruction has.
const FLAGS: [(&str, &[&str]); 5] = [
    ("ADD", &["chown", "chmod", "link", "keep-git-dir", "checksum", "unpack", "exclude"]),
    ("COPY", &["from", "chown", "chmod", "link", "parents", "exclude"]),
    ("FROM", &["platform"]),
    ("HEALTHCHECK", &["interval", "timeout", "start-period", "start-interval", "retries"]),
    ("RUN", &["mount", "network", "security"]),
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

    /// A problem with one of them.
    pub(super) fn bad(&self, flag: &'static str, reason: impl Into<String>) -> Problem {
        Problem::BadFlag { instruction: self.keyword, flag, reason: reason.into() }
    }

    /// The values of one that may stand several times.
    pub(super) fn strings(&self, flag: &'static str) -> Result<Vec<String>, Problem> {
        self.values(flag).map(|value| Ok(value.ok_or_else(|| self.bad(flag, "lacks its =value"))?.to_owned())).collect()
    }

    /// The value of one that may stand once.
    pub(super) fn string(&self, flag: &'static str) -> Result<Option<String>, Problem> {
        let mut values = self.strings(flag)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Problem::RepeatedFlag(self.keyword, flag)),
        }
    }

    /// The value of one that is true or false.
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

    /// The value of a duration, in nanoseconds; 0 if it is not given.
    pub(super) fn duration(&self, flag: &'static str) -> Result<u64, Problem> {
        let Some(value) = self.string(flag)? else { return Ok(0) };
        match nanoseconds(&value) {
            Some(0) => Ok(0),
            Some(time) if time < 1_000_000 => Err(self.bad(flag, "is less than 1ms")),
            Some(time) => Ok(time),
            None => Err(self.bad(flag, format!("{value:?} is no duration (30s, 1m30s, 100ms)"))),
        }
    }

    /// Refuse what the instruction does not have.
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

/// A duration in Go's notation.
fn nanoseconds(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |end| digits + end);
        total += number
            * match &rest[digits..unit_end] {
                "ns" => 1f64,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (!text.is_empty() && total < i64::MAX as f64).then_some(total.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("1m30s", Some(90_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("100ms", Some(100_000_000)),
            ("0", Some(0)),
            ("5", None),
            ("", None),
            ("x", None),
            ("1d", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }
}
