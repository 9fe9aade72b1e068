//! The session: what all steps of a build share and none changes. It holds the options, the place where things are
//! kept, and progress.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use image_tool::address::Address;
use image_tool::address::digest::Digest;
use image_tool::address::home::Home;
use image_tool::error::{During, Io};
use image_tool::layer;
use image_tool::layer::limit::Limits;
use image_tool::layer::stack::Stack;
use image_tool::layout::platform::Platform;
use oci_spec::image::Descriptor;

use crate::cache::Cache;
use crate::cache::folder::Folder;
use crate::cache::turn::Turns;
use crate::dockerfile::instruction::Run;
use crate::progress::{Progress, Show};
use crate::run::agent::{self, Agents};
use crate::run::entitlement::Granted;
use crate::run::interrupt::Interrupt;
use crate::run::network::Network;
use crate::run::sandbox::Sandbox;
use crate::run::site::Site;
use crate::run::watch::Watch;
use crate::source::access::Access;
use crate::source::context::{self, Context};
use crate::source::digests::Digests;
use crate::source::named::Named;
use crate::source::place::Place;
use crate::stage::base::Pull;
use crate::stage::{self, layer::Layer};
use crate::step::materials::Materials;

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
    /// The limits of base images' layers.
    pub limits: Limits,
    /// The OCI runtime's program; `None` is run-tool, else runc or crun.
    pub runtime: Option<PathBuf>,
    /// The platforms of the image; none means this machine's, and that of its base image.
    pub platforms: Vec<Platform>,
    /// What every RUN gets.
    pub sandbox: Sandbox,
    /// What a RUN may have if it asks for it.
    pub granted: Granted,
    /// The values of `--ssh`: `default`, or `ID[=PATH[,PATH…]]`.
    pub ssh: Vec<String>,
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
        match name {
            "SOURCE_DATE_EPOCH" => self.epoch.map(|seconds| seconds.to_string()),
            _ => predefined(platform, stage, name),
        }
    }

    /// The epoch, or else this moment, as RFC 3339.
    pub fn timestamp(&self) -> String {
        match self.epoch.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
            Some(time) => time.to_string(),
            None => jiff::Timestamp::now().to_string(),
        }
    }
}

/// The value of an argument that every build has: one of [`PREDEFINED`](crate::dockerfile::expand::PREDEFINED). `stage` is the target's
/// name.
pub fn predefined(platform: &Platform, stage: &str, name: &str) -> Option<String> {
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
        _ => return None,
    })
}

/// The argument that keeps `.git` of a context that is a repository.
pub const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// The largest secret; BuildKit's limit.
pub const SECRET_LIMIT: u64 = 500 << 10;

impl SecretSource {
    /// Reads the secret, and of a file that exceeds the limit one byte more; `None` if the variable is not set.
    pub fn read(&self) -> Result<Option<Vec<u8>>, Io> {
        match self {
            Self::File(path) => {
                let mut bytes = Vec::new();
                let read = File::open(path).and_then(|file| file.take(SECRET_LIMIT + 1).read_to_end(&mut bytes));
                read.during("read the secret", path)?;
                Ok(Some(bytes))
            }
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

/// Build arguments that RUN sees without an ARG and that are no part of a key, each in capitals and in small letters.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// The build argument for the host name of RUN.
pub const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";

/// Whether RUN sees this build argument without an ARG.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

/// The variables that these build arguments give to RUN, in both spellings, since some programs read only one of them.
pub fn proxies(arguments: &BTreeMap<String, String>) -> Vec<String> {
    let mut variables = Vec::new();
    for proxy in PROXIES {
        // Of two spellings, the last one in the order of names counts, which is the one in small letters.
        if let Some((_, value)) = arguments.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(proxy)) {
            variables.push(format!("{proxy}={value}"));
            variables.push(format!("{}={value}", proxy.to_ascii_lowercase()));
        }
    }
    variables
}

/// Starts a watch over a build that is about to make temporary folders or mounts.
pub fn watch(builds: &Path) -> Option<Watch> {
    match Watch::start(builds) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!("a killed build will leave its containers and folders to the next one: {error}");
            None
        }
    }
}

