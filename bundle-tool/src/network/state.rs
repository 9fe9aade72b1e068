//! The networks that are up: a record for each container, by which they are brought up and taken down.
//!
//! Records are in /run, since a reboot removes interfaces and rules as well. A record is written before anything is set up and removed
//! after everything is taken down, so that after a crash the next `down` of the container finds what to undo. A bind mount beside the
//! record holds the container's network namespace, which plugins need to find their rules when its processes have ended.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use rustix::fs::FlockOperation;
use serde_json::Value;

use super::cni::{self, Conflist};
use super::design::Taken;
use super::native::{self, Failure, Member, Wish};
use super::record::{self, Record};
use super::{Error, Plan, firewall, host, names, proxy};
use crate::option::port::{self, Mapping};
use crate::rootfs;

/// The networks that are up on this host.
#[derive(Clone, Debug)]
pub struct Networks {
    folder: PathBuf,
}

/// A container whose network is to be brought up.
#[derive(Clone, Debug)]
pub struct Newcomer<'a> {
    /// The 64-digit id of the container.
    pub id: &'a str,
    /// The name of the container.
    pub name: &'a str,
    /// The host name inside the container.
    pub hostname: &'a str,
    /// The domain of the container (`--domainname`); empty for none.
    pub domain: &'a str,
    /// The absolute path of the bundle.
    pub bundle: &'a Path,
    /// The first process of the container, whose network namespace is set up.
    pub pid: i32,
}

