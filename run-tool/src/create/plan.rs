//! All that is decided about a container before anything of it exists: its configuration read into what the steps need.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Result;
use libcontainer::oci_spec::runtime::{Hooks, LinuxIdMapping, LinuxResources, Spec};

use super::namespace::{self, Namespaces};
use super::notify;
use crate::cgroup::Cgroup;
use crate::cgroup::entrance::Entrance;
use crate::container::output;
use crate::container::state::{self, State};
use crate::kernel::{socket, syscall};
use crate::rootfs;
use crate::spec::{self, Items};

/// How a container is to be made, beside its configuration.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Its name.
    pub(crate) id: String,
    /// Where containers are kept.
    pub(crate) root: PathBuf,
    /// Its bundle.
    pub(crate) bundle: PathBuf,
    /// `--no-pivot`.
    pub(crate) no_pivot: bool,
    /// `--no-new-keyring`.
    pub(crate) no_new_keyring: bool,
    /// Who gets the terminal; without one it comes back to the caller.
    pub(crate) console_socket: Option<PathBuf>,
    /// Who gets a descriptor of the first process.
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// Descriptors after the standard streams to hand on.
    pub(crate) kept: u32,
    /// Additional environment.
    pub(crate) environment: Vec<String>,
    /// Missing rights over control groups are no error.
    pub(crate) rootless_cgroups: bool,
    /// Whether systemd manages the groups.
    pub(crate) systemd_cgroup: bool,
    /// Whether `start` is waited for.
    pub(crate) wait_for_start: bool,
    /// The mask of signals of the program.
    pub(crate) mask: Option<syscall::SignalMask>,
    /// What the standard streams become, where they are not the caller's.
    pub(crate) streams: Option<[OwnedFd; 3]>,
    /// Whether it takes the folder of the one before it.
    pub(crate) again: bool,
    /// The caller's socket for the container's word that it is ready.
    pub(crate) notify: Option<OsString>,
    /// Where the output is kept, if there is a supervisor.
    pub(crate) log: Option<output::Settings>,
}

/// All that is decided before the clone.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The container's name.
    pub(crate) id: String,
    /// Its file system.
    pub(crate) rootfs: rootfs::plan::Plan,
    /// Its namespaces.
    pub(crate) namespaces: Namespaces,
    /// The id maps of the container, for mounts that take them over.
    pub(crate) id_maps: (Vec<LinuxIdMapping>, Vec<LinuxIdMapping>),
    /// `hostname`.
    pub(crate) hostname: String,
    /// `domainname`.
    pub(crate) domainname: String,
    /// `linux.sysctl`.
    pub(crate) sysctls: Vec<(String, String)>,
    /// Whether it gets a session keyring.
    pub(crate) keyring: bool,
    /// `process.user.umask`.
    pub(crate) umask: u32,
    /// Whether its terminal is allocated.
    pub(crate) terminal: bool,
    /// Whether the terminal is shown in the caller's.
    pub(crate) foreground: bool,
    /// Where the terminal goes.
    pub(crate) console: Option<OwnedFd>,
    /// Where the pidfd goes.
    pub(crate) pidfd_socket: Option<OwnedFd>,
    /// The way into its groups.
    pub(crate) entrance: Entrance,
    /// The fifo to wait at.
    pub(crate) fifo: Option<OwnedFd>,
    /// Its standard streams, where they are not the caller's.
    pub(crate) streams: Option<[OwnedFd; 3]>,
    /// Its hooks.
    pub(crate) hooks: Hooks,
    /// The state for hooks inside, without pid and status.
    pub(crate) state: State,
}

