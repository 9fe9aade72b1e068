//! What the rules have found so far.

use crate::dockerfile::{Step, Warning};

/// The findings so far.
pub(super) struct Found {
    pub(super) warnings: Vec<Warning>,
}

impl Found {
    pub(super) fn push(&mut self, step: &Step, rule: &'static str, message: impl Into<String>) {
        self.warnings.push(Warning { line: step.span.start, rule, message: message.into() });
    }
}
