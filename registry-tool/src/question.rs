//! What is asked of registries without moving an image: manifests, configs, lists and searches.
//!
//! This room verifies what a registry says before anybody believes it. It knows [`crate::reference`], [`crate::place`] and
//! [`crate::client`]; it writes nothing to disk.

pub mod manifest;
pub mod query;
pub mod search;
