//! A container's life: `create` makes a bundle of an image and docker's options, hooks set its network up, `status` tells how it is,
//! `change` what it wrote, `removal` ends it. This room knows every other.
//!
//! The order of `create` matters. First everything that can be refused without touching the disk; then the name, by which the work is owned; then
//! the root file system, in which users are looked up, volumes filled and mount points made; config.json last. Whatever fails, the
//! draft's end takes back what was made.

pub mod change;
mod files;
pub mod hook;
pub mod instruction;
mod layers;
mod networks;
pub mod removal;
pub mod status;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use image_tool::address::Address;
use image_tool::beneath::{self, Root};
use image_tool::error::During as _;
use image_tool::home::Home;
use image_tool::layer::cache;
use image_tool::layout::{self, Image, Layout};
use image_tool::platform::Platform;
use oci_spec::runtime::{Hook, Hooks, Mount};

use crate::bundle::annotation;
use crate::bundle::name::{self, ContainerName};
use crate::bundle::{self, Draft};
use crate::config::image::{self, Healthcheck, Runtime};
use crate::config::{self, Container, IdMaps, IdRange, Ipc, Namespace, Options};
use crate::network::files::{Dns, ExtraHost};
use crate::network::{self, Mode, Plan};
use crate::option::Refused;
use crate::option::environment;
use crate::option::port::{self, Expose, Publish};
use crate::rootfs;
use crate::rootfs::user::{self, Identity};
use crate::volume::{self, Attachment};

