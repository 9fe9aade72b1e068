//! Between OCI registries and image layouts.
mod auth;
pub mod client;
pub mod copy;
pub mod credentials;
pub mod download;
pub mod event;
pub mod manifest;
pub mod mirror;
pub mod policy;
pub mod pull;
pub mod push;
pub mod query;
pub mod reference;
pub mod retry;
pub mod search;
pub mod upload;
