//! A Dockerfile and its context to an OCI image.

pub mod dockerfile;
pub mod mount;
pub mod pattern;