/// The lock for all changes: plugins change tables of the kernel, which they share, in several steps.
struct Lock(#[expect(dead_code, reason = "held for its drop")] File);

impl Networks {
    /// The networks of this host, or those of this user if it is not root.
    pub fn of_host() -> Self {
        let own = || std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let base = if rustix::process::geteuid().is_root() { None } else { own() };
        Self { folder: base.unwrap_or_else(|| "/run".into()).join("bundle-tool") }
    }

    /// The folder in which CNI's host-local keeps the addresses in use.
    pub fn addresses(&self) -> PathBuf {
        self.folder.join("addresses")
    }

    /// The ports that lead to running containers.
    pub fn taken(&self) -> Vec<Mapping> {
        self.records()
            .iter()
            .filter(|record| self.is_alive(record))
            .flat_map(|record| record.plan.mappings().unwrap_or_default())
            .collect()
    }

    fn check_taken(&self, mapping: &Mapping, except: Option<&str>) -> Result<(), Error> {
        for record in self.records() {
            let other = Some(record.id.as_str()) != except;
            if other && self.is_alive(&record) && record.plan.mappings()?.iter().any(|other| other.collides(mapping)) {
                let port = format!("{}/{}", std::net::SocketAddr::new(mapping.ip, mapping.host), mapping.protocol);
                return Err(Error::PortTaken { port, container: record.name });
            }
        }
        Ok(())
    }

    /// Brings a container's network up. A failed attempt is undone.
    pub fn up(&self, newcomer: &Newcomer<'_>, plan: &Plan, network: &Conflist) -> Result<(), Error> {
        let _lock = self.lock()?;
        // The container may have run before and ended without its runtime calling the hook.
        self.take_down(newcomer.id)?;
        self.reap()?;
        let mappings = plan.mappings()?;
        for mapping in &mappings {
            self.check_taken(mapping, Some(newcomer.id))?;
            mapping.check().map_err(Error::Port)?;
        }
        let mut record = Record {
            id: newcomer.id.into(),
            name: newcomer.name.into(),
            hostname: newcomer.hostname.into(),
            domain: newcomer.domain.into(),
            bundle: newcomer.bundle.into(),
            pid: newcomer.pid,
            network: network.to_value(),
            capabilities: record::capabilities(plan, &mappings),
            result: None,
            plan: plan.clone(),
            interface: record::first_interface(),
            native: false,
            proxy: None,
            hosts: Vec::new(),
        };
        // A random name was not known when the plan was made.
        if !record.plan.names.iter().any(|name| name == newcomer.name) {
            record.plan.names.insert(0, newcomer.name.into());
        }
        let outcome = self.set_up(&mut record, newcomer, network).and_then(|()| self.refresh(Some(newcomer.id)));
        if outcome.is_err() {
            // The first error is the one to report; what could not be taken down stays on record for `delete`.
            let _ = self.take_down(newcomer.id).and_then(|()| self.refresh(None));
        }
        outcome
    }

    fn set_up(&self, record: &mut Record, newcomer: &Newcomer<'_>, network: &Conflist) -> Result<(), Error> {
        let folder = self.place(&record.id);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).during("create", &folder)?;
        self.write(record)?;
        let namespace = folder.join("netns");
        File::create(&namespace).during("create", &namespace)?;
        let source = format!("/proc/{}/ns/net", newcomer.pid);
        rustix::mount::mount_bind(source.as_str(), &namespace).during("mount", &namespace)?;
        let bridge = network.bridge();
        let before = bridge.and_then(host::index);
        if before.is_none() {
            check_free(network)?;
        }
        let result = match self.add(record, network, &namespace)? {
            Some(result) => Ok(result),
            None => self.add_by_plugins(record, network, &namespace),
        };
        if let Some(bridge) = bridge
            && before.is_none()
        {
            self.own(bridge)?;
        }
        record.result = Some(result?);
        self.write(record)?;
        record.proxy = proxy::start(&record.plan.mappings()?, &record.addresses(), record.pid)?;
        self.write(record)
    }

    /// Brings the network up without plugins; `None` if that cannot be.
    fn add(&self, record: &mut Record, network: &Conflist, namespace: &Path) -> Result<Option<Value>, Error> {
        let Some(native) = native::Network::of(network, &self.addresses()) else { return Ok(None) };
        record.native = true;
        self.write(record)?;
        let ports = record.plan.mappings()?;
        let ips: Vec<IpAddr> = [record.plan.ip, record.plan.ip6].into_iter().flatten().collect();
        let others = self
            .records()
            .into_iter()
            .filter(|other| other.native && other.key() != record.key() && is_of(other, network));
        let others: Vec<_> =
            others.map(|other| (other.plan.mappings().unwrap_or_default(), other.addresses())).collect();
        let member = Member { id: &record.id, interface: &record.interface, ports: &ports };
        let wish = Wish { namespace, ips: &ips, mac: record.plan.mac.as_deref(), others: &others };
        match native.add(&member, &wish) {
            Ok(result) => Ok(Some(result)),
            Err(Failure::Failed(error)) => Err(error),
            Err(Failure::Unsupported(error)) => {
                tracing::info!("{}: brought up by CNI's plugins: nf_tables of this kernel: {error}", network.name);
                record.native = false;
                self.write(record)?;
                Ok(None)
            }
        }
    }

    /// Fails if a plugin is needed for the network that is not installed.
    pub fn check_plugins(&self, network: &Conflist) -> Result<(), Error> {
        match native::Network::of(network, &self.addresses()) {
            Some(_) => Ok(()),
            None => cni::check_plugins(network),
        }
    }

    fn add_by_plugins(&self, record: &Record, network: &Conflist, namespace: &Path) -> Result<Value, Error> {
        // What plugins leave in the firewall takes processes to look for.
        let mark = self.plugins_mark();
        fs::write(&mark, "").during("write", &mark)?;
        record.attachment(namespace).add(network)
    }

    /// The file that is there while plugins may have left something in the firewall.
    fn plugins_mark(&self) -> PathBuf {
        self.folder.join("plugins")
    }

    /// Records that the bridge plugin has just made a bridge, which is then removed with the last container of its network. One that was
    /// there before is somebody else's.
    fn own(&self, bridge: &str) -> Result<(), Error> {
        let Some(index) = host::index(bridge) else { return Ok(()) };
        let folder = self.folder.join("bridges");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).during("create", &folder)?;
        let path = folder.join(bridge);
        Ok(fs::write(&path, index.to_string()).during("write", &path)?)
    }

    /// Whether a bridge was made here.
    fn is_own(&self, bridge: &str) -> bool {
        let recorded = fs::read_to_string(self.folder.join("bridges").join(bridge)).ok();
        host::index(bridge).map(|index| index.to_string()).is_some_and(|index| recorded == Some(index))
    }

    /// Removes a bridge that was made here, unless something is attached to it.
    fn disown(&self, bridge: &str) {
        if self.is_own(bridge)
            && let Err(error) = native::remove_bridge(bridge)
        {
            tracing::debug!("bridge {bridge}: {error}");
        }
        // Nothing is lost if this fails: the number is not given again.
        let _ = fs::remove_file(self.folder.join("bridges").join(bridge));
    }

    /// Makes the lines of all hosts files anew. `newcomer` is the container whose file must be there.
    fn refresh(&self, newcomer: Option<&str>) -> Result<(), Error> {
        let all = self.records();
        for record in all.iter().filter(|record| record.result.is_some()) {
            let wanted = names::lines(record, &all);
            if wanted == record.hosts {
                continue;
            }
            // Recorded before and after, so that every line that was written is removed again.
            let mut next = record.clone();
            next.hosts.extend(wanted.iter().cloned());
            self.write(&next)?;
            let edited = edit(&record.bundle.join("hosts"), |text| names::replace(text, &record.hosts, &wanted));
            match edited {
                Err(error) if newcomer == Some(record.id.as_str()) => return Err(error),
                // Somebody has removed the folder of its bundle.
                Err(error) => tracing::warn!("{}: {error}", record.name),
                Ok(()) => {}
            }
            next.hosts = wanted;
            self.write(&next)?;
        }
        Ok(())
    }

    /// Takes a container's network down, if it is up.
    pub fn down(&self, id: &str) -> Result<(), Error> {
        if !self.place(id).exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.take_down(id)?;
        self.refresh(None)
    }

    /// Takes down the networks of containers whose bundle is or was the folder `bundle`, or which have the name `name` and no bundle any
    /// more. Returns whether there were any.
    pub fn down_lost(&self, bundle: &Path, name: &str) -> Result<bool, Error> {
        let lost = |record: &Record| {
            record.bundle == bundle || (record.name == name && !record.bundle.join("config.json").exists())
        };
        let ids: Vec<String> = self.records().into_iter().filter(lost).map(|record| record.id).collect();
        for id in &ids {
            self.down(id)?;
        }
        Ok(!ids.is_empty())
    }

    fn take_down(&self, id: &str) -> Result<(), Error> {
        let folder = self.place(id);
        if !folder.exists() {
            return Ok(());
        }
        let namespace = folder.join("netns");
        let record = self.read(id);
        if let Some(record) = &record {
            // The bundle may no longer exist, or is about to be removed.
            let _ = edit(&record.bundle.join("hosts"), |text| names::replace(text, &record.hosts, &[]));
            let network = Conflist::from_value(&record.network)?;
            self.disconnect(record, &network, &namespace)?;
        }
        match rootfs::unmount(&namespace, true) {
            Ok(_) => {}
            Err(rootfs::Error::Io(error)) => return Err(error.into()),
            Err(error) => Err(io::Error::other(error.to_string())).during("unmount", &namespace)?,
        }
        fs::remove_dir_all(&folder).during("remove", &folder)?;
        if let Some(record) = &record
            && let Ok(network) = Conflist::from_value(&record.network)
        {
            self.sweep(&network);
        }
        Ok(())
    }

    /// Removes what was made for a container outside of its namespace, which must go even if that no longer exists.
    fn disconnect(&self, record: &Record, network: &Conflist, namespace: &Path) -> Result<(), Error> {
        if let Some(proxy) = record.proxy {
            proxy.end();
        }
        if record.native {
            let native = native::Network::of(network, &self.addresses()).ok_or_else(|| Error::Conflist {
                path: self.place(&record.key()),
                reason: "not a network of this tool".into(),
            })?;
            let last = !self.records().iter().any(|other| other.key() != record.key() && is_of(other, network));
            let own = network.bridge().is_some_and(|bridge| self.is_own(bridge));
            let ports = record.plan.mappings()?;
            let member = Member { id: &record.id, interface: &record.interface, ports: &ports };
            return native.delete(&member, &record.addresses(), last, own);
        }
        let held = rootfs::is_mounted(namespace);
        let deleted =
            record.attachment(if held { namespace } else { Path::new("") }).delete(network, record.result.as_ref());
        if !held || deleted.is_err() {
            firewall::forget(&record.id);
        }
        deleted
    }

    /// The name of a container that uses a network; `None` if none does. Networks of another home may have the same name.
    pub fn user(&self, network: &Conflist) -> Option<String> {
        let same = |record: &Record| is_of(record, network);
        self.records().into_iter().find(same).map(|record| record.name)
    }

    /// The addresses of a container whose network is up; empty if it is not.
    pub fn addresses_of(&self, id: &str) -> Vec<IpAddr> {
        self.read(id).filter(|record| self.is_alive(record)).map(|record| record.addresses()).unwrap_or_default()
    }

    /// What the last plugin said of a container's network (CNI specification, "Section 5: Result Types"); absent if it is not up.
    pub fn result_of(&self, id: &str) -> Option<serde_json::Value> {
        self.read(id).filter(|record| self.is_alive(record)).and_then(|record| record.result)
    }

    fn is_alive(&self, record: &Record) -> bool {
        record.alive(&self.place(&record.id).join("netns"))
    }

    /// Takes down the networks of containers that died without their runtime calling the hook.
    pub fn prune(&self) -> Result<(), Error> {
        let _lock = self.lock()?;
        self.reap()
    }

    /// Does the work of [`Self::prune`] under the lock.
    fn reap(&self) -> Result<(), Error> {
        let dead: Vec<Record> = self.records().into_iter().filter(|record| !self.is_alive(record)).collect();
        for record in &dead {
            self.take_down(&record.id)?;
        }
        if dead.is_empty() { Ok(()) } else { self.refresh(None) }
    }

    /// Removes what plugins leave after the last container of a network: the bridge, and the chains in the firewall.
    fn sweep(&self, network: &Conflist) {
        let records = self.records();
        if !records.iter().any(|record| is_of(record, network)) {
            if let Some(bridge) = network.bridge() {
                if self.plugins_mark().exists() {
                    firewall::remove_isolation(bridge);
                }
                self.disown(bridge);
            }
            // No address of the network is in use any more.
            if let Some(leases) = network.leases().filter(|leases| leases.starts_with(self.addresses())) {
                let _ = fs::remove_dir_all(&leases);
                let _ = leases.parent().map(fs::remove_dir);
            }
        }
        if records.is_empty() {
            if self.plugins_mark().exists() {
                firewall::remove_empty_chains();
                let _ = fs::remove_file(self.plugins_mark());
            }
            // Removed only if they are empty.
            let _ = fs::remove_dir(self.addresses());
            let _ = fs::remove_dir(self.folder.join("networks"));
            let _ = fs::remove_dir(self.folder.join("bridges"));
        }
    }

    /// Calls `make` with what a new network must not have, and records the network that it returns the file of, so that networks of other
    /// homes are chosen apart from it even while it is not up. `known` are those of this home; `shared` is a bridge that it may have with
    /// them.
    pub fn choose(
        &self,
        known: &[Conflist],
        shared: Option<&str>,
        make: impl FnOnce(&Taken) -> Result<PathBuf, Error>,
    ) -> Result<PathBuf, Error> {
        // A user who is not root may have no folder for it, and no networks that come up.
        let _lock = self.lock().ok();
        let mut taken = Taken::default();
        let claimed: Vec<Conflist> = self.claims().iter().filter_map(|path| Conflist::read(path).ok()).collect();
        let apart = known.iter().chain(&claimed).filter(|network| shared.is_none() || network.bridge() != shared);
        for network in apart {
            taken.bridges.extend(network.bridge().map(str::to_owned));
            taken.subnets.extend(network.subnets());
        }
        let own = |name: &str| shared == Some(name) && self.is_own(name);
        taken.host.extend(host::subnets().into_iter().filter(|(_, name)| !own(name)).map(|(subnet, _)| subnet));
        taken.bridges.extend(host::names().into_iter().filter(|name| !own(name)));
        let path = make(&taken)?;
        self.claim(&path);
        Ok(path)
    }

    /// The files of networks of all homes that were made since the host started.
    fn claims(&self) -> Vec<PathBuf> {
        let text = fs::read_to_string(self.folder.join("claims")).unwrap_or_default();
        text.lines().map(PathBuf::from).filter(|path| path.exists()).collect()
    }

    fn claim(&self, path: &Path) {
        let mut claims = self.claims();
        if let Ok(path) = std::path::absolute(path)
            && !claims.contains(&path)
        {
            claims.push(path);
        }
        let text: String = claims.iter().filter_map(|path| Some(format!("{}\n", path.to_str()?))).collect();
        // Only a network that is not up could then be chosen twice, and the second is refused when it comes up.
        let _ = fs::write(self.folder.join("claims"), text);
    }

    /// The folder of the namespaces that containers have joined.
    pub fn joined(&self) -> PathBuf {
        self.folder.join("joined")
    }

    /// The folder of a container's record, and of its network namespace as long as it is up.
    pub fn place(&self, id: &str) -> PathBuf {
        self.folder.join("networks").join(id)
    }

    fn lock(&self) -> Result<Lock, Error> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).during("create", &self.folder)?;
        let path = self.folder.join("lock");
        let file = File::create(&path).during("create", &path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).during("lock", &path)?;
        Ok(Lock(file))
    }

    fn records(&self) -> Vec<Record> {
        let folder = self.folder.join("networks");
        let mut ids: Vec<_> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
        ids.sort();
        ids.iter().filter_map(|id| self.read(id.to_str()?)).collect()
    }

    fn read(&self, id: &str) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.place(id).join("state.json")).ok()?).ok()
    }

    fn write(&self, record: &Record) -> Result<(), Error> {
        let folder = self.place(&record.id);
        let json = serde_json::to_vec_pretty(record).expect("a record is JSON");
        let (new, path) = (folder.join("state.json.new"), folder.join("state.json"));
        Ok(fs::write(&new, json).and_then(|()| fs::rename(&new, &path)).during("write", &path)?)
    }
}

