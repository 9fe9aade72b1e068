//! What can go wrong with a step.

use std::path::{Path, PathBuf};

use image_tool::layer;
use image_tool::layout;
use image_tool::layout::platform;

use crate::base;
use crate::chmod::BadMode;
use crate::contents;
use crate::copy;
use crate::dockerfile::{self, Problem};
use crate::download;
use crate::files;
use crate::owner;
use crate::pattern::BadPattern;
use crate::run;
use crate::tree;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its text is wrong.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// A trigger's text is wrong.
    #[error(transparent)]
    Trigger(#[from] dockerfile::Error),
    /// Its base image is not to be had.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// A platform is none.
    #[error("--platform")]
    Platform(#[from] platform::Malformed),
    /// Files are missing.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// They cannot be copied.
    #[error(transparent)]
    Copy(#[from] copy::Error),
    /// A download failed.
    #[error(transparent)]
    Download(#[from] download::Error),
    /// `--chmod` is wrong.
    #[error("--chmod")]
    Mode(#[from] BadMode),
    /// `--exclude` is wrong.
    #[error("--exclude")]
    Exclude(#[from] BadPattern),
    /// `--chown` or USER names nobody.
    #[error(transparent)]
    Owner(#[from] owner::Error),
    /// A path leads nowhere.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// A layer cannot be read.
    #[error(transparent)]
    Contents(#[from] contents::Error),
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] layer::cache::Error),
    /// It cannot be mounted.
    #[error(transparent)]
    Rootfs(#[from] bundle_tool::rootfs::Error),
    /// A directory cannot be read.
    #[error(transparent)]
    Beneath(#[from] image_tool::beneath::Error),
    /// The upper directory cannot be packed.
    #[error(transparent)]
    Pack(#[from] layer::diff::Error),
    /// The command failed.
    #[error(transparent)]
    Run(#[from] run::Error),
    /// A layout cannot be written.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// A `RUN --mount` is wrong.
    #[error("--mount: {0}")]
    Mount(String),
    /// A source that this tool does not fetch.
    #[error("{0}: git sources are not fetched (clone it into the context)")]
    Git(String),
    /// COPY of several sources to something that is no directory.
    #[error("several sources: the destination must be a directory and end in /")]
    Several,
    /// `EXPOSE` of something that is no port.
    #[error("{0:?} is no port (80, 80/tcp, 8000-8010/udp)")]
    Port(String),
    /// Something on this host.
    #[error("{operation} {}", .path.display())]
    Io {
        /// The operation.
        operation: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Why it was refused.
        source: std::io::Error,
    },
    /// A stage that it takes from failed, and that was told there.
    #[error("a stage that it takes from failed")]
    Failed,
    /// The build was interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// How an operation on a path failed; for `map_err`.
pub(super) fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { operation, path, source }
}
