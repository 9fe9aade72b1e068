//! Docker's words for options, parsed into values: sizes, ports, limits, variables, devices. Options can be refused.
//!
//! A parser reads no file unless the value names one. This room knows no other.

pub mod boolean;
pub mod csv;
pub mod device;
pub mod domain;
pub mod environment;
pub mod gpu;
pub mod keys;
pub mod limit;
pub mod log;
pub mod path;
pub mod port;
pub mod quantity;
pub mod ulimit;

pub use image_tool::edit::signal;

/// An option that cannot be honoured on Linux, on this host, or by this tool. The exit status is docker's, 125.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {reason}")]
pub struct Refused {
    /// The option as it is spelled, with its dashes.
    pub option: &'static str,
    /// The reason, and in parentheses what to do about it.
    pub reason: String,
}

impl Refused {
    /// Refuses `option` for a reason.
    pub fn new(option: &'static str, reason: impl Into<String>) -> Self {
        Self { option, reason: reason.into() }
    }
}
