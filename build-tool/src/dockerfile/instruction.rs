//! The instructions: one typed value for each.
//!
//! Variables are still as written; [`crate::dockerfile::expand`] gives them values when the step is reached.

use serde::Serialize;

use super::heredoc::Heredoc;

/// Every instruction, as it is written.
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

/// One instruction.
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
    /// The trigger as text, which is how an image's config keeps it.
    OnBuild(String),
    Run(Run),
    Shell(Vec<String>),
    StopSignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

impl Instruction {
    /// Whether it may change files, and so make a layer; the others set fields of the image's config.
    pub fn makes_layer(&self) -> bool {
        matches!(self, Self::Add(_) | Self::Copy(_) | Self::Run(_) | Self::Workdir(_))
    }

    /// The keyword, in capitals.
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

/// FROM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct From {
    /// The image or stage.
    pub base: String,
    /// `AS name`, in lower case.
    pub name: Option<String>,
    /// `--platform`.
    pub platform: Option<String>,
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandLine {
    /// `["program", "argument"]`.
    Exec(Vec<String>),
    /// Text for the shell.
    Shell(String),
}

/// RUN.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// What to run.
    pub command: CommandLine,
    /// The bodies that the command names.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, in order, for [`super::mount::parse`] once variables are expanded.
    pub mounts: Vec<String>,
    /// `--network`.
    pub network: Option<String>,
    /// `--security`.
    pub security: Option<String>,
}

/// COPY and ADD.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    /// Paths, patterns and, for ADD, URLs.
    pub sources: Vec<String>,
    /// Heredocs among the sources.
    pub heredocs: Vec<Heredoc>,
    /// Where to.
    pub destination: String,
    /// `--from` (COPY).
    pub from: Option<String>,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`: the step does not look at what lies below it.
    pub link: bool,
    /// `--parents` (COPY): keep the sources' folders.
    pub parents: bool,
    /// `--exclude`.
    pub exclude: Vec<String>,
    /// `--checksum` (ADD).
    pub checksum: Option<String>,
    /// `--keep-git-dir` (ADD).
    pub keep_git_dir: bool,
    /// `--unpack` (ADD): whether archives are unpacked; by default local ones are and remote ones are not.
    pub unpack: Option<bool>,
}

/// Names with values.
pub type Pairs = Vec<Pair>;

/// A name with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// The name, for LABEL with its quotes.
    pub name: String,
    /// The value with its quotes.
    pub value: String,
    /// Written `NAME value`, as was the custom once.
    pub legacy: bool,
}

/// One name of ARG.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// The name.
    pub name: String,
    /// Its value if none is given to the build.
    pub default: Option<String>,
}

/// HEALTHCHECK.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Healthcheck {
    /// `None` for HEALTHCHECK NONE.
    pub command: Option<CommandLine>,
    /// Nanoseconds between two runs.
    pub interval: u64,
    /// Nanoseconds that one run may take.
    pub timeout: u64,
    /// Nanoseconds in which failures do not count.
    pub start_period: u64,
    /// Nanoseconds between two runs in that time.
    pub start_interval: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}
