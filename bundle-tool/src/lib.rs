//! An OCI image to an OCI runtime bundle that any OCI runtime runs, and its writable layer back to an image.

pub mod rootfs;
