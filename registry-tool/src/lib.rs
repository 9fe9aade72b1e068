//! Between OCI registries and image layouts.
//!
//! A name ([`reference`](mod@reference)) becomes places that may serve it ([`mirror`]); each is a conversation ([`client`]) with
//! credentials ([`credentials`]) and patience ([`retry`]). What it says is believed once it is verified ([`manifest`]). Images go
//! to a layout ([`pull`], [`download`]), from one ([`push`], [`upload`]) or past it ([`copy`]); [`query`] and [`search`] ask
//! without moving anything. Whoever wants to watch is told by [`event`]s: nothing here prints.
//!
//! ```
//! use registry_tool::mirror::{Mirrors, Sources};
//! use registry_tool::reference::ImageName;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let name: ImageName = "python:3.8".parse()?;
//! assert_eq!(name.to_string(), "docker.io/library/python:3.8");
//!
//! let mirrors = Mirrors::read(&Sources::default())?;
//! let places = mirrors.pull_endpoints(name.reference())?;
//! assert_eq!(places[0].host(), "registry-1.docker.io");
//! # Ok(())
//! # }
//! ```

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
