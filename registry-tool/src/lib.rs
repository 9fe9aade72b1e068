//! Between OCI registries and image layouts.
mod auth;
pub mod client;
pub mod credentials;
pub mod mirror;
pub mod reference;
pub mod retry;
