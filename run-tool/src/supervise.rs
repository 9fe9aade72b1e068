//! Who stays behind once a container runs: run-tool in the foreground, or the supervisor of a detached container with its log
//! and with those who attach.
//!
//! Imports `create`, which makes the container that is watched, and what `create` imports; nothing of checkpoints or of the
//! command line.

pub(crate) mod attach;
pub(crate) mod foreground;
pub(crate) mod journal;
pub(crate) mod logs;
pub(crate) mod monitor;
pub(crate) mod record;
pub(crate) mod signals;
