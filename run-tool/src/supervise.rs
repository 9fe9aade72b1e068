//! The processes that watch over a running container: run-tool in the foreground, or the supervisor of a detached container, with
//! its log and its attached clients.
//!
//! This room imports `create`, which makes the container, and the rooms that `create` imports. It knows nothing of checkpoints or
//! of the command line.

pub(crate) mod attach;
pub(crate) mod client;
pub(crate) mod foreground;
pub(crate) mod journal;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod monitor;
pub(crate) mod record;
pub(crate) mod session;
pub(crate) mod signals;
