//! Why a step failed.

use image_tool::layer;
use image_tool::layout;
use image_tool::layout::platform;

use crate::copy;
use crate::copy::chmod::BadMode;
use crate::dockerfile::pattern::BadPattern;
use crate::dockerfile::{self, Problem, Span};
use crate::run;
use crate::source::{context, download, files, git};
use crate::stage::base;
use crate::stage::contents;
use crate::stage::owner;
use crate::stage::tree;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The instruction's text is wrong.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The text of an ONBUILD trigger is wrong.
    #[error(transparent)]
    Trigger(#[from] dockerfile::Error),
    /// The base image cannot be found or pulled.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// The value of `--platform` is not valid.
    #[error("--platform")]
    Platform(#[from] platform::Malformed),
    /// A source is missing or cannot be read.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// The sources cannot be copied.
    #[error(transparent)]
    Copy(#[from] copy::Error),
    /// A download failed.
    #[error(transparent)]
    Download(#[from] download::Error),
    /// The value of `--chmod` is not valid.
    #[error("--chmod")]
    Mode(#[from] BadMode),
    /// The value of `--exclude` is not valid.
    #[error("--exclude")]
    Exclude(#[from] BadPattern),
    /// `--chown` or USER names an unknown owner.
    #[error(transparent)]
    Owner(#[from] owner::Error),
    /// A path of the image cannot be resolved.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// The contents of a layer cannot be read.
    #[error(transparent)]
    Contents(#[from] contents::Error),
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] layer::cache::Error),
    /// The layers cannot be stored or mounted.
    #[error(transparent)]
    Stack(#[from] layer::stack::Error),
    /// The root file system of a stage cannot be mounted.
    #[error(transparent)]
    Rootfs(#[from] bundle_tool::rootfs::Error),
    /// A directory cannot be read.
    #[error(transparent)]
    Beneath(#[from] image_tool::beneath::Error),
    /// The upper directory cannot be packed.
    #[error(transparent)]
    Pack(#[from] layer::diff::Error),
    /// The command of a RUN failed.
    #[error(transparent)]
    Run(#[from] run::Error),
    /// A layout cannot be written.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The value of `RUN --mount` is not valid.
    #[error("--mount: {0}")]
    Mount(String),
    /// A path of VOLUME is empty once its variables have values.
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    /// STOPSIGNAL names something that is not a signal.
    #[error("invalid signal: {0} (SIGTERM, TERM, SIGRTMIN+3 or 15)")]
    Signal(String),
    /// The value of `RUN --device` is not valid.
    #[error("--device: {0}")]
    Device(String),
    /// The address of a git repository is wrong.
    #[error(transparent)]
    Address(#[from] git::BadAddress),
    /// A git repository cannot be fetched.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// A context with a name cannot be opened.
    #[error(transparent)]
    Context(#[from] context::Error),
    /// A source of COPY is a URL or a repository.
    #[error("{0}: COPY takes files only (ADD takes URLs and git repositories)")]
    RemoteCopy(String),
    /// `--checksum` of a file, which is not remote.
    #[error("--checksum is for a URL or a git repository, not for a file of the context")]
    LocalChecksum,
    /// `--checksum` with several sources.
    #[error("--checksum is for one source only")]
    SeveralChecksum,
    /// `--checksum` of a repository is no commit, or is another one than the address says.
    #[error("--checksum: {0}: expected the hash of one commit, or its beginning")]
    GitChecksum(String),
    /// The flag says one thing, the address another.
    #[error("--keep-git-dir: the address says otherwise")]
    KeepGitDir,
    /// EXPOSE names something that is not a port.
    #[error("{0:?} is not a valid port (80, 80/tcp, 8000-8010/udp)")]
    Port(String),
    /// The command is for another architecture.
    #[error(
        "this machine cannot run commands for {0} (register an interpreter with the flag F in /proc/sys/fs/binfmt_misc, as qemu-user-static does)"
    )]
    Foreign(String),
    /// The user is not root, nor could it become root of a user namespace.
    #[error(
        "a command needs root, or a user namespace: ids for this user in /etc/subuid and /etc/subgid, and newuidmap(1) (apt install uidmap); -v says what is missing"
    )]
    Unprivileged,
    /// The kernel refused something on this host.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
    /// Another stage failed, and its error was reported there.
    #[error("a stage that this one takes from failed")]
    Failed,
    /// The build was interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Whether the step was ended because the build ends.
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Run(run::Error::Interrupted))
    }
}

/// A step that failed, and its place in the Dockerfile.
#[derive(Debug)]
pub struct Failure {
    /// The instruction's lines.
    pub lines: Span,
    /// The instruction, shortened to one line.
    pub text: String,
    /// Why it failed.
    pub source: Error,
}
