//! Makes OCI runtime bundles from images, and images from what containers changed.
//!
//! Its rooms, from the ground up. Each knows only those before it:
//!
//! - [`option`]: docker's words for options, parsed into values.
//! - [`security`]: capabilities, the seccomp policy, `--security-opt`.
//! - [`rootfs`]: overlay mounts, and the users of a root file system.
//! - [`bundle`]: bundles on disk, their names and annotations.
//! - [`volume`]: volumes, and what else is mounted into a container.
//! - [`network`]: CNI networks.
//! - [`config`]: an image's config and docker's options as config.json.
//! - [`container`]: the life of a container, from `create` to `delete`.
//! - [`describe`]: all of them in docker's documents and lists.

pub mod bundle;
pub mod config;
pub mod container;
pub mod describe;
pub mod network;
pub mod option;
pub mod rootfs;
pub mod security;
pub mod volume;