/// Whether a container is on this network. Those of two homes may have one name, but not one bridge.
fn is_of(record: &Record, network: &Conflist) -> bool {
    record.plan.network == network.name
        && Conflist::from_value(&record.network)
            .is_ok_and(|other| other.bridge() == network.bridge() && other.leases() == network.leases())
}

/// Refuses a network whose bridge is yet to be made if the host has its addresses already.
fn check_free(network: &Conflist) -> Result<(), Error> {
    let taken = host::interfaces();
    for subnet in network.subnets() {
        if let Some((_, interface)) = taken.iter().find(|(other, _)| other.overlaps(subnet)) {
            let (subnet, interface) = (subnet.to_string(), interface.clone());
            return Err(Error::SubnetTaken { network: network.name.clone(), subnet, interface });
        }
    }
    Ok(())
}

/// Changes a hosts file in place: it must stay the same file, since it is mounted into a container.
fn edit(path: &Path, change: impl FnOnce(&str) -> String) -> Result<(), Error> {
    let text = fs::read_to_string(path).during("read", path)?;
    let new = change(&text);
    if new != text {
        fs::write(path, new).during("write", path)?;
    }
    Ok(())
}

/// Assigns host ports, and fails before anything is made if one is not free. `default` is the address of ports that are published on none in
/// particular; all if absent.
pub fn assign_ports(
    networks: &Networks,
    publish: &[port::Publish],
    expose: &[port::Expose],
    all: bool,
    default: Option<IpAddr>,
) -> Result<Vec<Mapping>, Error> {
    match port::assign(publish, expose, all, default, &networks.taken()) {
        Ok(mappings) => Ok(mappings),
        Err(error) => {
            // If another container has the port, say which.
            for each in publish {
                for mapping in each.fixed() {
                    networks.check_taken(&mapping, None)?;
                }
            }
            Err(error.into())
        }
    }
}
