//! The command line: what each command prints, its exit status and its errors.
//!
//! Images are made in code and nothing is run in them: that runtimes run the bundles is shown by the workspace's own tests. What needs
//! root (overlays, networks) is tested with root and works another way without.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod commit;
mod create;
mod help;
mod mount;
mod network;
mod ps;
mod spec;
mod terminal;
mod unit;
mod volume;
mod work;