/// What the steps of one build share.
#[derive(Debug)]
pub struct Session<'a> {
    /// The options of the build.
    pub options: &'a Options,
    /// The name of the stage that becomes the image, `default` if it has none.
    pub stage: String,
    /// The arguments that base images' triggers declare.
    pub triggered: Mutex<BTreeSet<String>>,
    /// What was taken from outside.
    pub materials: Mutex<Materials>,
    /// When the build began, or the epoch, as RFC 3339.
    pub now: String,
    /// The data folder, `$OCI_HOME`.
    pub home: Home,
    /// The step cache.
    pub cache: Cache,
    /// The commands that are being run, so that none is run twice for two platforms.
    pub turns: Turns,
    /// Held while an image is looked up or pulled, by its name: its images for two platforms are put under one name.
    pub pulls: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
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
    /// The SSH agents that the caller gives.
    pub agents: Agents,
    /// What ADD of a repository may use, made with the first of them.
    pub added: OnceLock<Access>,
    /// The layer of a command that changes nothing, once there was one.
    pub empty: OnceLock<(Descriptor, Digest)>,
    /// What the commands have in common, made with the first of them.
    pub site: Mutex<Option<Arc<Site>>>,
    /// Ends the containers if the build is killed, and removes its folders; started before the first of them, and dropped after the
    /// last, so it is the last field.
    pub watch: OnceLock<Option<Watch>>,
}

impl Session<'_> {
    /// The value of an argument: that of `--build-arg`, or the predefined one. `platform` is the image's.
    pub fn argument(&self, platform: &Platform, name: &str) -> Option<String> {
        self.options.argument(platform, &self.stage, name)
    }

    /// Creates a temporary folder on the layer cache's file system, which is watched.
    pub fn folder(&self) -> Result<Folder, Io> {
        self.begin_watch();
        Folder::new(&self.home.builds())
    }

    /// The layers as directories, those of base images mounted, which is watched.
    pub fn stack(&self, layers: &[Layer]) -> Result<Stack, layer::stack::Error> {
        self.begin_watch();
        stage::layer::stack(layers, &self.layers)
    }

    /// What was taken from outside, for reading or adding to it.
    pub fn materials(&self) -> MutexGuard<'_, Materials> {
        self.materials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_watch(&self) {
        self.watch.get_or_init(|| watch(&self.home.builds()));
    }

    /// What the commands have in common.
    pub fn site(&self) -> Result<Arc<Site>, Io> {
        let mut site = self.site.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = &*site {
            return Ok(Arc::clone(site));
        }
        let made = Arc::new(Site::new(&self.home.builds(), &self.options.sandbox, self.options.runtime.clone())?);
        Ok(Arc::clone(site.insert(made)))
    }

    /// What ADD of a repository may use. Its agent is that of `--ssh default`: a context that is reached by ssh gives the Dockerfile no
    /// right to the caller's.
    pub fn added(&self) -> Result<&Access, agent::Error> {
        if let Some(access) = self.added.get() {
            return Ok(access);
        }
        let agent = self.agents.socket("default", &self.home.builds())?;
        Ok(self.added.get_or_init(|| self.access.with_agent(agent)))
    }

    /// What a RUN asks for: whether everything is to be allowed, and its network.
    pub fn asks(&self, run: &Run) -> (bool, Network) {
        let network = match run.network.as_deref() {
            Some("none") => Network::None,
            Some("host") => Network::Host,
            _ => self.options.sandbox.network,
        };
        (run.security.as_deref() == Some("insecure"), network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_comes_in_both_spellings() {
        let arguments =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(
            proxies(&arguments(&[("http_proxy", "a"), ("HTTP_PROXY", "b"), ("NO_PROXY", "c"), ("OTHER", "d")])),
            ["HTTP_PROXY=a", "http_proxy=a", "NO_PROXY=c", "no_proxy=c"]
        );
        assert!(is_proxy("All_Proxy") && !is_proxy("PROXY"));
        assert!(proxies(&arguments(&[])).is_empty());
    }
}
