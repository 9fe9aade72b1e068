//! Why a command did not do what it should.

use std::io;
use std::path::PathBuf;

use bundle_tool::config;
use bundle_tool::rootfs;
use bundle_tool::rootfs::user;
use image_tool::beneath;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It ended with an exit status other than 0.
    #[error("exit status {0}")]
    Status(i32),
    /// It ended with 137 of its own, which is what a kill by the kernel looks like.
    #[error("exit status 137 (killed, for want of memory perhaps)")]
    Killed,
    /// The runtime was ended by a signal.
    #[error("{runtime}: ended by signal {signal}")]
    Signal {
        /// The runtime.
        runtime: String,
        /// The signal.
        signal: i32,
    },
    /// The build was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The runtime cannot be started.
    #[error("start {} (--runtime names another)", .runtime.display())]
    Runtime {
        /// The runtime.
        runtime: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The root filesystem cannot be mounted.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// The user cannot be looked up.
    #[error("USER {name}")]
    User {
        /// As written.
        name: String,
        /// Why.
        source: user::Error,
    },
    /// The network cannot be had.
    #[error(transparent)]
    Network(#[from] bundle_tool::network::Error),
    /// The container's configuration cannot be made.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A mount's source is missing.
    #[error("--mount: {}: not found in its source", .0.display())]
    MountSource(PathBuf),
    /// Something beneath a root.
    #[error(transparent)]
    Beneath(#[from] beneath::Error),
    /// The kernel refused an operation.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}
