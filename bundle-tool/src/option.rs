//! Docker's words for options, read into values: sizes, ports, limits, variables, devices, signals; and how one is refused.
//!
//! Parsers touch no file unless the value names one. This room knows no other.

pub mod csv;
pub mod device;
pub mod environment;
pub mod limit;
pub mod port;
pub mod quantity;
pub mod signal;

/// An option that cannot be honoured: on Linux, on this host, or at all. Docker ends with status 125 then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {reason}")]
pub struct Refused {
    /// The option as it is spelled, with its dashes.
    pub option: &'static str,
    /// Why, and the way out if there is one.
    pub reason: String,
}

impl Refused {
    /// A refusal.
    pub fn new(option: &'static str, reason: impl Into<String>) -> Self {
        Self { option, reason: reason.into() }
    }
}
