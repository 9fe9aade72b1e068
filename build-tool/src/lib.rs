//! A Dockerfile and its context to an OCI image.

pub mod archive;
pub mod cache;
pub mod chmod;
pub mod contents;
pub mod copy;
pub mod digests;
pub mod dockerfile;
pub mod files;
pub mod ignore;
pub mod image;
pub mod mount;
pub mod pattern;
pub mod plan;
pub mod progress;
pub mod stack;
pub mod tree;
