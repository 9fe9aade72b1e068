//! The root file system in the making: the draft of an image, its layers and their contents, the owners in them, and
//! the base image.
//!
//! This room imports no other. [`crate::step`] decides how a stage gets its next layer.

pub mod base;
pub mod contents;
pub mod draft;
pub mod layer;
pub mod owner;
pub mod snapshot;
pub mod tree;
