//! An OCI image to an OCI runtime bundle that any OCI runtime runs, and its writable layer back to an image.

pub mod annotation;
pub mod bundle;
pub mod capability;
pub mod change;
pub mod config;
pub mod container;
pub mod device;
pub mod environment;
pub mod hook;
pub mod image;
pub mod instruction;
pub mod limit;
pub mod name;
pub mod network;
pub mod option;
pub mod port;
pub mod quantity;
pub mod removal;
pub mod rootfs;
pub mod seccomp;
pub mod security;
pub mod signal;
pub mod status;
pub mod unit;
pub mod user;
pub mod volume;
