//! What the rules have found so far.

use super::settings::Settings;
use crate::dockerfile::{Problem, Span, Step, Warning};

/// The findings so far.
pub(super) struct Found<'a> {
    pub(super) warnings: Vec<Warning>,
    pub(super) settings: &'a Settings,
    /// The first word that cannot be expanded, and the lines of its instruction.
    pub(super) problem: Option<(Span, Problem)>,
}

impl Found<'_> {
    /// Adds a finding, unless the file or the comments above the instruction skip the rule.
    pub(super) fn push(&mut self, step: &Step, rule: &'static str, message: impl Into<String>) {
        if self.settings.reports(rule) && !Settings::of_comments(&step.comments).skips(rule) {
            self.warnings.push(Warning { lines: step.span, rule, message: message.into() });
        }
    }
}
