//! Checkpoints: containers saved to disk and restored by criu.
//!
//! This room imports `create`, because a restored container begins like a new one, and the rooms that `create` imports. It knows
//! nothing of supervision or of the command line.

pub(crate) mod criu;
mod images;
pub(crate) mod restore;
pub(crate) mod save;
