//! What docker-like options have in common: how one is refused.

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
