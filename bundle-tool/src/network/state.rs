//! The networks that are up: a record for each container, by which they are brought up and taken down.
//!
//! Records are in /run, since a reboot removes interfaces and rules as well. A record is written before anything is set up and removed
//! after everything is taken down, so that after a crash the next `down` of the container finds what to undo. A bind mount beside the
//! record holds the container's network namespace, which plugins need to find their rules when its processes have ended.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use image_tool::error::During as _;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::cni::{self, Attachment, Conflist};
use super::{Error, Plan, firewall};
use crate::option::port::{self, Mapping};
use crate::rootfs;

/// The networks that are up on this host.
#[derive(Clone, Debug)]
pub struct Networks {
    folder: PathBuf,
}

/// The record of a container's network, `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    /// The 64-digit id of the container.
    id: String,
    /// The name of the container.
    name: String,
    /// The absolute path of the bundle.
    bundle: PathBuf,
    /// The first process of the container.
    pid: i32,
    /// The conflist that the network was set up with.
    network: Value,
    /// The capabilities that the plugins got.
    capabilities: Map<String, Value>,
    /// The result of the last plugin; absent until it has run.
    result: Option<Value>,
    /// What is set up.
    plan: Plan,
    /// The lines that were added to hosts files, with the path of the file.
    lines: Vec<(PathBuf, String)>,
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
            .filter(|record| record.alive(self))
            .flat_map(|record| record.plan.mappings().unwrap_or_default())
            .collect()
    }

    fn check_taken(&self, mapping: &Mapping, except: Option<&str>) -> Result<(), Error> {
        for record in self.records() {
            let other = Some(record.id.as_str()) != except;
            if other && record.alive(self) && record.plan.mappings()?.iter().any(|other| other.collides(mapping)) {
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
            bundle: newcomer.bundle.into(),
            pid: newcomer.pid,
            network: network.to_value(),
            capabilities: capabilities(plan, &mappings),
            result: None,
            plan: plan.clone(),
            lines: Vec::new(),
        };
        // A random name was not known when the plan was made.
        if !record.plan.names.iter().any(|name| name == newcomer.name) {
            record.plan.names.insert(0, newcomer.name.into());
        }
        let outcome = self.set_up(&mut record, newcomer, network);
        if outcome.is_err() {
            // The first error is the one to report; what could not be taken down stays on record for `delete`.
            let _ = self.take_down(newcomer.id);
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
        let result = record.attachment(&namespace).add(network)?;
        record.result = Some(result);
        self.write(record)?;
        self.name(record, newcomer)
    }

    /// Writes addresses to hosts files: that of the container, and those of other containers on the network. As in docker, containers on
    /// `bridge` do not know each other's names unless they are linked.
    fn name(&self, record: &mut Record, newcomer: &Newcomer<'_>) -> Result<(), Error> {
        let own = newcomer.bundle.join("hosts");
        let mut lines = Vec::new();
        for address in record.addresses() {
            lines.push((own.clone(), format!("{address}\t{}", newcomer.hostname)));
        }
        if let Some(gateway) = record.gateway() {
            lines.extend(record.plan.gateway_names.iter().map(|name| (own.clone(), format!("{gateway}\t{name}"))));
        }
        let neighbours: Vec<Record> = self
            .records()
            .into_iter()
            .filter(|other| other.id != record.id && other.plan.network == record.plan.network)
            .collect();
        for neighbour in &neighbours {
            let linked: Vec<&str> = record
                .plan
                .links
                .iter()
                .filter(|(container, _)| neighbour.is(container))
                .map(|(_, name)| name.as_str())
                .collect();
            for address in neighbour.addresses() {
                let mut names: Vec<&str> = linked.clone();
                if record.plan.network != "bridge" {
                    names.extend(neighbour.plan.names.iter().map(String::as_str));
                }
                if !names.is_empty() {
                    lines.push((own.clone(), format!("{address}\t{}", names.join(" "))));
                }
            }
            if record.plan.network != "bridge" && !record.plan.names.is_empty() {
                let theirs = neighbour.bundle.join("hosts");
                lines.extend(
                    record
                        .addresses()
                        .iter()
                        .map(|address| (theirs.clone(), format!("{address}\t{}", record.plan.names.join(" ")))),
                );
            }
        }
        // Recorded first, so that every line that was written is removed again.
        record.lines = lines;
        self.write(record)?;
        for (file, line) in &record.lines {
            edit(file, |text| text + line + "\n")?;
        }
        Ok(())
    }

    /// Takes a container's network down, if it is up.
    pub fn down(&self, id: &str) -> Result<(), Error> {
        if !self.place(id).exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.take_down(id)
    }

    fn take_down(&self, id: &str) -> Result<(), Error> {
        let folder = self.place(id);
        if !folder.exists() {
            return Ok(());
        }
        let namespace = folder.join("netns");
        let record = self.read(id);
        if let Some(record) = &record {
            for (file, line) in &record.lines {
                // Another container's bundle may no longer exist, and ours is about to be removed.
                let _ = edit(file, |text| text.replace(&format!("{line}\n"), ""));
            }
            let network = Conflist::from_value(&record.network)?;
            let held = rootfs::is_mounted(&namespace);
            // Addresses and rules are outside of the namespace and must be removed even if that no longer exists.
            let attachment = record.attachment(if held { &namespace } else { Path::new("") });
            let deleted = attachment.delete(&network, record.result.as_ref());
            if !held || deleted.is_err() {
                firewall::forget(id);
            }
            deleted?;
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

    /// The name of a container that uses a network; `None` if none does.
    pub fn user(&self, network: &str) -> Option<String> {
        self.records().into_iter().find(|record| record.plan.network == network).map(|record| record.name)
    }

    /// Takes down the networks of containers that died without their runtime calling the hook.
    pub fn prune(&self) -> Result<(), Error> {
        let _lock = self.lock()?;
        self.reap()
    }

    /// Does the work of [`Self::prune`] under the lock.
    fn reap(&self) -> Result<(), Error> {
        for record in self.records().into_iter().filter(|record| !record.alive(self)) {
            self.take_down(&record.id)?;
        }
        Ok(())
    }

    /// Removes what plugins leave after the last container of a network: the bridge, and the chains in the firewall.
    fn sweep(&self, network: &Conflist) {
        let same = |record: &Record| record.network.get("name").and_then(Value::as_str) == Some(network.name.as_str());
        let records = self.records();
        if !records.iter().any(same) {
            if let Some(bridge) = network.bridge() {
                firewall::remove_bridge(bridge);
            }
            // No address of the network is in use any more.
            let _ = fs::remove_dir_all(self.addresses().join(&network.name));
        }
        if records.is_empty() {
            firewall::remove_empty_chains();
            // Removed only if they are empty.
            let _ = fs::remove_dir(self.addresses());
            let _ = fs::remove_dir(self.folder.join("networks"));
        }
    }

    fn place(&self, id: &str) -> PathBuf {
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

impl Record {
    fn attachment<'a>(&'a self, namespace: &'a Path) -> Attachment<'a> {
        Attachment { id: &self.id, namespace, capabilities: self.capabilities.clone(), plugins: cni::plugin_folders() }
    }

    /// Whether the container's first process still runs in the network namespace.
    fn alive(&self, networks: &Networks) -> bool {
        fs::metadata(format!("/proc/{}/ns/net", self.pid)).is_ok_and(|own| {
            // Another process that has got this pid since is in another namespace.
            self.namespace_inode(networks).is_none_or(|inode| inode == own.ino())
        })
    }

    fn namespace_inode(&self, networks: &Networks) -> Option<u64> {
        let place = networks.place(&self.id).join("netns");
        if rootfs::is_mounted(&place) { fs::metadata(place).ok().map(|found| found.ino()) } else { None }
    }

    fn is(&self, container: &str) -> bool {
        self.name == container || (!container.is_empty() && self.id.starts_with(container))
    }

    fn ips(&self) -> impl Iterator<Item = &Value> {
        self.result.as_ref().and_then(|result| result.get("ips")).and_then(Value::as_array).into_iter().flatten()
    }

    /// The addresses of the container.
    fn addresses(&self) -> Vec<IpAddr> {
        let text = |ip: &Value| {
            ip.get("address").and_then(Value::as_str).and_then(|text| text.split('/').next()?.parse().ok())
        };
        self.ips().filter_map(text).collect()
    }

    fn gateway(&self) -> Option<IpAddr> {
        self.ips().find_map(|ip| ip.get("gateway").and_then(Value::as_str)?.parse().ok())
    }
}

fn capabilities(plan: &Plan, mappings: &[Mapping]) -> Map<String, Value> {
    let mut all = Map::new();
    if !mappings.is_empty() {
        let ports = mappings.iter().map(|mapping| {
            let mut port = json!({"hostPort": mapping.host, "containerPort": mapping.container, "protocol": mapping.protocol.as_str()});
            if !mapping.ip.is_unspecified() {
                port["hostIP"] = mapping.ip.to_string().into();
            }
            port
        });
        all.insert("portMappings".into(), ports.collect());
    }
    if let Some(mac) = &plan.mac {
        all.insert("mac".into(), mac.clone().into());
    }
    let ips: Vec<Value> = [plan.ip, plan.ip6].into_iter().flatten().map(|ip| ip.to_string().into()).collect();
    if !ips.is_empty() {
        all.insert("ips".into(), ips.into());
    }
    all
}

/// Changes a hosts file in place: it must stay the same file, since it is mounted into a container.
fn edit(path: &Path, change: impl FnOnce(String) -> String) -> Result<(), Error> {
    let text = fs::read_to_string(path).during("read", path)?;
    let new = change(text.clone());
    if new != text {
        fs::write(path, new).during("write", path)?;
    }
    Ok(())
}

/// Assigns host ports, and fails before anything is made if one is not free.
pub fn assign_ports(
    networks: &Networks,
    publish: &[port::Publish],
    expose: &[port::Expose],
    all: bool,
) -> Result<Vec<Mapping>, Error> {
    match port::assign(publish, expose, all, &networks.taken()) {
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
