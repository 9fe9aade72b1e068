//! What COPY and ADD may take: the context, the files of a stage, a URL, an archive; and finding the Dockerfile.
//!
//! This room may import the language's patterns ([`crate::dockerfile`]) and the cache's temporary folders
//! ([`crate::cache`]). It knows neither layers nor steps.

pub mod archive;
pub mod context;
pub mod digests;
pub mod download;
pub mod files;
pub mod ignore;
