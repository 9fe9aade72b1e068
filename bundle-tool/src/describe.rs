//! Containers, networks, volumes and the host as docker describes them: the documents of `inspect`, and the rows of lists.
//!
//! Documents have docker 20.10's fields in docker's order. What docker knows from its own database comes from a bundle's config.json,
//! from the words by which the container was created, and from the runtime's list. This room only reads. It knows all others, and only
//! commands know it.

pub mod container;
pub mod disk;
pub mod host;
mod host_config;
pub mod image;
pub mod mount;
pub mod network;
pub mod row;
pub mod size;
pub mod usage;
pub mod volume;
mod words;

pub use words::Words;
