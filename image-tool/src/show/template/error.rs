//! What is wrong with a template, in Go's words.

/// What is wrong with a template, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The template is longer than a mebibyte.
    #[error("template: longer than {limit} bytes")]
    Long {
        /// The most that is read.
        limit: usize,
    },
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
