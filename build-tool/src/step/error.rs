//! What can go wrong with a step.

use image_tool::layer;
use image_tool::layout;
use image_tool::layout::platform;

use crate::copy;
use crate::copy::chmod::BadMode;
use crate::dockerfile::pattern::BadPattern;
use crate::dockerfile::{self, Problem};
use crate::run;
use crate::source::download;
use crate::source::files;
use crate::stage::base;
use crate::stage::contents;
use crate::stage::owner;
use crate::stage::tree;

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
    /// The kernel refused something on this host.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
    /// A stage that it takes from failed, and that was told there.
    #[error("a stage that it takes from failed")]
    Failed,
    /// The build was interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// A step that failed, and where it stands.
#[derive(Debug)]
pub struct Failure {
    /// The line of the Dockerfile, counted from 1.
    pub line: usize,
    /// The instruction, shortened.
    pub text: String,
    /// What went wrong.
    pub source: Error,
}
