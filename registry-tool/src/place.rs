//! Where a name may be found, whether it may be used, and as whom: everything that configuration files decide.
//!
//! [`mirror`] turns a name into the places that may serve it, [`policy`] says whether an image is allowed at all, [`lookaside`] where
//! its signatures lie, and [`credentials`] knows the logins. This room reads files and starts credential helpers; it opens no
//! connection. It knows [`crate::reference`] and [`crate::trust`], and nothing else of this crate.

mod configuration;
pub mod credentials;
pub mod lookaside;
pub mod mirror;
pub mod policy;
mod scope;
