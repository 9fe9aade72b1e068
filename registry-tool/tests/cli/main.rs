//! The command line: output, status and error text of each subcommand, against a registry that misbehaves on demand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has to panic")]

mod copy;
mod delete;
mod document;
mod download;
mod inspect;
mod list;
mod login;
mod odd;
mod place;
mod pull;
mod push;
mod search;
mod serve;
mod server;
mod tls;
mod world;
