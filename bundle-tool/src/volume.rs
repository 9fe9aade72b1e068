//! What is mounted into a container: docker's `-v`, `--mount` and `--tmpfs`, and the named volumes.
//!
//! This room knows `option` (sizes) and `bundle` (the grammar of names); config.json and the order of mounts are `config`'s.

mod copy;
mod store;
mod syntax;

use std::path::PathBuf;

pub(crate) use store::copy_up;
pub use store::{About, Store, Volume};

/// A mount or a volume that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not in the option's syntax.
    #[error("{text:?}: {reason}")]
    Syntax {
        /// The option's value.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two mounts at one place.
    #[error("two mounts at {0}")]
    Duplicate(PathBuf),
    /// The host's folder or file is not there.
    #[error("{0}: no such file or folder on this host (a folder is made for -v, not for --mount)")]
    NoSource(PathBuf),
    /// No such volume.
    #[error("{0}: no such volume (bundle-tool volume ls shows what there is)")]
    NoVolume(String),
    /// A bundle uses it.
    #[error("{volume}: volume in use by {bundle} (bundle-tool delete {bundle} first)")]
    InUse {
        /// The volume.
        volume: String,
        /// A bundle that uses it.
        bundle: String,
    },
    /// A path in the container's root file system or a volume leads out of it, or is not a folder.
    #[error("{path}: {reason}")]
    Unusable {
        /// The path.
        path: PathBuf,
        /// Why it cannot be used.
        reason: &'static str,
    },
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// One mount into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Where, absolute and without `.` or `..`.
    pub target: PathBuf,
    /// Whether the container may only read it.
    pub readonly: bool,
    /// What.
    pub source: Source,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or folder of the host.
    Bind(Bind),
    /// A named or, without a name, a new volume.
    Volume {
        /// The name.
        name: Option<String>,
        /// Whether an empty volume takes over what the image has at the target.
        copy: bool,
        /// A folder in the volume, instead of all of it.
        subpath: Option<PathBuf>,
        /// Labels for a volume that is made.
        labels: Vec<String>,
    },
    /// Memory.
    Tmpfs {
        /// Mount options.
        options: Vec<String>,
    },
}

/// A file or folder of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Absolute.
    pub path: PathBuf,
    /// Whether a missing folder is made, as `-v` does.
    pub create: bool,
    /// `rprivate` unless told otherwise.
    pub propagation: &'static str,
    /// What becomes of mounts beneath the folder.
    pub recursive: Recursive,
    /// `z` or `Z`: give it the container's SELinux label.
    pub relabel: bool,
}

/// What becomes of mounts beneath a folder that is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recursive {
    /// They come along, read-only too where the kernel can (5.12) if the mount is read-only.
    Enabled,
    /// They stay behind.
    Disabled,
    /// They come along, writable even if the mount is read-only.
    Writable,
    /// They come along read-only, or the container does not start.
    Readonly,
}

impl Attachment {
    /// Reads docker's `-v [SOURCE:]TARGET[:OPTIONS]`. `base` makes a relative source (`./data`) absolute.
    pub fn from_volume(text: &str, base: &std::path::Path) -> Result<Self, Error> {
        syntax::volume(text, base)
    }

    /// Reads docker's `--mount type=…,source=…,target=…`.
    pub fn from_mount(text: &str, base: &std::path::Path) -> Result<Self, Error> {
        syntax::mount(text, base)
    }

    /// Reads docker's `--tmpfs TARGET[:OPTIONS]`.
    pub fn from_tmpfs(text: &str) -> Result<Self, Error> {
        syntax::tmpfs(text)
    }
}

/// Refuses two mounts at one place.
pub fn check_targets(attachments: &[Attachment]) -> Result<(), Error> {
    let mut seen = std::collections::BTreeSet::new();
    match attachments.iter().find(|each| !seen.insert(&each.target)) {
        Some(twice) => Err(Error::Duplicate(twice.target.clone())),
        None => Ok(()),
    }
}
