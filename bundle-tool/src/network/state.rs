//! Networks that are up: a record for each container, and bringing one up and down.
//!
//! Records are in /run, so a reboot, which takes the interfaces and rules away, takes them too. A record is written before anything is
//! set up and removed after everything is taken down; whatever is killed between, the next `down` of the container finds what to
//! undo. The container's namespace is held by a bind mount beside its record: the plugins can then clean up in it though its
//! processes are gone, which they need to find the rules that they made.

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

/// The networks of this host that are up.
#[derive(Clone, Debug)]
pub struct Networks {
    folder: PathBuf,
}

/// A container's network.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    /// The docker-like id.
    id: String,
    /// The container's name.
    name: String,
    /// The bundle.
    bundle: PathBuf,
    /// The container's first process.
    pid: i32,
    /// The conflist that it was set up by.
    network: Value,
    /// What the plugins were given beside it.
    capabilities: Map<String, Value>,
    /// The last plugin's result, once there is one.
    result: Option<Value>,
    /// What is to be set up.
    plan: Plan,
    /// Lines that were added to hosts files: whose, and what.
    lines: Vec<(PathBuf, String)>,
}

/// Who is to be brought up.
#[derive(Clone, Debug)]
pub struct Newcomer<'a> {
    /// The docker-like id.
    pub id: &'a str,
    /// The container's name.
    pub name: &'a str,
    /// The host name in the container.
    pub hostname: &'a str,
    /// The bundle, absolute.
    pub bundle: &'a Path,
    /// The container's first process.
    pub pid: i32,
}

/// The lock that everything here is done under: plugins share tables of the kernel that they change in several steps.
struct Lock(#[expect(dead_code, reason = "held for its drop")] File);

impl Networks {
    /// Those of this host, or of this user where no root is.
    pub fn of_host() -> Self {
        let own = || std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let base = if rustix::process::geteuid().is_root() { None } else { own() };
        Self { folder: base.unwrap_or_else(|| "/run".into()).join("bundle-tool") }
    }

    /// Where host-local keeps the addresses that it gave out: per host, as the networks' interfaces are.
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

    /// Brings a container's network up. A failure leaves nothing behind.
    pub fn up(&self, newcomer: &Newcomer<'_>, plan: &Plan, network: &Conflist) -> Result<(), Error> {
        let _lock = self.lock()?;
        // A container that was started before and whose end nobody told us of.
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
        // A name that was drawn at random was not known yet when the plan was made.
        if !record.plan.names.iter().any(|name| name == newcomer.name) {
            record.plan.names.insert(0, newcomer.name.into());
        }
        let outcome = self.set_up(&mut record, newcomer, network);
        if outcome.is_err() {
            // The first failure is the one to tell; what could not be taken down stays on record for `delete`.
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

    /// Writes addresses into hosts files: the container's own, and on networks other than docker's nameless `bridge` those of and for
    /// its neighbours.
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
        // On record first: a line that was written is taken out again.
        record.lines = lines;
        self.write(record)?;
        for (file, line) in &record.lines {
            edit(file, |text| text + line + "\n")?;
        }
        Ok(())
    }

    /// Takes a container's network down; nothing happens if it is not up.
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
                // A neighbour's bundle may be gone, and our own is about to go.
                let _ = edit(file, |text| text.replace(&format!("{line}\n"), ""));
            }
            let network = Conflist::from_value(&record.network)?;
            let held = rootfs::is_mounted(&namespace);
            // Without a namespace there is nothing in it to take down, but addresses and rules are outside of it.
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

    /// The name of a container on a network, if one is.
    pub fn user(&self, network: &str) -> Option<String> {
        self.records().into_iter().find(|record| record.plan.network == network).map(|record| record.name)
    }

    /// Takes down what containers left that have died without their runtime calling the hook.
    pub fn prune(&self) -> Result<(), Error> {
        let _lock = self.lock()?;
        self.reap()
    }

    /// Takes down networks of containers that have died without their runtime calling the hook.
    fn reap(&self) -> Result<(), Error> {
        for record in self.records().into_iter().filter(|record| !record.alive(self)) {
            self.take_down(&record.id)?;
        }
        Ok(())
    }

    /// Removes what plugins leave when a network's last container is gone: the bridge and the chains of the firewall.
    fn sweep(&self, network: &Conflist) {
        let same = |record: &Record| record.network.get("name").and_then(Value::as_str) == Some(network.name.as_str());
        let records = self.records();
        if !records.iter().any(same) {
            if let Some(bridge) = network.bridge() {
                firewall::remove_bridge(bridge);
            }
            // host-local's folder of addresses has no address in it now.
            let _ = fs::remove_dir_all(self.addresses().join(&network.name));
        }
        if records.is_empty() {
            firewall::remove_empty_chains();
            // Only if nothing is in them.
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

    /// Whether the process that the network was brought up for still is in it.
    fn alive(&self, networks: &Networks) -> bool {
        fs::metadata(format!("/proc/{}/ns/net", self.pid)).is_ok_and(|own| {
            // A process that took the id since is in another namespace.
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

    /// The container's addresses.
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

/// Changes a hosts file in place: it is mounted into a container, so it must stay the same file.
fn edit(path: &Path, change: impl FnOnce(String) -> String) -> Result<(), Error> {
    let text = fs::read_to_string(path).during("read", path)?;
    let new = change(text.clone());
    if new != text {
        fs::write(path, new).during("write", path)?;
    }
    Ok(())
}

/// Fails if a port of the host is not to be had, before anything is made.
pub fn assign_ports(
    networks: &Networks,
    publish: &[port::Publish],
    expose: &[port::Expose],
    all: bool,
) -> Result<Vec<Mapping>, Error> {
    match port::assign(publish, expose, all, &networks.taken()) {
        Ok(mappings) => Ok(mappings),
        Err(error) => {
            // Say which container has it, if one has.
            for each in publish {
                for mapping in each.fixed() {
                    networks.check_taken(&mapping, None)?;
                }
            }
            Err(error.into())
        }
    }
}
