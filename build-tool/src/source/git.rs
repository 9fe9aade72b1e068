//! Git repositories as sources: their addresses, and fetching them with git(1).
//!
//! `address` is the grammar, which opens nothing. `checkout` resolves an address to a commit and checks that out. `command` is
//! how git is started: a repository is not trusted, so git gets none of the user's configuration, no hooks, and only the
//! protocols of the list; and nothing from an address can be taken for an option. `work_tree` is about the caller's own.

mod address;
mod checkout;
mod command;
mod work_tree;

pub use address::{Address, BadAddress};
pub use checkout::{Checkout, Pin, resolve};
pub use command::Error;
pub use work_tree::WorkTree;

/// The hash of a commit with the name of its algorithm.
pub fn named(commit: &str) -> String {
    // Newer repositories may have SHA-256.
    format!("{}:{commit}", if commit.len() == 64 { "sha256" } else { "sha1" })
}
