//! The words by which a container was created, by option.

use std::collections::BTreeMap;

use image_tool::show::template::Value;

use crate::option::boolean;
use crate::option::quantity::Size;

/// The values of docker's options as they were given, by the name of the option without its hyphens (`cap-add`).
#[derive(Clone, Debug, Default)]
pub struct Words(BTreeMap<String, Vec<String>>);

impl Words {
    /// Adds the values of an option.
    pub fn insert(&mut self, option: &str, values: Vec<String>) {
        self.0.insert(option.to_owned(), values);
    }

    /// All values of an option, in their order.
    #[must_use]
    pub fn all(&self, option: &str) -> &[String] {
        self.0.get(option).map(Vec::as_slice).unwrap_or_default()
    }

    /// The last value of an option; empty if it was not given.
    #[must_use]
    pub fn last(&self, option: &str) -> &str {
        self.all(option).last().map(String::as_str).unwrap_or_default()
    }

    /// Whether a switch is on.
    #[must_use]
    pub fn is(&self, option: &str) -> bool {
        self.all(option).last().is_some_and(|text| boolean::parse(text).unwrap_or(true))
    }

    /// All values as a list; nil if there are none.
    #[must_use]
    pub fn list(&self, option: &str) -> Value {
        match self.all(option) {
            [] => Value::List(None),
            all => Value::list(all),
        }
    }

    /// All values as a list, empty if there are none.
    #[must_use]
    pub fn list_or_empty(&self, option: &str) -> Value {
        Value::list(self.all(option))
    }

    /// A number of bytes; 0 if it was not given.
    #[must_use]
    pub fn bytes(&self, option: &str) -> i64 {
        self.last(option).parse::<Size>().map_or_else(|_| self.number(option), Size::bytes)
    }

    /// A number; 0 if it was not given.
    #[must_use]
    pub fn number(&self, option: &str) -> i64 {
        self.last(option).parse().unwrap_or_default()
    }

    /// Words of the form `KEY=VALUE` as a map.
    #[must_use]
    pub fn map(&self, option: &str) -> BTreeMap<String, String> {
        let pair = |text: &String| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            (key.to_owned(), value.to_owned())
        };
        self.all(option).iter().map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_switches_have_values() {
        let mut words = Words::default();
        words.insert("memory", vec!["1g".into(), "64m".into()]);
        words.insert("privileged", vec!["false".into()]);
        words.insert("tty", vec!["true".into()]);
        words.insert("sysctl", vec!["a.b=1".into(), "c=".into()]);
        assert_eq!((words.bytes("memory"), words.bytes("memory-swap")), (64 << 20, 0));
        assert!(words.is("tty") && !words.is("privileged") && !words.is("init"));
        assert_eq!(words.map("sysctl")["a.b"], "1");
    }
}
