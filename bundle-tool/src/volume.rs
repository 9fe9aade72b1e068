//! Volumes, and what else is mounted into a container: docker's `-v`, `--mount` and `--tmpfs`.
//!
//! This room knows `option` (sizes), `rootfs` (mounts) and `bundle` (the grammar of names). Mounts are written to config.json by `container` and `config`.

mod copy;
mod local;
mod store;
mod syntax;

use std::path::PathBuf;

pub(crate) use store::copy_up;
pub use store::{About, Hold, Store, Volume};

/// Why a mount or a volume cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The value of an option does not parse.
    #[error("{text:?}: {reason}")]
    Syntax {
        /// The value of the option.
        text: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// Two mounts have the same target.
    #[error("Duplicate mount point: {0}")]
    Duplicate(PathBuf),
    /// The source of a bind mount does not exist.
    #[error("{0}: no such file or folder on this host (-v creates folders, --mount does not)")]
    NoSource(PathBuf),
    /// No volume has that name.
    #[error("{0}: no such volume (bundle-tool volume ls)")]
    NoVolume(String),
    /// A bundle uses the volume.
    #[error("{volume}: volume in use by {bundle} (bundle-tool delete {bundle})")]
    InUse {
        /// The name of the volume.
        volume: String,
        /// The name of a bundle that uses the volume.
        bundle: String,
    },
    /// A bundle with the volume is being created, or the volume is being removed.
    #[error("{0}: volume in use by a container that is being created (try again)")]
    Claimed(String),
    /// A path in an image or a volume leads out of it, or is not a folder.
    #[error("{path}: {reason}")]
    Unusable {
        /// The path in question.
        path: PathBuf,
        /// Why it cannot be used.
        reason: &'static str,
    },
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// A mount into a container, as an option asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The path in the container, absolute and without `.` or `..`.
    pub target: PathBuf,
    /// Whether the mount is read-only.
    pub readonly: bool,
    /// What is mounted there.
    pub source: Source,
}

/// The source of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A bind mount of the host.
    Bind(Bind),
    /// A named or anonymous volume.
    Volume {
        /// The name; absent for an anonymous volume, which is created.
        name: Option<String>,
        /// Whether an empty volume is filled with the image's content of the target.
        copy: bool,
        /// A folder in the volume to mount; absent for all of it.
        subpath: Option<PathBuf>,
        /// Labels for a volume that is created.
        labels: Vec<String>,
        /// Options of the local driver for a volume that is created, as `KEY=VALUE`.
        options: Vec<String>,
    },
    /// A volume of another container (`--volumes-from`), which shares it.
    Shared {
        /// The name.
        name: String,
        /// Whether it was created for the other container alone.
        anonymous: bool,
        /// The folder in the volume that the other container has; absent for all of it.
        subpath: Option<PathBuf>,
    },
    /// The files of an image, read-only.
    Image {
        /// The image: a ref of the default layout, or an address.
        reference: String,
        /// A folder of the image to mount; absent for all of it.
        subpath: Option<PathBuf>,
    },
    /// A tmpfs, which is gone when the container is.
    Tmpfs {
        /// Options for the mount.
        options: Vec<String>,
    },
}

/// A bind mount of a file or folder of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The absolute path on the host.
    pub path: PathBuf,
    /// Whether a missing folder is created, as `-v` does.
    pub create: bool,
    /// The propagation: `rprivate` by default.
    pub propagation: &'static str,
    /// The treatment of mounts beneath the folder.
    pub recursive: Recursive,
    /// Whether an SELinux label is asked for (`z` or `Z`).
    pub relabel: bool,
}

/// The treatment of mounts beneath a folder that is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recursive {
    /// They are mounted as well, read-only if the mount is, the kernel is at least 5.12 and there are any when the bundle is created.
    Enabled,
    /// They are not mounted.
    Disabled,
    /// They are mounted as well, writable even if the mount is read-only.
    Writable,
    /// They are mounted read-only, or the container does not start.
    Readonly,
}

impl Attachment {
    /// Whether it is a volume without a name.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        matches!(self.source, Source::Volume { name: None, .. })
    }

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

/// Refuses two mounts with the same target.
pub fn check_targets(attachments: &[Attachment]) -> Result<(), Error> {
    let mut seen = std::collections::BTreeSet::new();
    match attachments.iter().find(|each| !seen.insert(&each.target)) {
        Some(twice) => Err(Error::Duplicate(twice.target.clone())),
        None => Ok(()),
    }
}
