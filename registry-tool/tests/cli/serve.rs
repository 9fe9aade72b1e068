//! `registry-tool serve`, as clients see it.

mod access;
mod client;
mod copy;
mod find;
mod gpg;
mod limit;
mod mirror;
mod pull;
mod push;
mod remove;
mod sync;
mod trust;
mod verb;
