//! Signatures of images, in cosign's formats and in GnuPG's, made and verified without asking anybody.
//!
//! A [`payload`] says which image is signed (containers-signature(5), "simple signing"). cosign's is signed by a [`key`] with ECDSA on
//! P-256, and a [`certificate`] may say whose key that was; [`signature`] puts the three together. podman's and skopeo's is a message of
//! OpenPGP that [`gpg`] makes with the keys it keeps, and that counts if it is of a [`keyring`]. What is not done here: Rekor's transparency
//! log and Fulcio's certificates of a few minutes, which mean nothing without it.
//!
//! The room opens no connection, and knows [`crate::reference`] only. The primitives are ring's and webpki's, which TLS is made of;
//! scrypt and secretbox are RustCrypto's, and OpenPGP is the crate pgp's.

pub mod certificate;
pub mod gpg;
pub mod key;
pub mod keyring;
pub mod openpgp;
pub mod payload;
mod pem;
pub mod signature;
