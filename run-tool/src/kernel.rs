//! The kernel's interfaces and the basics of a program on top of them: system calls, `/proc`, paths, sockets, terminals, errors,
//! the log in runc's format, and what a terminal may be sent.
//!
//! Nothing here knows of containers, bundles or the runtime spec. This room imports no other; `caller` and `plain` are image-tool's files.

pub(crate) mod beneath;
#[expect(unreachable_pub, reason = "in image_tool the module's functions are public")]
#[path = "../../image-tool/src/program/caller.rs"]
pub(crate) mod caller;
pub(crate) mod descriptor;
pub(crate) mod device;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod log;
pub(crate) mod mountinfo;
#[expect(unreachable_pub, reason = "in image_tool the module's functions are public")]
#[path = "../../image-tool/src/show/plain.rs"]
pub(crate) mod plain;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod security;
pub(crate) mod set;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod syscall;
pub(crate) mod terminal;
mod walk;
