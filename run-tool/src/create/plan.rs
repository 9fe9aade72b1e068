//! The plan of a container: its configuration, converted to what the steps need before anything of the container exists.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Result;
use libcontainer::oci_spec::runtime::{Hooks, LinuxIdMapping, LinuxNamespaceType, LinuxResources, Spec};

use super::namespace::{self, Namespaces};
use super::notify;
use crate::cgroup::Cgroup;
use crate::cgroup::entrance::Entrance;
use crate::container::hook::{self, Given};
use crate::container::output;
use crate::container::state::{self, State};
use crate::kernel::{socket, syscall};
use crate::rootfs;
use crate::spec::{self, Items, annotation};

/// How to create a container, apart from its configuration.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// The container's id.
    pub(crate) id: String,
    /// The folder of all containers' state.
    pub(crate) root: PathBuf,
    /// The absolute path of the bundle.
    pub(crate) bundle: PathBuf,
    /// `--no-pivot`.
    pub(crate) no_pivot: bool,
    /// `--no-new-keyring`.
    pub(crate) no_new_keyring: bool,
    /// The socket that receives the terminal's master; without one it is returned to the caller.
    pub(crate) console_socket: Option<PathBuf>,
    /// The socket that receives a pidfd of the init process.
    pub(crate) pidfd_socket: Option<PathBuf>,
    /// The number of descriptors after the standard streams that the program inherits.
    pub(crate) kept: u32,
    /// Variables to add to the program's environment, as `NAME=value`.
    pub(crate) environment: Vec<String>,
    /// Whether errors of permission on control groups are ignored (`--rootless`).
    pub(crate) rootless_cgroups: bool,
    /// Whether systemd manages the control groups.
    pub(crate) systemd_cgroup: bool,
    /// Whether the program waits for `start`.
    pub(crate) wait_for_start: bool,
    /// The program's signal mask, if run-tool has blocked signals for itself.
    pub(crate) mask: Option<syscall::SignalMask>,
    /// The standard streams; `None` for those of the caller.
    pub(crate) streams: Option<[OwnedFd; 3]>,
    /// Whether a supervisor restarts the container, so that its folder exists.
    pub(crate) again: bool,
    /// The caller's `NOTIFY_SOCKET`.
    pub(crate) notify: Option<OsString>,
    /// The log settings of a container with a supervisor.
    pub(crate) log: Option<output::Settings>,
    /// The columns and rows that its terminal has at first, unless config.json says so.
    pub(crate) size: Option<(u16, u16)>,
}

/// Everything that the child needs to know, decided before the clone.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The container's id.
    pub(crate) id: String,
    /// The plan of its file system.
    pub(crate) rootfs: rootfs::plan::Plan,
    /// Its namespaces, new and joined.
    pub(crate) namespaces: Namespaces,
    /// The container's uid and gid mappings, for id-mapped mounts without their own.
    pub(crate) id_maps: (Vec<LinuxIdMapping>, Vec<LinuxIdMapping>),
    /// `hostname`.
    pub(crate) hostname: String,
    /// `domainname`.
    pub(crate) domainname: String,
    /// `linux.sysctl`, names with values.
    pub(crate) sysctls: Vec<(String, String)>,
    /// Whether the container gets a session keyring of its own.
    pub(crate) keyring: bool,
    /// `process.user.umask`.
    pub(crate) umask: u32,
    /// Whether the program gets a terminal.
    pub(crate) terminal: bool,
    /// Whether its terminal, or the pipes in place of one, lead to the caller's streams.
    pub(crate) foreground: bool,
    /// The columns and rows that its terminal has at first.
    pub(crate) size: Option<(u16, u16)>,
    /// The connected console socket.
    pub(crate) console: Option<OwnedFd>,
    /// The connected pidfd socket.
    pub(crate) pidfd_socket: Option<OwnedFd>,
    /// How the process gets into its control groups.
    pub(crate) entrance: Entrance,
    /// The fifo at which it waits for `start`, opened with O_PATH; `None` if it does not wait.
    pub(crate) fifo: Option<OwnedFd>,
    /// Its standard streams; `None` for those of the caller.
    pub(crate) streams: Option<[OwnedFd; 3]>,
    /// The hooks of the configuration.
    pub(crate) hooks: Hooks,
    /// Where the output of hooks goes. The files are opened here, because the container's root does not have them.
    pub(crate) hook_output: hook::Output,
    /// The state for hooks that run in the child, without the process.
    pub(crate) state: State,
}

impl Plan {
    /// Plans a container. It takes the streams out of the options and connects the sockets.
    pub(crate) fn new(spec: &Spec, options: &mut Options, cgroup: &Cgroup, rootless: bool) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let process = spec.process().as_ref();
        let path = spec::rootfs(spec, &options.bundle)?;
        let namespaces =
            Namespaces::open(spec::namespaces(spec), linux.and_then(|linux| linux.time_offsets().as_ref()))?;
        let mut rootfs = rootfs::plan::Plan::new(spec, &options.bundle, path, options.no_pivot, rootless)?;
        rootfs.cgroup_path = cgroup.unified().then(|| cgroup.paths[""].clone());
        rootfs.hierarchies = namespaces.makes(LinuxNamespaceType::Mount).then(|| cgroup.hierarchies.clone());
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
            size: options.size,
            console,
            pidfd_socket,
            entrance: Entrance::default(),
            fifo: None,
            streams: options.streams.take(),
            hooks: spec.hooks().clone().unwrap_or_default(),
            hook_output: hook::Output::open(|name| annotation::of(spec, name))?,
            state,
        })
    }

    /// Runs the hooks of the runtime's namespaces. `state` is the document that they read.
    pub(crate) fn run_outer_hooks(&self, state: String) -> Result<()> {
        let given = Given::outside(state, &self.hook_output);
        hook::run("prestart", self.hooks.prestart().as_ref(), &given)?;
        hook::run("createRuntime", self.hooks.create_runtime().as_ref(), &given)
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
