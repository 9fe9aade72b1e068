//! What COPY and ADD may take: the context and those with a name, the files of a stage, a URL, a repository, an archive;
//! and finding the Dockerfile.
//!
//! This room may import the language's patterns and names ([`crate::dockerfile`]) and the cache's temporary folders
//! ([`crate::cache`]). It knows neither layers nor steps.

pub mod access;
pub mod archive;
pub mod context;
pub mod digests;
pub mod download;
pub mod files;
pub mod git;
pub mod ignore;
pub mod named;
pub mod place;
pub mod transfer;
mod validator;
