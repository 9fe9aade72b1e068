//! The root file system in the making: the draft of an image and its layers, what they hold and whom, and the base image below them.
//!
//! Imports no other room. How a stage comes to its next layer is [`crate::step`]'s.

pub mod base;
pub mod contents;
pub mod draft;
pub mod layer;
pub mod owner;
pub mod snapshot;
pub mod tree;