pub use layers::{mount, unmount};
pub use networks::{conflist, network_folders, write_conflist};

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is another module's error, passed on")]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    #[error(transparent)]
    Volume(#[from] volume::Error),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    Layout(#[from] layout::Error),
    #[error(transparent)]
    Layers(#[from] cache::Error),
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error(transparent)]
    Environment(#[from] environment::Error),
    /// A port that an image exposes does not read as one.
    #[error(transparent)]
    Port(#[from] port::Error),
    /// The user cannot be had from the image.
    #[error("user {specification}")]
    User { specification: String, source: user::Error },
    /// The working folder cannot be made.
    #[error("working folder {}", .path.display())]
    Workdir { path: PathBuf, source: beneath::Error },
    /// A mount point cannot be made.
    #[error("mount point {}", .path.display())]
    MountPoint { path: PathBuf, source: beneath::Error },
    /// The image's own files are in the way.
    #[error("root file system")]
    Beneath(#[from] beneath::Error),
    /// The image lacks layers that the bundle was made of.
    #[error("layer {digest} is gone from the cache ({remedy})")]
    NoLayer { digest: String, remedy: String },
    /// The id file is there.
    #[error("--cidfile: {}: there is something already (delete it if no container needs it)", .0.display())]
    IdFile(PathBuf),
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// What a container is made from: an image and docker's options, read.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is named for its option, which docker's manual explains")]
pub struct Request {
    pub address: Address,
    pub platform: Option<Platform>,
    pub name: Option<ContainerName>,
    /// Where the bundle goes; `bundles/NAME` if that is left open.
    pub bundle: Option<PathBuf>,
    /// A plain tree, whether or not an overlay could be had.
    pub copy: bool,
    pub options: Options,
    pub user: Option<String>,
    pub groups: Vec<String>,
    pub attachments: Vec<Attachment>,
    pub labels: BTreeMap<String, String>,
    pub network: Connection,
    pub extra_hosts: Vec<ExtraHost>,
    pub dns: Dns,
    pub healthcheck: Option<Healthcheck>,
    pub rm: bool,
    pub interactive: bool,
    pub stop_signal: Option<String>,
    pub stop_timeout: Option<i64>,
    /// Annotations that the runtime reads: the restart policy, the log driver.
    pub annotations: BTreeMap<String, String>,
    pub cidfile: Option<PathBuf>,
    /// Whether other containers may share /dev/shm, which then is a folder of the bundle.
    pub shareable: bool,
    /// The init of `--init`, on this host.
    pub init: Option<PathBuf>,
}

/// How the container is on a network.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each field is named for its option, which docker's manual explains")]
pub struct Connection {
    pub mode: Mode,
    /// The bundle of the container whose network is shared: its files are, too.
    pub shared: Option<PathBuf>,
    pub publish: Vec<Publish>,
    pub publish_all: bool,
    pub expose: Vec<Expose>,
    pub ip: Option<std::net::IpAddr>,
    pub ip6: Option<std::net::IpAddr>,
    pub mac: Option<String>,
    pub aliases: Vec<String>,
    pub links: Vec<(String, String)>,
}

/// A container that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The bundle, as its path was given.
    pub bundle: PathBuf,
    /// What the user should know, though nothing failed.
    pub notes: Vec<String>,
}

/// The image, and what its config says.
struct Subject {
    layout: Layout,
    image: Image,
    runtime: Runtime,
}

impl Subject {
    fn open(request: &Request) -> Result<Self, Error> {
        let layout = Layout::of(&request.address)?;
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        let image = layout.image(&request.address, &platform)?;
        let runtime = Runtime::from_config(image.config_bytes())?;
        files::check_architecture(&image.config().architecture().to_string())?;
        Ok(Self { layout, image, runtime })
    }
}

/// Makes a bundle.
pub fn create(home: &Home, request: &Request) -> Result<Made, Error> {
    let subject = Subject::open(request)?;
    let plan = Preparation::new(home, request, &subject)?;
    if let Some(path) = &request.cidfile
        && path.exists()
    {
        return Err(Error::IdFile(path.clone()));
    }
    let draft = Draft::create(&home.bundles(), request.name.clone(), request.bundle.as_deref())?;
    let mut made = Made { bundle: draft.shown().to_owned(), notes: plan.notes.clone() };
    let tree = layers::Tree::make(home, draft.path(), &subject.layout, &subject.image, request.copy)?;
    made.notes.extend(tree.note());
    if request.shareable {
        layers::mount_shm(draft.path(), request.options.shm_size)?;
    }
    let mut fresh = files::Fresh::new(home)?;
    let spec = plan.spec(home, request, &subject, draft.path(), draft.name(), &tree, Some(&mut fresh))?;
    tree.finish(spec.mounts().as_deref().unwrap_or_default())?;
    files::make_workdir(draft.path(), spec.process().as_ref().map(|process| process.cwd().as_path()))?;
    if let Some(path) = &request.cidfile {
        files::write_new(path, plan.id.as_bytes())?;
    }
    if let Err(error) = draft.commit(&config::to_json(&spec)) {
        if let Some(path) = &request.cidfile {
            // It names a container that there is not.
            let _ = fs::remove_file(path);
        }
        return Err(error.into());
    }
    fresh.keep();
    Ok(made)
}

/// The config.json of the bundle that [`create`] would make; nothing stays on disk but unpacked layers.
pub fn spec(home: &Home, request: &Request) -> Result<Vec<u8>, Error> {
    let subject = Subject::open(request)?;
    let plan = Preparation::new(home, request, &subject)?;
    let name = request.name.clone().unwrap_or_else(ContainerName::random);
    // Made as a bundle is, in a place of its own; the paths in it are those that it would have.
    let place = home.bundles().join(".spec");
    let draft = Draft::create(&place, None, None)?;
    let shown = match &request.bundle {
        Some(path) => std::path::absolute(path).during("find", path)?,
        None => home.bundles().join(name.as_str()),
    };
    let tree = layers::Tree::make(home, draft.path(), &subject.layout, &subject.image, request.copy)?;
    let spec = plan.spec(home, request, &subject, &shown, &name, &tree, None);
    drop(draft);
    // Unless another is being made there.
    let _ = fs::remove_dir(&place);
    Ok(config::to_json(&spec?))
}

/// What is settled before anything is made.
struct Preparation {
    id: String,
    created: String,
    hostname: Option<String>,
    network: Option<Plan>,
    ports: String,
    id_ranges: Option<IdMaps>,
    notes: Vec<String>,
}

impl Preparation {
    fn new(home: &Home, request: &Request, subject: &Subject) -> Result<Self, Error> {
        volume::check_targets(&request.attachments)?;
        config::arguments(&request.options, &subject.runtime)?;
        if let Some(workdir) = request.options.workdir.as_deref().filter(|path| !path.starts_with('/')) {
            return Err(Refused::new("--workdir", format!("{workdir:?} is not an absolute path")).into());
        }
        if let Some(label) = request.labels.keys().find(|label| label.starts_with(annotation::PREFIX)) {
            return Err(Refused::new("--label", format!("{label}: names that start so are these tools' own")).into());
        }
        let mut notes = Vec::new();
        let id_ranges = files::id_ranges()?;
        let id = name::random_id();
        let exposed: Result<Vec<Expose>, _> = subject.runtime.exposed_ports.keys().map(|port| port.parse()).collect();
        let expose: Vec<Expose> = request.network.expose.iter().cloned().chain(exposed?).collect();
        let connection = &request.network;
        let (network, ports) = match &connection.mode {
            Mode::Named(name) => {
                if id_ranges.is_some() || rootfs::in_user_namespace() {
                    let reason = format!("{name}: a network of its own needs root (--network host or none)");
                    return Err(Refused::new("--network", reason).into());
                }
                let (plan, ports) = networks::connect(home, request, name, &id, &expose)?;
                (Some(plan), ports)
            }
            mode => {
                let published = !connection.publish.is_empty() || connection.publish_all;
                match mode {
                    Mode::Host if published => {
                        notes.push("published ports are discarded: the container has the host's network".into())
                    }
                    Mode::None if published => {
                        notes.push("published ports are discarded: the container has no network".into())
                    }
                    Mode::Container(_) if published => {
                        return Err(
                            Refused::new("--publish", "the container's network is another's (publish there)").into()
                        );
                    }
                    _ => {}
                }
                for (option, given) in [
                    ("--ip", connection.ip.is_some()),
                    ("--ip6", connection.ip6.is_some()),
                    ("--mac-address", connection.mac.is_some()),
                    ("--network-alias", !connection.aliases.is_empty()),
                    ("--link", !connection.links.is_empty()),
                ] {
                    if given {
                        return Err(
                            Refused::new(option, "needs a network of the container's own (--network bridge)").into()
                        );
                    }
                }
                (None, port::summary(&[], &expose))
            }
        };
        let hostname = match (&request.options.hostname, &request.options.uts, &connection.mode) {
            (Some(_), Namespace::Host, _) => {
                return Err(Refused::new("--hostname", "the container has the host's UTS namespace").into());
            }
            (Some(_), _, Mode::Container(_)) => {
                return Err(
                    Refused::new("--hostname", "the container has another's network, and its name with it").into()
                );
            }
            (Some(name), ..) => Some(name.clone()),
            // As docker has it: with the host's network, the host's name.
            (None, Namespace::Host, _) | (None, _, Mode::Host) => files::host_name(),
            // A network has one name, whoever uses it.
            (None, _, Mode::Container(_)) => connection.shared.as_deref().and_then(files::host_name_of),
            (None, Namespace::Path(_), _) => None,
            (None, ..) => Some(id[..12].to_owned()),
        };
        let created = jiff::Timestamp::now().to_string();
        Ok(Self { id, created, hostname, network, ports, id_ranges, notes })
    }

    #[expect(clippy::too_many_arguments, reason = "what a configuration is made from has no smaller name")]
    fn spec(
        &self,
        home: &Home,
        request: &Request,
        subject: &Subject,
        path: &Path,
        name: &ContainerName,
        tree: &layers::Tree,
        mut fresh: Option<&mut files::Fresh>,
    ) -> Result<oci_spec::runtime::Spec, Error> {
        let rootfs = tree.root()?;
        let identity = self.identity(request, subject, &rootfs)?;
        let mut options = request.options.clone();
        options.hostname.clone_from(&self.hostname);
        options.init = request.init.is_some();
        if request.shareable {
            options.ipc = Ipc::Shared { namespace: Namespace::Private, shm: path.join(bundle::SHM) };
        }
        let mut mounts = files::network_files(request, self, path, tree.folder(), fresh.is_some())?;
        let volumes = self.attach(home, request, subject, &rootfs, &mut mounts, fresh.take())?;
        if let Some(init) = &request.init {
            mounts.push(config::mount(config::INIT, "bind", init, &["bind", "ro", "nosuid", "nodev"]));
        }
        let mut annotations = self.annotations(request, subject, name)?;
        if !volumes.is_empty() {
            annotations.insert(annotation::VOLUMES.into(), json(&volumes));
        }
        let architecture = subject.image.config().architecture().to_string();
        Ok(config::build(Container {
            name: name.as_str(),
            options: &options,
            image: &subject.runtime,
            architecture: &architecture,
            identity: &identity,
            rootfs: Path::new("rootfs"),
            mounts,
            hooks: self.hooks(home, request)?,
            annotations,
            id_ranges: self.id_ranges.clone(),
        })?)
    }

    fn identity(&self, request: &Request, subject: &Subject, rootfs: &Root) -> Result<Identity, Error> {
        let specification = request.user.as_deref().unwrap_or(&subject.runtime.user);
        let found = user::resolve(rootfs.as_fd(), specification, &request.groups);
        let mut identity = found.map_err(|source| Error::User { specification: specification.into(), source })?;
        if let Some((users, groups)) = &self.id_ranges {
            let within = |ranges: &[IdRange], id: u32| {
                ranges.iter().any(|(first, _, count)| id >= *first && id - first < *count)
            };
            if !within(users, identity.uid) || !within(groups, identity.gid) {
                let reason = format!(
                    "{}:{}: this user has no ids but its own to give (a line for it in /etc/subuid and /etc/subgid, and the package uidmap)",
                    identity.uid, identity.gid
                );
                return Err(Refused::new("--user", reason).into());
            }
            identity.groups.retain(|group| within(groups, *group));
            if groups.len() == 1 {
                // With one group alone, setgroups(2) is denied.
                identity.groups.clear();
            }
        }
        Ok(identity)
    }

    fn annotations(
        &self,
        request: &Request,
        subject: &Subject,
        name: &ContainerName,
    ) -> Result<BTreeMap<String, String>, Error> {
        let mut all = request.labels.clone();
        let mut labels = subject.runtime.labels.clone();
        labels.extend(request.labels.clone());
        let address = &request.address;
        let image = address
            .reference()
            .map(ToString::to_string)
            .unwrap_or_else(|| subject.image.descriptor().digest().to_string());
        let layout = std::path::absolute(address.layout_path()).during("find", &address.layout_path())?;
        let stop_signal = request
            .stop_signal
            .clone()
            .or_else(|| Some(subject.runtime.stop_signal.clone()).filter(|text| !text.is_empty()));
        let healthcheck = match (&request.healthcheck, &subject.runtime.healthcheck) {
            (Some(own), Some(image)) => Some(own.clone().over(image)),
            (Some(own), None) if own.test.is_empty() => {
                let reason = "the image has no health check (--health-cmd gives it one)";
                return Err(Refused::new("--health-interval", reason).into());
            }
            (own, image) => own.as_ref().or(image.as_ref()).cloned(),
        };
        let mut set = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                all.insert(key.into(), value);
            }
        };
        set(annotation::IMAGE, Some(image));
        set(annotation::DIGEST, Some(subject.image.descriptor().digest().to_string()));
        set(annotation::LAYOUT, Some(layout.display().to_string()));
        set(annotation::CREATED, Some(self.created.clone()));
        set(annotation::NAME, Some(name.to_string()));
        set(annotation::ID, Some(self.id.clone()));
        set(annotation::COMMAND, Some(json(&config::arguments(&request.options, &subject.runtime)?)));
        set(annotation::PORTS, Some(self.ports.clone()).filter(|ports| !ports.is_empty()));
        set(annotation::NETWORK, self.network.as_ref().map(json));
        set(annotation::IPC, request.shareable.then(|| "shareable".into()));
        set(annotation::SHM_SIZE, request.shareable.then(|| request.options.shm_size.to_string()));
        set(annotation::RM, request.rm.then(|| "true".into()));
        set(annotation::INTERACTIVE, request.interactive.then(|| "true".into()));
        set(annotation::STOP_SIGNAL, stop_signal);
        set(annotation::STOP_TIMEOUT, request.stop_timeout.map(|seconds| seconds.to_string()));
        set(annotation::HEALTHCHECK, healthcheck.filter(|check| !check.test.is_empty()).as_ref().map(json));
        set(annotation::LABELS, Some(labels).filter(|labels| !labels.is_empty()).as_ref().map(json));
        all.extend(request.annotations.clone());
        Ok(all)
    }

    /// Turns attachments and the image's own volumes into mounts; gives the names of the volumes in use.
    fn attach(
        &self,
        home: &Home,
        request: &Request,
        subject: &Subject,
        rootfs: &Root,
        mounts: &mut Vec<Mount>,
        mut fresh: Option<&mut files::Fresh>,
    ) -> Result<Vec<bundle::Used>, Error> {
        let mut attachments = request.attachments.clone();
        for target in subject.runtime.volumes.keys() {
            let base = Path::new("/");
            let volume = Attachment::from_volume(target, base)?;
            if attachments.iter().all(|each| each.target != volume.target) {
                attachments.push(volume);
            }
        }
        let mut used = Vec::new();
        for attachment in &attachments {
            let (mount, volume) = files::attach(home, attachment, rootfs, &self.created, fresh.as_deref_mut())?;
            mounts.retain(|known| known.destination() != mount.destination());
            mounts.push(mount);
            used.extend(volume);
        }
        Ok(used)
    }

    fn hooks(&self, home: &Home, request: &Request) -> Result<Option<Hooks>, Error> {
        let program = std::env::current_exe().during("find", Path::new("/proc/self/exe"))?;
        let absolute = std::path::absolute(home.path()).during("find", home.path())?;
        // A runtime gives a hook the environment that is written here and no other.
        let mut environment = vec![environment::DEFAULT_PATH.to_owned(), format!("OCI_HOME={}", absolute.display())];
        for name in ["CNI_PATH", "XDG_RUNTIME_DIR"] {
            environment.extend(
                std::env::var(name).ok().filter(|value| !value.is_empty()).map(|value| format!("{name}={value}")),
            );
        }
        let hook = |action: &str| {
            let mut hook = Hook::default();
            hook.set_path(program.clone());
            hook.set_args(Some(vec!["bundle-tool".into(), "hook".into(), action.into()]));
            hook.set_env(Some(environment.clone()));
            hook.set_timeout(Some(60));
            hook
        };
        if self.network.is_none() && !request.rm {
            return Ok(None);
        }
        let mut hooks = Hooks::default();
        hooks.set_create_runtime(self.network.as_ref().map(|_| vec![hook("up")]));
        hooks.set_poststop(Some(vec![hook("down")]));
        Ok(Some(hooks))
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("strings, lists and maps are JSON")
}
