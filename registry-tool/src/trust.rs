//! Signatures of images, in cosign's formats, made and verified without asking anybody.
//!
//! A [`payload`] says which image is signed (containers-signature(5), "simple signing"), a [`key`] signs it with ECDSA on P-256, and a
//! [`certificate`] may say whose key that was. [`signature`] puts the three together. What is not done here: Rekor's transparency log
//! and Fulcio's certificates of a few minutes, which mean nothing without it, and GPG.
//!
//! The room opens no connection, and knows [`crate::reference`] only. The primitives are ring's and webpki's, which TLS is made of;
//! scrypt and secretbox are RustCrypto's.

pub mod certificate;
pub mod key;
pub mod payload;
mod pem;
pub mod signature;
