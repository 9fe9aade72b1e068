//! The session: what all steps of a build share and none changes. It holds the options, the place where things are
//! kept, and progress.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Mutex;

use image_tool::address::Address;
use image_tool::address::home::Home;
use image_tool::error::{During, Io};
use image_tool::layer;
use image_tool::layout::platform::Platform;

use crate::cache::Cache;
use crate::cache::folder::Folder;
use crate::progress::{Progress, Show};
use crate::run::interrupt::Interrupt;
use crate::run::network::Network;
use crate::source::access::Access;
use crate::source::context::{self, Context};
use crate::source::digests::Digests;
use crate::source::named::Named;
use crate::source::place::Place;
use crate::stage::base::Pull;

/// The options of a build.
#[derive(Debug, Clone)]
pub struct Options {
    /// The names of the image. Without any, it goes to the default layout and has only its digest.
    pub tags: Vec<Address>,
    /// The context.
    pub context: Place,
    /// The contexts of `--build-context`, by name.
    pub contexts: BTreeMap<String, Place>,
    /// The Dockerfile, if it is not the context's own; `-` is standard input.
    pub dockerfile: Option<PathBuf>,
    /// The values of `--build-arg` by name.
    pub arguments: BTreeMap<String, String>,
    /// The labels of `--label`.
    pub labels: BTreeMap<String, String>,
    /// The sources of secrets, by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The stage of `--target`, by name or number; `None` is the last one.
    pub target: Option<String>,
    /// Whether every step is done, even if the cache holds its result.
    pub no_cache: bool,
    /// The stages whose steps are done in any case, in lower case.
    pub no_cache_stages: Vec<String>,
    /// When base images are pulled.
    pub pull: Pull,
    /// The OCI runtime's program; `None` is run-tool, else runc or crun.
    pub runtime: Option<PathBuf>,
    /// The platforms of the image; none means this machine's, and that of its base image.
    pub platforms: Vec<Platform>,
    /// The network of RUN, unless the instruction chooses another.
    pub network: Network,
    /// How much progress is shown.
    pub show: Show,
    /// Whether the findings of the lint are shown with their lines.
    pub debug: bool,
    /// `SOURCE_DATE_EPOCH`, once it is known: the time of the image, and the latest time of anything in its layers. The build
    /// sets it by the argument of that name.
    pub epoch: Option<i64>,
}

/// The source of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file of the host.
    File(PathBuf),
    /// A variable of the caller's environment.
    Variable(String),
}

impl Options {
    /// The value of an argument: that of `--build-arg`, or the predefined one.
    pub fn argument(&self, platform: &Platform, stage: &str, name: &str) -> Option<String> {
        self.arguments.get(name).cloned().or_else(|| self.predefined(platform, stage, name))
    }

    /// The value of a predefined argument; `stage` is the target's name.
    pub fn predefined(&self, platform: &Platform, stage: &str, name: &str) -> Option<String> {
        let host = Platform::host();
        let variant = |platform: &Platform| platform.variant().unwrap_or_default().to_owned();
        Some(match name {
            "TARGETPLATFORM" => platform.to_string(),
            "TARGETOS" => platform.os().to_owned(),
            "TARGETARCH" => platform.architecture().to_owned(),
            "TARGETVARIANT" => variant(platform),
            "BUILDPLATFORM" => host.to_string(),
            "BUILDOS" => host.os().to_owned(),
            "BUILDARCH" => host.architecture().to_owned(),
            "BUILDVARIANT" => variant(&host),
            "TARGETOSVERSION" | "BUILDOSVERSION" => String::new(),
            "TARGETSTAGE" => stage.to_owned(),
            "SOURCE_DATE_EPOCH" => self.epoch?.to_string(),
            _ => return None,
        })
    }

    /// The epoch, or else this moment, as RFC 3339.
    pub fn timestamp(&self) -> String {
        match self.epoch.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
            Some(time) => time.to_string(),
            None => jiff::Timestamp::now().to_string(),
        }
    }
}

/// The argument that keeps `.git` of a context that is a repository.
pub const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

impl SecretSource {
    /// Reads the secret; `None` if the variable is not set.
    pub fn read(&self) -> Result<Option<Vec<u8>>, Io> {
        match self {
            Self::File(path) => Ok(Some(fs::read(path).during("read the secret", path)?)),
            Self::Variable(name) => Ok(std::env::var_os(name).map(OsStringExt::into_vec)),
        }
    }
}

impl Options {
    /// The credentials among the secrets. The agent is the caller's, if the context is reached by ssh.
    pub fn access(&self) -> Result<Access, Io> {
        let mut access = Access::default();
        for (id, source) in self.secrets.iter().filter(|(id, _)| Access::is_credential(id)) {
            if let Some(secret) = source.read()? {
                access.add(id, &secret);
            }
        }
        if self.context.is_ssh() || self.contexts.values().any(Place::is_ssh) {
            access.agent = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
        }
        Ok(access)
    }

    /// Opens the context.
    pub fn open_context(&self, access: &Access, home: &Home) -> Result<Context, context::Error> {
        let keep = self.arguments.get(KEEP_GIT_DIR);
        let keep = keep.is_some_and(|value| ["1", "t", "T", "true", "True", "TRUE"].contains(&value.as_str()));
        Context::open_with(&self.context, self.dockerfile.as_deref(), home, access, keep)
    }
}

/// Build arguments that RUN sees without an ARG and that are no part of a key.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Whether RUN sees this build argument without an ARG.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name)
}

/// What the steps of one build share.
#[derive(Debug)]
pub struct Session<'a> {
    /// The options of the build.
    pub options: &'a Options,
    /// The platform of the image.
    pub platform: Platform,
    /// The name of the stage that becomes the image, `default` if it has none.
    pub stage: String,
    /// The arguments that base images' triggers declare.
    pub triggered: Mutex<BTreeSet<String>>,
    /// The digests of the images that were taken, by name and platform.
    pub bases: Mutex<BTreeMap<(String, String), String>>,
    /// When the build began, or the epoch, as RFC 3339.
    pub now: String,
    /// The data folder, `$OCI_HOME`.
    pub home: Home,
    /// The step cache.
    pub cache: Cache,
    /// The cache of unpacked layers.
    pub layers: layer::cache::Cache,
    /// The context.
    pub context: Context,
    /// The contexts that have a name.
    pub contexts: Named,
    /// The credentials for sources over the network.
    pub access: Access,
    /// The digests of files that were read.
    pub digests: Digests,
    /// Where progress is shown.
    pub progress: Progress,
    /// Signals, and the containers to kill at one.
    pub interrupt: Interrupt,
}

impl Session<'_> {
    /// The value of an argument: that of `--build-arg`, or the predefined one.
    pub fn argument(&self, name: &str) -> Option<String> {
        self.options.argument(&self.platform, &self.stage, name)
    }

    /// Creates a temporary folder on the layer cache's file system.
    pub fn folder(&self) -> Result<Folder, Io> {
        Folder::new(&self.home.builds())
    }
}
