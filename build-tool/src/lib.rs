//! Builds an OCI image from a Dockerfile and its context.
//!
//! The rooms, from the top: [`build`] runs a build from beginning to end. [`dockerfile`] is the language, [`source`]
//! what COPY may take, [`stage`] the root file system in the making. [`step`] carries out a stage's instructions with
//! [`copy`], which packs a layer, and [`run`], which runs a command in a container; [`cache`] keeps their results.
//! [`progress`] writes to standard error, and [`namespace`] is for users who are not root. A room imports only rooms
//! that are named in its head comment, and none imports the room above it.

pub mod build;
pub mod cache;
pub mod copy;
pub mod dockerfile;
pub mod namespace;
pub mod progress;
pub mod run;
pub mod source;
pub mod stage;
pub mod step;
