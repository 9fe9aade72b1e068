//! Go's text/template with docker's functions, for `--format`.
//!
//! The language is that of Go's documentation: actions, pipelines, variables, `if`, `range`, `with`, `define`, `template`, `block`,
//! comments and trim markers, with Go's and docker's functions, and the texts of Go's errors. What Go takes from the types of a program
//! comes from [`Value`]. Complex numbers and hexadecimal floats are refused. There are limits on nesting, steps and output, so that no
//! template can exhaust the machine.
//!
//! A crate such as gtmpl would not do: it lacks `break`, `continue`, `slice`, `else with` and the positions in errors of evaluation.

mod evaluator;
mod functions;
mod lexer;
mod node;
mod parser;
mod print;
mod quote;
mod value;

use std::io::IsTerminal;

pub use self::quote::quote;
pub use self::value::{Struct, Value};
use super::human;

/// What is wrong with a template, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The template is longer than a mebibyte.
    #[error("template: longer than {LONGEST} bytes")]
    Long,
    /// The template cannot be parsed.
    #[error("template: :{line}: {reason}")]
    Parse {
        /// The line, counted from 1.
        line: usize,
        /// Go's words.
        reason: String,
    },
    /// The template does not fit the value.
    #[error("template: :{line}:{column}: executing {template} at <{node}>: {reason}")]
    Execute {
        /// The line, counted from 1.
        line: usize,
        /// The byte in the line, counted from 0.
        column: usize,
        /// The name of the template, in quotes; empty for the text itself.
        template: String,
        /// The part of the template.
        node: String,
        /// Go's words.
        reason: String,
    },
}

/// The longest template.
const LONGEST: usize = 1 << 20;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    text: String,
    trees: parser::Trees,
}

impl std::str::FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > LONGEST {
            return Err(Error::Long);
        }
        Ok(Self { text: text.to_owned(), trees: parser::parse(text)? })
    }
}

impl Template {
    /// Whether the text of the template names a field.
    #[must_use]
    pub fn names(&self, field: &str) -> bool {
        self.text.contains(field)
    }

    /// Fills in the template. Where `output` is a terminal, what it would obey is escaped in the values.
    ///
    /// # Errors
    /// [`Error::Execute`].
    pub fn fill_in(&self, value: &Value, output: &impl IsTerminal) -> Result<String, Error> {
        self.with(value, evaluator::Settings::default(), output)
    }

    /// Fills in the template with a document as docker inspect does: at first with the document itself, and then, if a field is missing
    /// there, with its JSON. The error is that of the second try.
    ///
    /// # Errors
    /// [`Error::Execute`].
    pub fn inspect(&self, document: &Value, output: &impl IsTerminal) -> Result<String, Error> {
        let strict = evaluator::Settings { is_strict: true, ..evaluator::Settings::default() };
        self.fill_in(document, output).or_else(|_| self.with(&document.as_json(), strict, output))
    }

    /// Fills in the template with headings of columns, as far as it goes: docker ignores errors here.
    pub(super) fn headings(&self, headings: &Value) -> String {
        let settings = evaluator::Settings { headings: true, ..evaluator::Settings::default() };
        evaluator::fill_in(&self.text, &self.trees, headings, settings, &str::to_owned)
            .unwrap_or_else(|(written, _)| written)
    }

    fn with(&self, value: &Value, settings: evaluator::Settings, output: &impl IsTerminal) -> Result<String, Error> {
        let escape = if output.is_terminal() { human::lines } else { str::to_owned };
        evaluator::fill_in(&self.text, &self.trees, value, settings, &escape).map_err(|(_, error)| error)
    }
}

#[cfg(test)]
mod tests;
