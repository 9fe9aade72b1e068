//! An OCI image to an OCI runtime bundle that any OCI runtime runs, and its writable layer back to an image.

pub mod capability;
pub mod environment;
pub mod name;
pub mod quantity;
pub mod rootfs;
pub mod seccomp;
pub mod user;
