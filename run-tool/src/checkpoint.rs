//! Containers saved to disk and brought back, by criu.
//!
//! Imports `create`, since a restored container begins as a new one does, and what `create` imports; nothing of supervision or
//! of the command line.

pub(crate) mod criu;
mod images;
pub(crate) mod restore;
pub(crate) mod save;
