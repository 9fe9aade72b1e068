//! The networks that are up: a record for each container, by which they are brought up and taken down.
//!
//! Records are in /run, since a reboot removes interfaces and rules as well. A record is written before anything is set up and removed
//! after everything is taken down, so that after a crash the next `down` of the container finds what to undo. A bind mount beside the
//! record holds the container's network namespace, which plugins need to find their rules when its processes have ended.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use rustix::fs::FlockOperation;
use serde_json::Value;

use super::cni::Conflist;
use super::design::Taken;
use super::record::Record;
use super::{Error, host, names};
use crate::option::port::{self, Mapping};

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
pub(super) struct Lock(#[expect(dead_code, reason = "held for its drop")] File);

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
            .filter(|record| self.is_alive(record))
            .flat_map(|record| record.plan.mappings().unwrap_or_default())
            .collect()
    }

    pub(super) fn check_taken(&self, mapping: &Mapping, except: Option<&str>) -> Result<(), Error> {
        for record in self.records() {
            let other = Some(record.id.as_str()) != except;
            if other && self.is_alive(&record) && record.plan.mappings()?.iter().any(|other| other.collides(mapping)) {
                let port = format!("{}/{}", std::net::SocketAddr::new(mapping.ip, mapping.host), mapping.protocol);
                return Err(Error::PortTaken { port, container: record.name });
            }
        }
        Ok(())
    }

    /// Makes the lines of all hosts files anew. `newcomer` is the container whose file must be there.
    pub(super) fn refresh(&self, newcomer: Option<&str>) -> Result<(), Error> {
        let all: Vec<Record> = self.records().collect();
        for record in all.iter().filter(|record| record.result.is_some()) {
            let wanted = names::lines(record, &all);
            if wanted == record.hosts {
                continue;
            }
            // Recorded before and after, so that every line that was written is removed again.
            let mut next = record.clone();
            next.hosts.extend(wanted.iter().filter(|line| !record.hosts.contains(line)).cloned());
            if next.hosts.len() > record.hosts.len() {
                self.write(&next)?;
            }
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

    /// Gives a container another name, by which the others of its networks find it from now on.
    pub fn rename(&self, id: &str, name: &str) -> Result<(), Error> {
        if !self.place(id).exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        for record in self.records_of(id) {
            self.write(&Record { name: name.into(), ..record })?;
        }
        self.refresh(None)
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
        let ids: Vec<String> = self.records().filter(lost).map(|record| record.id).collect();
        for id in &ids {
            self.down(id)?;
        }
        Ok(!ids.is_empty())
    }

    /// The name of a container that uses a network; `None` if none does. Networks of another home may have the same name.
    pub fn user(&self, network: &Conflist) -> Option<String> {
        let same = |record: &Record| record.is_of(network);
        self.records().find(same).map(|record| record.name)
    }

    /// The addresses of a container whose network is up; empty if it is not.
    pub fn addresses_of(&self, id: &str) -> Vec<IpAddr> {
        let own = self.records_of(id).into_iter().filter(|record| self.is_alive(record));
        own.flat_map(|record| record.addresses()).collect()
    }

    /// What is known of a container's network (CNI specification, "Section 5: Result Types"); absent if it is not connected to it.
    pub fn result_of(&self, id: &str, network: &str) -> Option<Value> {
        let own = self.records_of(id).into_iter().find(|record| record.plan.network == network);
        own.filter(|record| self.is_alive(record)).and_then(|record| record.result)
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
    pub(super) fn reap(&self) -> Result<(), Error> {
        let dead = self.records().filter(|record| !self.is_alive(record)).map(|record| record.id);
        let dead: BTreeSet<String> = dead.collect();
        for id in &dead {
            self.take_down(id)?;
        }
        if dead.is_empty() { Ok(()) } else { self.refresh(None) }
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

    pub(super) fn lock(&self) -> Result<Lock, Error> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).during("create", &self.folder)?;
        let path = self.folder.join("lock");
        let file = File::create(&path).during("create", &path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).during("lock", &path)?;
        Ok(Lock(file))
    }

    /// The file that is there while plugins may have left something in the firewall.
    pub(super) fn plugins_mark(&self) -> PathBuf {
        self.folder.join("plugins")
    }

    /// The file with the number of a bridge that was made here.
    pub(super) fn bridge_file(&self, bridge: &str) -> PathBuf {
        self.folder.join("bridges").join(bridge)
    }

    /// Whether a bridge was made here.
    pub(super) fn is_own(&self, bridge: &str) -> bool {
        let recorded = fs::read_to_string(self.bridge_file(bridge)).ok();
        host::index(bridge).map(|index| index.to_string()).is_some_and(|index| recorded == Some(index))
    }

    /// Removes the folders that nothing is in.
    pub(super) fn remove_empty_folders(&self) {
        for folder in [self.addresses(), self.folder.join("networks"), self.folder.join("bridges")] {
            let _ = fs::remove_dir(folder);
        }
    }

    /// The records of all containers, each read when it is asked for.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let folder = self.folder.join("networks");
        let mut ids: Vec<_> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
        ids.sort();
        ids.into_iter().filter_map(|id| id.into_string().ok()).flat_map(|id| self.records_of(&id))
    }

    /// The records of a container, by interface.
    pub(super) fn records_of(&self, id: &str) -> Vec<Record> {
        let files = fs::read_dir(self.place(id)).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let read = |path: PathBuf| serde_json::from_slice::<Record>(&fs::read(path).ok()?).ok();
        let mut all: Vec<Record> = files.filter_map(read).collect();
        all.sort_by(|one, other| one.interface.cmp(&other.interface));
        all
    }

    pub(super) fn read(&self, id: &str, interface: &str) -> Option<Record> {
        self.records_of(id).into_iter().find(|record| record.interface == interface)
    }

    /// The file of a record.
    pub(super) fn file(&self, record: &Record) -> PathBuf {
        self.place(&record.id).join(record.file_name())
    }

    pub(super) fn write(&self, record: &Record) -> Result<(), Error> {
        let path = self.file(record);
        let json = serde_json::to_vec_pretty(record).expect("a record is JSON");
        let new = path.with_extension("new");
        Ok(fs::write(&new, json).and_then(|()| fs::rename(&new, &path)).during("write", &path)?)
    }
}

/// Changes a hosts file in place: it must stay the same file, since it is mounted into a container.
pub(super) fn edit(path: &Path, change: impl FnOnce(&str) -> String) -> Result<(), Error> {
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
