//! The fixtures of the end-to-end tests: the built tools in a folder of their own, real registries, container engines, a real
//! terminal, and the comparison of root filesystems.
//!
//! A test is shell text, as a person would type it, run in a [`Workdir`]. There `docker` is `tests/docker`, the five tools
//! are the built ones, and everything they write stays in the folder. A test fails if a mount, process, network or cgroup
//! outlives it.

pub mod engine;
pub mod hub;
pub mod layout;
pub mod programs;
pub mod pty;
pub mod registry;
pub mod tree;
pub mod workdir;

pub use hub::Hub;
pub use pty::Pty;
pub use registry::Registry;
pub use workdir::{Output, Workdir};

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The names of the five tools.
pub const TOOLS: [&str; 5] = ["image-tool", "registry-tool", "bundle-tool", "run-tool", "build-tool"];

/// The folder of the built tools: `$OCI_TOOLS`, else cargo's release folder.
///
/// # Panics
/// If one of them is missing: cargo does not build another package's binaries for a test.
pub fn tools() -> PathBuf {
    let folder = std::env::var_os("OCI_TOOLS").map_or_else(|| repository().join("target/release"), PathBuf::from);
    for tool in TOOLS {
        assert!(folder.join(tool).is_file(), "{}: missing: run `make build`", folder.join(tool).display());
    }
    folder
}

/// A random word of 12 hexadecimal digits, for names that must be unique among tests running at once.
pub fn random_word() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:012x}", RandomState::new().hash_one(0) >> 16)
}
