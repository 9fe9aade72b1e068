//! A Dockerfile and its context to an OCI image.

pub mod build;
pub mod cache;
pub mod copy;
pub mod dockerfile;
pub mod namespace;
pub mod progress;
pub mod run;
pub mod source;
pub mod stage;
pub mod step;