impl Plan {
    /// Reads a configuration.
    pub(crate) fn new(spec: &Spec, options: &mut Options, cgroup: &Cgroup, rootless: bool) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let process = spec.process().as_ref();
        let path = spec::rootfs(spec, &options.bundle)?;
        let namespaces =
            Namespaces::open(spec::namespaces(spec), linux.and_then(|linux| linux.time_offsets().as_ref()))?;
        let mut rootfs = rootfs::plan::Plan::new(spec, &options.bundle, path, options.no_pivot, rootless)?;
        rootfs.cgroup_path = cgroup.unified().then(|| cgroup.paths[""].clone());
        if options.notify.is_some() {
            rootfs.mounts.push(notify::mount(&options.root.join(&options.id)));
        }
        let connect = |path: &Option<PathBuf>| path.as_deref().map(socket::connect).transpose();
        let (console, pidfd_socket) = (connect(&options.console_socket)?, connect(&options.pidfd_socket)?);
        let state = new_state(spec, options, &rootfs.path, cgroup, rootless)?;
        let uids = linux.map_or(&[][..], |linux| linux.uid_mappings().items());
        let gids = linux.map_or(&[][..], |linux| linux.gid_mappings().items());
        let sysctls = linux.and_then(|linux| linux.sysctl().as_ref()).into_iter().flatten();
        Ok(Self {
            id: options.id.clone(),
            rootfs,
            namespaces,
            id_maps: (uids.to_vec(), gids.to_vec()),
            hostname: spec.hostname().clone().unwrap_or_default(),
            domainname: spec.domainname().clone().unwrap_or_default(),
            sysctls: sysctls.map(|(name, value)| (name.clone(), value.clone())).collect(),
            keyring: !options.no_new_keyring,
            umask: process.and_then(|process| process.user().umask()).unwrap_or(0o022),
            terminal: process.and_then(|process| process.terminal()).unwrap_or(false),
            foreground: options.mask.is_some() && options.log.is_none(),
            console,
            pidfd_socket,
            entrance: Entrance::default(),
            fifo: None,
            streams: options.streams.take(),
            hooks: spec.hooks().clone().unwrap_or_default(),
            state,
        })
    }
}

fn new_state(spec: &Spec, options: &Options, rootfs: &Path, cgroup: &Cgroup, rootless: bool) -> Result<State> {
    let linux = spec.linux().as_ref();
    let mut labels: Vec<String> =
        spec.annotations().iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
    labels.sort_unstable();
    labels.push(format!("bundle={}", options.bundle.display()));
    let namespaces = spec::namespaces(spec)
        .iter()
        .map(|namespace| state::Namespace {
            kind: namespace::names(namespace.typ()).0.to_owned(),
            path: namespace.path().clone().unwrap_or_default(),
        })
        .collect();
    let to_value = |resources: &LinuxResources| serde_json::to_value(resources);
    let config = state::Config {
        rootfs: rootfs.to_owned(),
        namespaces,
        labels,
        version: spec::SPEC_VERSION.to_owned(),
        no_new_keyring: options.no_new_keyring,
        rootless_euid: rootless,
        rootless_cgroups: options.rootless_cgroups,
        cgroups: cgroup.unit.clone(),
        umask: spec.process().as_ref().and_then(|process| process.user().umask()),
        resources: linux.and_then(|linux| linux.resources().as_ref()).map(to_value).transpose()?,
        intel_rdt: linux.and_then(|linux| linux.intel_rdt().as_ref()).map(Into::into),
        hooks: spec.hooks().as_ref().map(serde_json::to_value).transpose()?,
        seccomp: linux.and_then(|linux| linux.seccomp().as_ref()).map(|profile| state::Seccomp {
            flag_bits: 0,
            listener_path: profile.listener_path().clone(),
            listener_metadata: profile.listener_metadata().clone(),
        }),
        personality: None,
        memory_policy: linux.and_then(|linux| linux.memory_policy().as_ref()).map(serde_json::to_value).transpose()?,
        process: spec.process().as_ref().map(spec::inherited).transpose()?,
        uid_mappings: namespace::stored(linux.map_or(&[][..], |linux| linux.uid_mappings().items())),
        gid_mappings: namespace::stored(linux.map_or(&[][..], |linux| linux.gid_mappings().items())),
    };
    Ok(State {
        id: options.id.clone(),
        created: jiff::Timestamp::now().to_string(),
        config,
        rootless,
        cgroup_paths: cgroup.paths.clone(),
        log: options.log.clone(),
        ..State::default()
    })
}
