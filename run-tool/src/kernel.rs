//! The kernel's interfaces, and what a program needs to live by them: system calls, `/proc`, paths, sockets, terminals, errors
//! and the log in runc's words.
//!
//! Nothing here knows of containers, bundles or the runtime spec, and nothing here imports another room.

pub(crate) mod beneath;
pub(crate) mod device;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod log;
pub(crate) mod mountinfo;
pub(crate) mod procfs;
pub(crate) mod security;
pub(crate) mod set;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod syscall;
pub(crate) mod terminal;
