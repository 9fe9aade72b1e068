//! What COPY and ADD may take: the context, the files of a stage, a URL, an archive; and where the Dockerfile is.
//!
//! Knows the language's patterns ([`crate::dockerfile`]) and the cache's temporary folders ([`crate::cache`]), and nothing of layers or
//! steps.

pub mod archive;
pub mod context;
pub mod digests;
pub mod download;
pub mod files;
pub mod ignore;
