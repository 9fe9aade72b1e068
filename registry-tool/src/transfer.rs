//! Bytes on the move: from a registry into a layout ([`pull`]), back ([`push`]), and past the disk ([`copy`]).
//!
//! [`recompress`] copies through a layout of its own. Small artifacts are made and pushed by [`attach`](mod@attach) and [`sign`](mod@sign), [`beside`] an image,
//! or put [`aside`].
//!
//! A single blob is moved by [`download`] or [`upload`], or by [`blob`] without any layout, several at once by [`batch`]; [`store`] keeps layers for containers; [`growth`]
//! is how far a blob has come, on its way in or while it is verified on its way out; what is sent goes in pieces. Whoever watches is told by [`event`]s. This room knows every other room of the crate, and none of them knows it.

pub mod aside;
pub mod attach;
pub mod batch;
pub mod beside;
pub mod blob;
pub mod copy;
mod documents;
pub mod download;
pub mod event;
pub mod growth;
pub(crate) mod piece;
pub mod pull;
pub mod push;
pub mod recompress;
pub mod sign;
pub mod store;
pub mod upload;
