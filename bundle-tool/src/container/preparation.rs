//! What is decided about a container before anything is made, and its config.json.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use image_tool::address::home::Home;
use image_tool::beneath::Root;
use image_tool::error::During as _;
use image_tool::layout::platform::Platform;
use image_tool::layout::{Image, Layout};
use image_tool::show::human;
use oci_spec::runtime::{Hooks, Mount, Spec};

use super::attachment::{self, Fresh, Place};
use super::layers::Tree;
use super::request::Request;
use super::{Error, files, host, joined, link, networks, settings};
use crate::bundle::name::{self, ContainerName};
use crate::bundle::{self, Used, annotation};
use crate::config::image::{Healthcheck, Runtime};
use crate::config::{self, Container, IdMaps, IdRange, Ipc, Namespace};
use crate::network::{self, Mode, Plan};
use crate::option::Refused;
use crate::option::port::{self, Expose};
use crate::rootfs;
use crate::rootfs::user::{self, Identity};
use crate::volume::{self, Attachment};

/// The image that the container is made from.
pub(super) struct Subject {
    pub(super) layout: Layout,
    pub(super) image: Image,
    runtime: Runtime,
}

impl Subject {
    /// The image, and the layout that holds it.
    pub(super) fn image(&self) -> (&Layout, &Image) {
        (&self.layout, &self.image)
    }

    fn open(request: &Request) -> Result<Self, Error> {
        let layout = Layout::of(&request.address)?;
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        let image = layout.image(&request.address, &platform)?;
        request.limits.check(image.manifest().layers().len())?;
        let runtime = Runtime::from_config(image.config_bytes())?;
        if let Some(wanted) = &request.platform {
            check_platform(wanted, &image)?;
        }
        host::check_architecture(&image.config().architecture().to_string())?;
        Ok(Self { layout, image, runtime })
    }
}

/// Refuses an image for another platform than the one that was asked for, which an address of a single image does not choose by.
fn check_platform(wanted: &Platform, image: &Image) -> Result<(), Error> {
    let config = image.config();
    let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
    let variant = config.variant().as_deref();
    if architecture.is_empty() || wanted.rank(&os, &architecture, variant).is_some() {
        return Ok(());
    }
    let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
    let actual = human::plain(&format!("{os}/{architecture}{variant}"));
    Err(Refused::new("--platform", format!("{wanted}: the image is for {actual} (pull it with --platform {wanted})"))
        .into())
}

/// Refuses what a container with ids of its own cannot have, as docker does with remapped ids.
fn check_userns(request: &Request) -> Result<(), Error> {
    let (options, network) = (&request.options, &request.network.mode);
    let shares = |space: &Namespace| *space != Namespace::Private;
    let reason = match () {
        () if !rootfs::is_root_of_host() => "needs root, who may map ids of others",
        () if options.privileged => "cannot be combined with --privileged",
        () if matches!(network, Mode::Host | Mode::Container(_)) => "cannot be combined with the network of others",
        () if shares(&options.pid) => "cannot be combined with --pid",
        () if matches!(&options.ipc, Ipc::Shared { namespace, .. } if shares(namespace)) => {
            "cannot be combined with --ipc"
        }
        () => return Ok(()),
    };
    Err(Refused::new("--userns", reason).into())
}

/// A container before it is made: what can be refused without touching the disk has been.
pub(super) struct Preparation<'a> {
    home: &'a Home,
    request: &'a Request,
    pub(super) subject: Subject,
    /// The random id, 64 hexadecimal digits.
    pub(super) id: String,
    /// When the container is created (RFC 3339).
    created: String,
    /// The host name; absent if the container shares a UTS namespace.
    hostname: Option<String>,
    /// What the hook sets up; absent without a network of the container's own.
    network: Option<Plan>,
    /// Published and exposed ports as docker ps shows them.
    ports: String,
    /// Ids of a user namespace; absent for root.
    id_ranges: Option<IdMaps>,
    /// Notes for the user that are not errors.
    pub(super) notes: Vec<String>,
}

