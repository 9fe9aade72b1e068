//! Why a command failed, or could not be run.

use std::io;
use std::path::PathBuf;

use bundle_tool::config;
use bundle_tool::option::Refused;
use bundle_tool::rootfs;
use bundle_tool::rootfs::user;
use image_tool::beneath;

use super::agent;

/// Why a command failed, or could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command ended with an exit status other than 0.
    #[error("exit status {0}")]
    Status(i32),
    /// The exit status is 137, which is also what a kill by the kernel gives.
    #[error("exit status 137 (killed, perhaps for lack of memory)")]
    Killed,
    /// A signal ended the runtime.
    #[error("{runtime}: ended by signal {signal}")]
    Signal {
        /// The runtime's program.
        runtime: String,
        /// The signal's number.
        signal: i32,
    },
    /// The build was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The runtime cannot be started.
    #[error("start {} (--runtime names another)", .runtime.display())]
    Runtime {
        /// The runtime's program.
        runtime: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The root file system cannot be mounted.
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// The user does not exist in the image.
    #[error("USER {name}")]
    User {
        /// The user as written.
        name: String,
        /// Why there are no ids.
        source: user::Error,
    },
    /// The network is not available.
    #[error(transparent)]
    Network(#[from] bundle_tool::network::Error),
    /// The container's config.json cannot be made.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The command asks for something that the caller of the build does not grant.
    #[error("{flag} is not allowed (build --allow {entitlement})")]
    NotAllowed {
        /// The flag of RUN.
        flag: &'static str,
        /// What `--allow` has to name.
        entitlement: &'static str,
    },
    /// The command asks for a device that the caller of the build does not grant.
    #[error("--device={0} is not allowed (build --allow device={0})")]
    DeviceNotAllowed(String),
    /// A device is not described, or its description is not valid.
    #[error(transparent)]
    Device(#[from] Refused),
    /// An SSH agent cannot be reached or started.
    #[error(transparent)]
    Agent(#[from] agent::Error),
    /// The source of a mount does not exist.
    #[error("--mount: {}: not found in its source", .0.display())]
    MountSource(PathBuf),
    /// A path below a root directory cannot be used.
    #[error(transparent)]
    Beneath(#[from] beneath::Error),
    /// The kernel refused an operation.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}
