//! What a shell is offered for a word of the command line: what there is on this host, and the words that an option knows.

use bundle_tool::bundle::Bundle;
use bundle_tool::container;
use bundle_tool::network::cni::Conflist;
use bundle_tool::security::capability;
use bundle_tool::volume::Store;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use image_tool::address::home::Home;

/// Instructions of `commit --change`.
pub(super) const INSTRUCTIONS: &[&str] = &[
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
/// Common platforms.
pub(super) const PLATFORMS: &[&str] =
    &["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x"];
/// Signals that stop programs.
pub(super) const SIGNALS: &[&str] =
    &["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGKILL"];
/// Resource limits (getrlimit(2)).
pub(super) const ULIMITS: &[&str] = &[
    "core=",
    "cpu=",
    "data=",
    "fsize=",
    "locks=",
    "memlock=",
    "msgqueue=",
    "nice=",
    "nofile=",
    "nproc=",
    "rss=",
    "rtprio=",
    "rttime=",
    "sigpending=",
    "stack=",
];
/// Values of `--security-opt`.
pub(super) const SECURITY_OPTIONS: &[&str] = &[
    "apparmor=",
    "label=disable",
    "no-new-privileges",
    "seccomp=",
    "seccomp=unconfined",
    "systempaths=unconfined",
    "writable-cgroups",
];
/// Filters of `ps`.
pub(super) const FILTERS: &[&str] =
    &["name=", "id=", "status=running", "status=paused", "status=created", "status=exited", "label=", "ancestor="];

/// The names of containers.
pub(super) fn containers() -> ArgValueCandidates {
    of(|| names(list().iter().map(Bundle::name)))
}

/// `container:NAME` for each container, after the words that the option knows beside it.
pub(super) fn namespaces(words: &'static [&'static str]) -> ArgValueCandidates {
    of(move || {
        let own = words.iter().map(|word| (*word).to_owned());
        names(own.chain(list().iter().map(|bundle| format!("container:{}", bundle.name()))))
    })
}

/// The names of networks.
pub(super) fn networks() -> ArgValueCandidates {
    of(|| names(conflists()))
}

/// What `--network` takes: the names of networks, and the modes beside them.
pub(super) fn network_modes() -> ArgValueCandidates {
    of(|| {
        let modes = ["bridge", "none", "host"].map(str::to_owned).into_iter().chain(conflists());
        names(modes.chain(list().iter().map(|bundle| format!("container:{}", bundle.name()))))
    })
}

/// The names of volumes.
pub(super) fn volumes() -> ArgValueCandidates {
    of(|| {
        let known = Store::new(Home::from_environment().volumes()).list().unwrap_or_default();
        names(known.into_iter().map(|volume| volume.name))
    })
}

/// `ALL`, and every capability without its prefix.
pub(super) fn capabilities() -> ArgValueCandidates {
    of(|| {
        let all = capability::ALL.iter().map(|name| name.strip_prefix("CAP_").unwrap_or(name).to_owned());
        names(std::iter::once("ALL".to_owned()).chain(all))
    })
}

/// The words that an option knows, where it does not only take these.
pub(super) fn words(list: &'static [&'static str]) -> ArgValueCandidates {
    of(move || names(list.iter().map(|word| (*word).to_owned())))
}

fn of(list: impl Fn() -> Vec<CompletionCandidate> + Send + Sync + 'static) -> ArgValueCandidates {
    ArgValueCandidates::new(list)
}

fn names(names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn conflists() -> impl Iterator<Item = String> {
    let folders = container::network_folders(&Home::from_environment());
    Conflist::list(&folders).into_iter().map(|network| network.name)
}

fn list() -> Vec<Bundle> {
    Bundle::list(&Home::from_environment().bundles()).unwrap_or_default()
}