impl<'a> Preparation<'a> {
    pub(super) fn new(home: &'a Home, request: &'a Request) -> Result<Self, Error> {
        let subject = Subject::open(request)?;
        volume::check_targets(&request.attachments)?;
        config::arguments(&request.options, &subject.runtime)?;
        if let Some(workdir) =
            request.options.workdir.as_deref().filter(|path| !path.is_empty() && !path.starts_with('/'))
        {
            return Err(Refused::new("--workdir", format!("{workdir:?} is not an absolute path")).into());
        }
        for (option, name) in [("--hostname", &request.options.hostname), ("--domainname", &request.options.domainname)]
        {
            // __NEW_UTS_LEN of the kernel.
            if name.as_ref().is_some_and(|name| name.len() > 64) {
                return Err(Refused::new(option, "longer than 64 bytes, which the kernel refuses").into());
            }
        }
        if let Some(label) = request.labels.keys().find(|label| label.starts_with(annotation::PREFIX)) {
            return Err(Refused::new("--label", format!("{label}: names with this prefix are reserved")).into());
        }
        if request.ids.is_some() {
            check_userns(request)?;
        }
        let id_ranges = request.ids.as_ref().map(|ids| ids.maps().clone()).or_else(host::id_ranges);
        let id = name::random_id();
        let mut plan = Self {
            home,
            request,
            subject,
            created: jiff::Timestamp::now().to_string(),
            hostname: None,
            network: None,
            ports: String::new(),
            id_ranges,
            notes: Vec::new(),
            id,
        };
        plan.connect()?;
        plan.hostname = plan.hostname();
        Ok(plan)
    }

    /// Decides on the network and the ports.
    fn connect(&mut self) -> Result<(), Error> {
        let connection = &self.request.network;
        let image = self.subject.runtime.exposed_ports.keys().map(|port| port.parse());
        let image: Vec<Expose> = image.collect::<Result<_, _>>()?;
        let expose: Vec<Expose> = connection.expose.iter().cloned().chain(image).collect();
        if let Mode::Named(name) = &connection.mode {
            if !rootfs::is_root_of_host() {
                let reason = format!("{name}: needs root (--network host or none)");
                return Err(Refused::new("--network", reason).into());
            }
            let (plan, ports) = networks::connect(self.home, self.request, name, &self.id, &expose)?;
            (self.network, self.ports) = (Some(plan), ports);
            return Ok(());
        }
        self.notes.extend(self.discarded_ports());
        self.ports = port::summary(&[], &expose);
        Ok(())
    }

    /// A note if published ports are discarded because the container has no network of its own.
    fn discarded_ports(&self) -> Option<String> {
        let connection = &self.request.network;
        let publishes = !connection.publish.is_empty() || connection.publish_all;
        (publishes && matches!(connection.mode, Mode::Host))
            .then(|| "Published ports are discarded when using host network mode".into())
    }

    fn hostname(&self) -> Option<String> {
        let connection = &self.request.network;
        match (&self.request.options.hostname, &self.request.options.uts, &connection.mode) {
            (Some(name), ..) => Some(name.clone()),
            // As in docker: with the host's network, the host's name.
            (None, Namespace::Host, _) | (None, _, Mode::Host) => host::name(),
            // Containers that share a network share the host name.
            (None, _, Mode::Container(_)) => connection.shared.as_deref().and_then(files::host_name_of),
            (None, Namespace::Path(_), _) => None,
            (None, ..) => Some(self.id[..12].to_owned()),
        }
    }

