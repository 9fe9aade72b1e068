//! docker's filters, `KEY=VALUE`.

use anyhow::Context as _;
use image_tool::program::caller::caller;
use image_tool::program::dockers;
use image_tool::show::moment;
use jiff::Timestamp;
use regex::Regex;

/// A filter: its key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) key: String,
    pub(super) value: String,
}

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            // `label!=NAME` has the exclamation mark in its key.
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_ascii_lowercase(), value: value.trim().to_owned() })
            }
            _ => Err("bad format of filter (expected name=value)".into()),
        }
    }
}

/// All filters of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filters<'a>(&'a [Filter]);

impl<'a> Filters<'a> {
    /// Refuses filters with other keys than these.
    pub(super) fn of(filters: &'a [Filter], known: &[&str]) -> anyhow::Result<Self> {
        match filters.iter().find(|filter| !known.contains(&filter.key.as_str())) {
            Some(filter) => Err(refused(&filter.key, &format!("expected {}", known.join(", ")))),
            None => Ok(Self(filters)),
        }
    }

    /// The values of a key.
    pub(super) fn values(self, key: &str) -> impl Iterator<Item = &'a str> + Clone {
        let key = key.to_owned();
        self.0.iter().filter(move |filter| filter.key == key).map(|filter| filter.value.as_str())
    }

    /// Whether there is no filter with this key, or the test holds for the value of one.
    pub(super) fn any(self, key: &str, test: impl Fn(&str) -> bool) -> bool {
        let mut values = self.values(key).peekable();
        values.peek().is_none() || values.any(test)
    }

    /// Whether the labels have all that is asked for, as `NAME` or `NAME=VALUE`, and none that `label!` names.
    pub(super) fn labels(self, labels: &std::collections::BTreeMap<String, String>) -> bool {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|own| own == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").all(has) && !self.values("label!").any(has)
    }

    /// The time before which a thing must have been made to be removed; `None` without the filter.
    pub(super) fn until(self) -> anyhow::Result<Option<Timestamp>> {
        let mut values = self.values("until");
        let first = values.next();
        if values.next().is_some() {
            anyhow::bail!("more than one until filter specified");
        }
        first.map(|text| moment::parse(text, Timestamp::now())).transpose().context("until")
    }
}

/// The error for a filter, or a value of one, that there is not: in docker's words if it was called, else with what is expected.
pub(super) fn refused(filter: &str, expected: &str) -> anyhow::Error {
    match caller() {
        Some(_) => anyhow::anyhow!(dockers::daemon(&dockers::invalid_filter(filter))),
        None => anyhow::anyhow!("invalid filter {filter} ({expected})"),
    }
}

/// docker's match of a filter on a name: a regular expression that fits a part of it, or the name itself.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let (word, at_begin) = pattern.strip_prefix('^').map_or((pattern, false), |rest| (rest, true));
    let (word, at_end) = word.strip_suffix('$').map_or((word, false), |rest| (rest, true));
    // Most are plain words. To compile an expression for each row would cost more than the row.
    if regex::escape(word) != word {
        return pattern == text || Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text));
    }
    match (at_begin, at_end) {
        _ if pattern == text => true,
        (true, true) => text == word,
        (true, false) => text.starts_with(word),
        (false, true) => text.ends_with(word),
        (false, false) => text.contains(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_key_are_alternatives_but_labels_are_not() {
        let filters: Vec<Filter> =
            ["name=a", "name=b", "label=x", "label=y=1"].map(|text| text.parse().unwrap()).to_vec();
        let all = Filters::of(&filters, &["name", "label"]).unwrap();
        assert!(all.any("name", |value| value == "b") && !all.any("name", |value| value == "c"));
        assert!(all.any("id", |_| false));
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert!(all.labels(&labels(&[("x", "7"), ("y", "1")])) && !all.labels(&labels(&[("x", ""), ("y", "2")])));
        assert!(
            Filters::of(&filters, &["name"]).is_err()
                && "bogus".parse::<Filter>().is_err()
                && "=x".parse::<Filter>().is_err()
        );
    }

    #[test]
    fn a_name_fits_a_regular_expression_in_part() {
        for (pattern, text, expected) in [
            ("eb", "web", true),
            ("^eb", "web", false),
            ("^we", "web", true),
            ("^web$", "web", true),
            ("eb$", "web1", false),
            ("^/?web\\.[0-9]+$", "/web.12", true),
            ("^.?(app|web)\\.1$", "web.1", true),
            ("^(app|web)$", "web.1", false),
            ("a[b", "a[b", true),
            ("a[b", "xa[b", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_plain_word_fits_as_its_expression_does() {
        for word in ["", "web", "eb", "we", "wb", "weba", "my-web", "wéb"] {
            for pattern in [word.to_owned(), format!("^{word}"), format!("{word}$"), format!("^{word}$")] {
                let expression = Regex::new(&pattern).unwrap();
                for text in ["", "web", "web1", "aweb", "my-web", "wéb"] {
                    assert_eq!(fits(&pattern, text), expression.is_match(text), "{pattern} {text}");
                }
            }
        }
    }
}
