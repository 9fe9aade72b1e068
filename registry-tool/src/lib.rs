//! Between OCI registries and image layouts.
pub mod mirror;
pub mod reference;