    /// The configuration of a container with the root file system `tree`, whose bundle is or would be at `path`. With `fresh`, the files
    /// and volumes that it refers to are created.
    pub(super) fn spec(
        &self,
        path: &Path,
        name: &ContainerName,
        tree: &Tree,
        mut fresh: Option<&mut Fresh>,
    ) -> Result<Spec, Error> {
        let request = self.request;
        let rootfs = tree.root()?;
        let identity = self.identity(&rootfs)?;
        let mut options = request.options.clone();
        options.hostname.clone_from(&self.hostname);
        options.init = request.init.is_some();
        if request.shareable {
            options.ipc = Ipc::Shared { namespace: Namespace::Private, shm: path.join(bundle::SHM) };
        }
        self.join(&mut options)?;
        if let Some(plan) = &self.network {
            options.links = link::variables(self.home, name.as_str(), plan);
        }
        let mut mounts = files::mounts(request, path);
        if fresh.is_some() {
            files::write(request, self.hostname.as_deref(), tree.folder())?;
        }
        let ids = request.ids.as_ref();
        let place = Place { home: self.home, bundle: path, rootfs: &rootfs, created: &self.created, ids };
        let (attached, volumes) = self.attach(&place, fresh.take())?;
        mounts.retain(|known| attached.iter().all(|mount| mount.destination() != known.destination()));
        mounts.extend(attached);
        if let Some(init) = &request.init {
            mounts.push(config::mount(config::INIT, "bind", init, &["bind", "ro", "nosuid", "nodev"]));
        }
        let mut annotations = self.annotations(name)?;
        if !volumes.is_empty() {
            annotations.insert(annotation::VOLUMES.into(), json(&volumes));
        }
        let architecture = self.subject.image.config().architecture().to_string();
        Ok(config::build(Container {
            id: &self.id,
            options: &options,
            image: &self.subject.runtime,
            architecture: &architecture,
            identity: &identity,
            rootfs: Path::new("rootfs"),
            mounts,
            hooks: self.hooks()?,
            annotations,
            id_ranges: self.id_ranges.clone(),
        })?)
    }

    /// Puts the places of joined namespaces where their option has those of a process.
    fn join(&self, options: &mut config::Options) -> Result<(), Error> {
        for (kind, other) in &self.request.joins {
            let Some(path) = joined::path(self.home, &self.id, kind, other)? else { continue };
            let space = Namespace::Path(path);
            match (kind.as_str(), &mut options.ipc) {
                ("net", _) => options.network = space,
                ("pid", _) => options.pid = space,
                (_, Ipc::Shared { namespace, .. }) => *namespace = space,
                _ => {}
            }
        }
        Ok(())
    }

    fn identity(&self, rootfs: &Root) -> Result<Identity, Error> {
        let specification = self.request.user.as_deref().unwrap_or(&self.subject.runtime.user);
        let found = user::resolve(rootfs.as_fd(), specification, &self.request.groups);
        let mut identity = found.map_err(|source| Error::User { specification: specification.into(), source })?;
        if let Some((users, groups)) = &self.id_ranges {
            let within = |ranges: &[IdRange], id: u32| {
                ranges.iter().any(|(first, _, count)| id >= *first && id - first < *count)
            };
            if !within(users, identity.uid) || !within(groups, identity.gid) {
                if self.request.ids.is_some() {
                    let reason = format!("{}:{}: not among the ids of --userns", identity.uid, identity.gid);
                    return Err(Refused::new("--user", reason).into());
                }
                let reason = format!(
                    "{}:{}: this user may only map its own id (add it to /etc/subuid and /etc/subgid, and apt install uidmap)",
                    identity.uid, identity.gid
                );
                return Err(Refused::new("--user", reason).into());
            }
            identity.groups.retain(|group| within(groups, *group));
            if groups.len() == 1 {
                // With a single group, setgroups(2) is denied.
                identity.groups.clear();
            }
        }
        Ok(identity)
    }

