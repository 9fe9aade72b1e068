//! All that is decided about a container before anything of it exists: its configuration read into what the steps need.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{Hooks, LinuxIdMapping, LinuxNamespaceType, LinuxResources, Spec};

use crate::cgroup::Cgroup;
use crate::cgroup::entrance::Entrance;
use crate::container::state::{self, State};
use crate::create::namespace::{self, Namespaces};
use crate::create::{notify, talk};
use crate::kernel::syscall;
use crate::program::Program;
use crate::rootfs;
use crate::rootfs::device::Node;
use crate::rootfs::mount::Mount;
use crate::spec::{self, Items, Namespaces as _};

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
    pub(crate) log: Option<crate::supervise::logs::Settings>,
}

/// All that is decided before the clone.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The container's name.
    pub(crate) id: String,
    /// Its root file system.
    pub(crate) rootfs: PathBuf,
    /// Its mounts, in order.
    pub(crate) mounts: Vec<Mount>,
    /// Its device nodes.
    pub(crate) devices: Vec<Node>,
    /// Its namespaces.
    pub(crate) namespaces: Namespaces,
    /// `linux.rootfsPropagation`.
    pub(crate) root_propagation: Option<u64>,
    /// Whether it has a mount namespace, new or joined.
    pub(crate) mount_namespace: bool,
    /// Whether it has a cgroup namespace, new or joined.
    pub(crate) cgroup_namespace: bool,
    /// The id maps of the container, for mounts that take them over.
    pub(crate) id_maps: (Vec<LinuxIdMapping>, Vec<LinuxIdMapping>),
    /// Whether it gets ids of its own.
    pub(crate) userns: bool,
    /// `--no-pivot`.
    pub(crate) no_pivot: bool,
    /// `root.readonly`.
    pub(crate) read_only_root: bool,
    /// `linux.mountLabel`.
    pub(crate) mount_label: String,
    /// Whether devices are the host's, since none can be made.
    pub(crate) binds_devices: bool,
    /// Made by a user other than root.
    pub(crate) rootless: bool,
    /// Its version 2 group.
    pub(crate) cgroup_path: Option<PathBuf>,
    /// `hostname`.
    pub(crate) hostname: String,
    /// `domainname`.
    pub(crate) domainname: String,
    /// `linux.sysctl`.
    pub(crate) sysctls: Vec<(String, String)>,
    /// `linux.readonlyPaths`.
    pub(crate) read_only_paths: Vec<String>,
    /// `linux.maskedPaths`.
    pub(crate) masked_paths: Vec<String>,
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
    pub(crate) fn new(spec: &Spec, options: &mut Options, cgroup: &Cgroup, program: &Program) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let listed = spec::namespaces(spec);
        let root = spec.root().as_ref().context("root must be specified")?;
        let rootfs = spec::rootfs(spec, &options.bundle)?;
        let rootless = program.rootless;
        let userns = listed.has(LinuxNamespaceType::User);
        let namespaces = Namespaces::open(listed, linux.and_then(|linux| linux.time_offsets().as_ref()))?;
        let uids = linux.map_or(&[][..], |linux| linux.uid_mappings().items());
        let gids = linux.map_or(&[][..], |linux| linux.gid_mappings().items());
        let mut mounts = Vec::new();
        for entry in spec.mounts().items() {
            let mount = Mount::from_spec(entry, &options.bundle, &rootfs)?;
            if mount.is_id_mapped() && rootless {
                bail!(
                    "invalid mount {}: id-mapped mounts are not supported for rootless containers",
                    mount.destination.display()
                );
            }
            mounts.push(mount);
        }
        if options.notify.is_some() {
            mounts.push(notify::mount(&options.root.join(&options.id)));
        }
        let root_propagation = match linux.and_then(|linux| linux.rootfs_propagation().as_deref()) {
            None | Some("") => None,
            Some(name) => match rootfs::option::propagation(name) {
                Some(flag) => Some(flag),
                None => bail!("rootfsPropagation={name} is not supported"),
            },
        };
        if options.no_pivot && root_propagation.is_some_and(|flag| flag & libc::MS_PRIVATE != 0) {
            bail!("rootfsPropagation of [r]private is not safe without pivot_root");
        }
        let terminal = spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
        let console = match &options.console_socket {
            Some(path) => Some(talk::connect(path)?),
            None => None,
        };
        let pidfd_socket = match &options.pidfd_socket {
            Some(path) => Some(talk::connect(path)?),
            None => None,
        };
        let state = new_state(spec, options, &rootfs, cgroup, rootless)?;
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        let strings = |strings: Option<&Vec<String>>| strings.cloned().unwrap_or_default();
        Ok(Self {
            id: options.id.clone(),
            mounts,
            devices: rootfs::device::nodes(linux.map_or(&[][..], |linux| linux.devices().items()))?,
            root_propagation,
            mount_namespace: listed.has(LinuxNamespaceType::Mount),
            cgroup_namespace: listed.has(LinuxNamespaceType::Cgroup),
            id_maps: (uids.to_vec(), gids.to_vec()),
            userns,
            no_pivot: options.no_pivot,
            read_only_root: root.readonly().unwrap_or(false),
            mount_label: text(linux.and_then(|linux| linux.mount_label().as_ref())),
            binds_devices: userns || namespace::in_user_namespace(),
            rootless,
            cgroup_path: cgroup.unified().then(|| cgroup.paths[""].clone()),
            hostname: text(spec.hostname().as_ref()),
            domainname: text(spec.domainname().as_ref()),
            sysctls: linux
                .and_then(|linux| linux.sysctl().as_ref())
                .map(|sysctls| sysctls.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
                .unwrap_or_default(),
            read_only_paths: strings(linux.and_then(|linux| linux.readonly_paths().as_ref())),
            masked_paths: strings(linux.and_then(|linux| linux.masked_paths().as_ref())),
            keyring: !options.no_new_keyring,
            umask: spec.process().as_ref().and_then(|process| process.user().umask()).unwrap_or(0o022),
            terminal,
            foreground: options.mask.is_some() && options.log.is_none(),
            console,
            pidfd_socket,
            entrance: Entrance::default(),
            fifo: None,
            streams: options.streams.take(),
            hooks: spec.hooks().clone().unwrap_or_default(),
            namespaces,
            rootfs,
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
