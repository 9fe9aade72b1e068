//! The session: what all steps of a build share and none of them changes. What was asked for, where things are kept, whom to tell.

use std::collections::BTreeMap;
use std::path::PathBuf;

use image_tool::address::Address;
use image_tool::address::home::Home;
use image_tool::error::Io;
use image_tool::layer;
use image_tool::layout::platform::Platform;

use crate::cache::Cache;
use crate::cache::folder::Folder;
use crate::progress::{Progress, Show};
use crate::run::interrupt::Interrupt;
use crate::run::network::Network;
use crate::source::context::Context;
use crate::source::digests::Digests;
use crate::stage::base::Pull;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The names of the image; without any it goes to the default layout and has only its digest.
    pub tags: Vec<Address>,
    /// The context: a directory, or `-` for a tar on standard input.
    pub context: PathBuf,
    /// The Dockerfile, if it is not the context's; `-` is standard input.
    pub dockerfile: Option<PathBuf>,
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--secret`: id to file.
    pub secrets: BTreeMap<String, SecretSource>,
    /// `--target`.
    pub target: Option<String>,
    /// Take nothing from the step cache.
    pub no_cache: bool,
    /// When base images are pulled.
    pub pull: Pull,
    /// The OCI runtime.
    pub runtime: Option<PathBuf>,
    /// The platform of the image.
    pub platform: Option<Platform>,
    /// The network of RUN.
    pub network: Network,
    /// How much is shown.
    pub show: Show,
    /// `SOURCE_DATE_EPOCH`: the time of the image, and the latest time of anything in its layers.
    pub epoch: Option<i64>,
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file of the host.
    File(PathBuf),
    /// A variable of the caller's environment.
    Variable(String),
}

impl Options {
    /// The value of `--build-arg`, or of an argument that is there without it.
    pub fn argument(&self, platform: &Platform, name: &str) -> Option<String> {
        self.arguments.get(name).cloned().or_else(|| self.predefined(platform, name))
    }

    /// The value of an argument that is there without `--build-arg`.
    pub fn predefined(&self, platform: &Platform, name: &str) -> Option<String> {
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
            "TARGETSTAGE" => self.target.clone().unwrap_or_else(|| "default".to_owned()),
            "SOURCE_DATE_EPOCH" => self.epoch?.to_string(),
            _ => return None,
        })
    }

    /// RFC 3339 of the epoch, or of this moment if there is none.
    pub fn timestamp(&self) -> String {
        match self.epoch.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
            Some(time) => time.to_string(),
            None => jiff::Timestamp::now().to_string(),
        }
    }
}

/// Variables that RUN sees without an ARG and that change no key.
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

/// Whether RUN sees this `--build-arg` without an ARG.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name)
}

/// What the steps of one build share.
#[derive(Debug)]
pub struct Session<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// The platform of the image.
    pub platform: Platform,
    /// When the build began, RFC 3339; the epoch if there is one.
    pub now: String,
    /// The data folder.
    pub home: Home,
    /// The step cache.
    pub cache: Cache,
    /// The unpacked layers.
    pub layers: layer::cache::Cache,
    /// The context.
    pub context: Context,
    /// Digests of the files that were read.
    pub digests: Digests,
    /// Where progress is told.
    pub progress: Progress,
    /// Signals, and the containers that they end.
    pub interrupt: Interrupt,
}

impl Session<'_> {
    /// An empty folder of this build's own, on the file system of the layer cache.
    pub fn folder(&self) -> Result<Folder, Io> {
        Folder::new(&self.home.builds())
    }
}
