//! The instructions: one typed value for each.
//!
//! Variables are not expanded yet; [`crate::dockerfile::expand`] does that when a step is reached.

use serde::Serialize;

use super::heredoc::Heredoc;

/// The keywords of all instructions.
pub const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction and its arguments.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "instruction", content = "value", rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the variants are the instructions of the Dockerfile reference")]
pub enum Instruction {
    Add(Copy),
    Arg(Vec<Argument>),
    Cmd(CommandLine),
    Copy(Copy),
    Entrypoint(CommandLine),
    Env(Pairs),
    Expose(Vec<String>),
    From(From),
    Healthcheck(Healthcheck),
    Label(Pairs),
    Maintainer(String),
    /// The trigger as text, as an image's config stores it.
    OnBuild(String),
    Run(Run),
    Shell(Vec<String>),
    StopSignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

impl Instruction {
    /// Whether the instruction may change files, and so make a layer. The others set fields of the image's config.
    pub fn makes_layer(&self) -> bool {
        matches!(self, Self::Add(_) | Self::Copy(_) | Self::Run(_) | Self::Workdir(_))
    }

    /// The keyword in upper case.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::From(_) => "FROM",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::OnBuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// The arguments of FROM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct From {
    /// The image or the stage to begin with.
    pub base: String,
    /// The name after `AS`, in lower case.
    pub name: Option<String>,
    /// The value of `--platform`.
    pub platform: Option<String>,
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandLine {
    /// The program and its arguments, from a JSON array.
    Exec(Vec<String>),
    /// Text for the shell.
    Shell(String),
}

/// The arguments of RUN.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The command, in either form.
    pub command: CommandLine,
    /// The heredocs that the command names, in order.
    pub heredocs: Vec<Heredoc>,
    /// The values of `--mount`, in order, for [`super::mount::parse`] once variables are expanded.
    pub mounts: Vec<String>,
    /// The values of `--device`, in order, for [`super::device::parse`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// The value of `--network`: `default`, `host` or `none`.
    pub network: Option<String>,
    /// The value of `--security`: `sandbox` or `insecure`.
    pub security: Option<String>,
}

/// The arguments of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    /// Paths and patterns, and for ADD also URLs.
    pub sources: Vec<String>,
    /// Heredocs among the sources.
    pub heredocs: Vec<Heredoc>,
    /// The destination; a trailing `/` says that it is a directory.
    pub destination: String,
    /// The value of `--from` (COPY): a stage or an image.
    pub from: Option<String>,
    /// The value of `--chown`.
    pub chown: Option<String>,
    /// The value of `--chmod`.
    pub chmod: Option<String>,
    /// `--link`: the layer does not depend on what lies below it.
    pub link: bool,
    /// `--parents` (COPY): copy the sources' parent directories too.
    pub parents: bool,
    /// The patterns of `--exclude`.
    pub exclude: Vec<String>,
    /// The value of `--checksum` (ADD): the digest of a download.
    pub checksum: Option<String>,
    /// The value of `--keep-git-dir` (ADD): whether a repository is copied with its `.git`.
    pub keep_git_dir: Option<bool>,
    /// The value of `--unpack` (ADD). By default, local archives are unpacked and remote ones are not.
    pub unpack: Option<bool>,
}

/// The arguments of ENV or LABEL.
pub type Pairs = Vec<Pair>;

/// A name with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// The name; for LABEL with its quotes.
    pub name: String,
    /// The value, with its quotes.
    pub value: String,
    /// Whether it is written in the old form, `NAME value`.
    pub legacy: bool,
}

/// One argument that ARG declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// The argument's name.
    pub name: String,
    /// The value that it has without `--build-arg`.
    pub default: Option<String>,
}

/// The arguments of HEALTHCHECK; durations are 0 if they are not given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Healthcheck {
    /// The command; `None` for `HEALTHCHECK NONE`.
    pub command: Option<CommandLine>,
    /// Nanoseconds between two runs.
    pub interval: u64,
    /// Nanoseconds that one run may take.
    pub timeout: u64,
    /// Nanoseconds after the start in which failures do not count.
    pub start_period: u64,
    /// Nanoseconds between two runs in the start period.
    pub start_interval: u64,
    /// Failures in a row until the container is unhealthy.
    pub retries: u32,
}
