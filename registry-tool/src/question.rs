//! What is asked of registries without moving an image: manifests, configs, lists and searches.
//!
//! [`round`] asks the places that may have a name, one after the other; [`query`] is what each is asked, `plan` what an
//! image consists of in the end, [`format`](mod@format) in which dialect, and [`failure`] why there was no answer. [`signature`],
//! [`lookaside`], [`attestation`] and [`referrer`] find what belongs to an image, [`selection`] which images a file means.
//!
//! This room verifies what a registry says before anybody believes it. It knows [`crate::reference`], [`crate::trust`],
//! [`crate::place`] and [`crate::client`]; it writes nothing to disk.

pub mod attestation;
pub mod failure;
pub mod format;
pub mod lookaside;
pub mod manifest;
pub(crate) mod plan;
pub mod query;
pub mod referrer;
pub mod round;
pub mod search;
pub mod selection;
pub mod signature;
