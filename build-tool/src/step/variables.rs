//! The variables of a stage: ENV and ARG, of which the later value counts.

use crate::dockerfile::Problem;
use crate::dockerfile::expand::{self, Quoting};

/// Names and values, in the order in which the names were first set.
#[derive(Debug)]
pub(super) struct Variables {
    values: Vec<(String, String)>,
    /// The names set by ARG, for the history of RUN.
    arguments: Vec<String>,
    escape: char,
}

impl Variables {
    /// The variables of a base image. Words are expanded with the file's escape character.
    pub(super) fn of_image(env: &[String], escape: char) -> Self {
        let mut variables = Self { values: Vec::new(), arguments: Vec::new(), escape };
        for (name, value) in env.iter().filter_map(|pair| pair.split_once('=')) {
            variables.set(name, value);
        }
        variables
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Sets a variable. One that exists keeps its place.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.values.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.values.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Sets a variable by ARG, which the history of RUN shows.
    pub(super) fn set_argument(&mut self, name: &str, value: &str) {
        self.set(name, value);
        if !self.arguments.iter().any(|argument| argument == name) {
            self.arguments.push(name.to_owned());
        }
    }

    /// All variables, as `NAME=VALUE`.
    pub(super) fn pairs(&self) -> Vec<String> {
        self.values.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// The variables set by ARG, as `NAME=VALUE`.
    pub(super) fn arguments(&self) -> Vec<String> {
        self.arguments.iter().map(|name| format!("{name}={}", self.get(name).unwrap_or_default())).collect()
    }

    /// Expands a word.
    pub(super) fn expand(&self, text: &str) -> Result<String, Problem> {
        expand::word(text, self.escape, Quoting::Strip, &|name| self.get(name).map(str::to_owned))
    }

    /// Expands a text, and splits it into words.
    pub(super) fn words(&self, text: &str) -> Result<Vec<String>, Problem> {
        expand::words(text, self.escape, Quoting::Strip, &|name| self.get(name).map(str::to_owned))
    }

    /// Expands the body of a heredoc.
    pub(super) fn body(&self, text: &str) -> Result<String, Problem> {
        expand::word(text, self.escape, Quoting::Literal, &|name| self.get(name).map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_keeps_its_place_and_arguments_are_told_apart() {
        let mut variables = Variables::of_image(&["A=1".into(), "B=2".into()], '\\');
        variables.set("A", "3=4");
        variables.set_argument("C", "$A");
        variables.set_argument("B", "5");
        assert_eq!(variables.pairs(), ["A=3=4", "B=5", "C=$A"]);
        assert_eq!(variables.arguments(), ["C=$A", "B=5"]);
        assert_eq!(variables.expand("${A}x'$B'").as_deref(), Ok("3=4x$B"));
        assert_eq!(variables.words("$A \"$B $C\"").unwrap(), ["3=4", "5 $A"]);
        assert_eq!(variables.body("'$A'").as_deref(), Ok("'3=4'"));
    }
}
