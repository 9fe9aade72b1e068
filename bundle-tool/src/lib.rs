//! An OCI image to an OCI runtime bundle that any OCI runtime runs, and its writable layer back to an image.
//!
//! The rooms, from the ground up; each knows only those before it:
//!
//! - [`option`]: docker's words for options, read into values.
//! - [`security`]: capabilities, the seccomp policy, `--security-opt`.
//! - [`rootfs`]: overlay mounts, and the users that a root file system names.
//! - [`bundle`]: bundles on disk, their names and annotations.
//! - [`volume`]: what is mounted into a container, and the named volumes.
//! - [`network`]: CNI networks.
//! - [`config`]: an image's config and docker's options as config.json.
//! - [`container`]: a container's life between `create` and `delete`.

pub mod bundle;
pub mod config;
pub mod container;
pub mod network;
pub mod option;
pub mod rootfs;
pub mod security;
pub mod volume;
