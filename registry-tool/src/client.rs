//! The HTTP conversation with one registry.
//!
//! [`Registry`] is the conversation: it is opened by a greeting (`greeting`), proves who we are (`auth`), asks again where that
//! may help ([`retry`]), and offers one method for each thing that the distribution-spec can be asked (`document`, `list`,
//! `blob`, and [`Upload`] for chunks). What a registry says is only read here, within limits; the room `question` verifies it.
//! The room knows [`crate::reference`] and [`crate::place`]. A [`Shelf`] is no registry: a web server that signatures lie on.
//!
//! # One client
//!
//! The crate `oci-client` (known as `oci-distribution` before) gives the names of images ([`crate::reference`]) and the documents in
//! which a registry refuses something, with the codes that decide what a refusal means ([`ClientError`]). Requests go through
//! reqwest, of which that crate is made too: its own client has no limits on what it reads, drops the headers that count
//! (`Retry-After`, `Link`, `Range`, `Content-Encoding`), resolves no relative `Location`, shows no client certificate, and fetches
//! tokens for one repository at a time, while a mount needs two.
//!
//! - `transport` decides on TLS, authorities, proxies and timeouts;
//! - `auth` holds the challenge, the login and the tokens;
//! - a status becomes an error in [`ClientError`] alone.
//!
//! TLS is rustls with ring: the crates are built without a provider so that the choice is ours, and ring needs neither cmake
//! nor a C++ compiler where aws-lc-rs does, and is as fast at what a pull does (AES-GCM).
//!
//! Credentials: the `Authorization` header is put on requests to the registry's own scheme, host and port only; reqwest
//! removes it when a redirect leads elsewhere, and an upload's `Location` elsewhere never gets it (CVE-2020-15157).

mod answer;
mod auth;
mod blob;
mod document;
mod error;
mod greeting;
mod list;
mod lookaside;
mod registry;
pub mod retry;
mod settings;
mod stream;
mod transport;
mod upload;

pub use auth::Access;
pub use document::{Document, Head};
pub use error::ClientError;
pub use lookaside::Shelf;
pub use registry::Registry;
pub use settings::Settings;
pub use stream::BlobStream;
pub use upload::{Sent, Upload};