    fn annotations(&self, name: &ContainerName) -> Result<BTreeMap<String, String>, Error> {
        let (request, subject) = (self.request, &self.subject);
        let mut all = request.labels.clone();
        let mut labels = subject.runtime.labels.clone();
        labels.extend(request.labels.clone());
        let address = &request.address;
        let image = match (address.reference(), address.digest()) {
            (Some(reference), Some(digest)) => format!("{reference}@{digest}"),
            (Some(reference), None) => reference.to_string(),
            (None, _) => subject.image.descriptor().digest().to_string(),
        };
        let layout = std::path::absolute(address.layout_path()).during("find", address.layout_path())?;
        let stop_signal = request
            .stop_signal
            .clone()
            .or_else(|| Some(subject.runtime.stop_signal.clone()).filter(|text| !text.is_empty()));
        let healthcheck = self.healthcheck()?;
        let mut set = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                all.insert(key.into(), value);
            }
        };
        set(annotation::IMAGE, Some(image));
        set(annotation::DIGEST, Some(subject.image.descriptor().digest().to_string()));
        set(annotation::IMAGE_ID, Some(subject.image.manifest().config().digest().to_string()));
        set(annotation::SETTINGS, Some(self.settings(healthcheck.as_ref()).to_string()));
        set(annotation::EVENTS, std::path::absolute(self.home.events()).ok().map(|path| path.display().to_string()));
        set(annotation::NETWORK_MODE, Some(self.network_mode()));
        set(annotation::LAYOUT, Some(layout.display().to_string()));
        set(annotation::CREATED, Some(self.created.clone()));
        set(annotation::NAME, Some(name.to_string()));
        set(annotation::ID, Some(self.id.clone()));
        set(annotation::RUNTIME_ID, request.by_id.then(|| self.id.clone()));
        set(annotation::COMMAND, Some(json(&config::arguments(&request.options, &subject.runtime)?)));
        set(annotation::PORTS, Some(self.ports.clone()).filter(|ports| !ports.is_empty()));
        set(annotation::NETWORK, self.network.as_ref().map(json));
        set(annotation::JOINS, Some(&request.joins).filter(|joins| !joins.is_empty()).map(json));
        set(annotation::USERNS, request.ids.is_some().then(|| "mapped".into()));
        set(annotation::IPC, request.shareable.then(|| "shareable".into()));
        set(annotation::SHM_SIZE, request.shareable.then(|| request.options.shm_size.to_string()));
        set(annotation::RM, request.rm.then(|| "true".into()));
        set(annotation::INTERACTIVE, request.interactive.then(|| "true".into()));
        set(annotation::STOP_SIGNAL, stop_signal);
        set(annotation::STOP_TIMEOUT, request.stop_timeout.map(|seconds| seconds.to_string()));
        set(annotation::HEALTHCHECK, healthcheck.as_ref().map(json));
        set(annotation::LABELS, Some(labels).filter(|labels| !labels.is_empty()).as_ref().map(json));
        all.extend(request.annotations.clone());
        Ok(all)
    }

    fn network_mode(&self) -> String {
        match &self.request.network.mode {
            Mode::None => "none".into(),
            Mode::Host => "host".into(),
            Mode::Container(name) => format!("container:{}", self.request.joins.get("net").unwrap_or(name)),
            // docker calls that of `--network default` and of no option so.
            Mode::Named(name) if name == "bridge" => "bridge".into(),
            Mode::Named(name) => name.clone(),
        }
    }

    /// docker's `Config` of the container, for `inspect`.
    fn settings(&self, healthcheck: Option<&Healthcheck>) -> serde_json::Value {
        let (request, subject) = (self.request, &self.subject);
        settings::settings(
            request,
            &subject.runtime,
            subject.image.config_bytes(),
            self.hostname.as_deref(),
            healthcheck,
        )
    }

    /// The health check of options and image combined; absent if neither has a command.
    fn healthcheck(&self) -> Result<Option<Healthcheck>, Error> {
        let merged = match (&self.request.healthcheck, &self.subject.runtime.healthcheck) {
            (Some(own), Some(image)) => Some(own.clone().over(image)),
            (Some(own), None) if own.test.is_empty() => {
                let reason = "the image has no health check (set one with --health-cmd)";
                return Err(Refused::new("--health-interval", reason).into());
            }
            (own, image) => own.as_ref().or(image.as_ref()).cloned(),
        };
        Ok(merged.filter(|check| !check.test.is_empty()))
    }

    /// The mounts of attachments and of the image's volumes, and the volumes in use.
    fn attach(&self, place: &Place<'_>, mut fresh: Option<&mut Fresh>) -> Result<(Vec<Mount>, Vec<Used>), Error> {
        let mut attachments = self.request.attachments.clone();
        for target in self.subject.runtime.volumes.keys() {
            let volume = Attachment::from_volume(target, Path::new("/"))?;
            if attachments.iter().all(|each| each.target != volume.target) {
                attachments.push(volume);
            }
        }
        let (mut mounts, mut used) = (Vec::new(), Vec::new());
        for (index, each) in attachments.iter().enumerate() {
            let (mount, volume) = attachment::mount(place, index, each, fresh.as_deref_mut())?;
            mounts.push(mount);
            used.extend(volume);
        }
        Ok((mounts, used))
    }

    fn hooks(&self) -> Result<Option<Hooks>, Error> {
        if self.network.is_none() && !self.request.rm {
            return Ok(None);
        }
        let program = std::env::current_exe().during("find", "/proc/self/exe")?;
        Ok(Some(network::hooks(&program, self.home, self.network.is_some())?))
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("strings, lists and maps are JSON")
}
