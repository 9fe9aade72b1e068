//! `registry-tool serve`, as clients see it.

mod access;
mod client;
mod find;
mod limit;
mod pull;
mod push;
mod remove;
