//! Connecting containers to networks and disconnecting them: when a container starts and ends, and while it runs.
//!
//! A container has a record for each of its networks. It is written before anything is made and removed when all is taken down.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::error::During as _;
use image_tool::layout::journal;
use serde_json::Value;

use super::cni::{self, Conflist};
use super::identity::identity;
use super::native::{self, Failure, Member, Wish};
use super::record::{self, Record};
use super::state::{Networks, Newcomer, edit};
use super::{Error, Plan, firewall, host, names, proxy};
use crate::rootfs;

/// Records what has happened to a network for the sake of a container.
fn tell(action: &str, record: &Record) {
    let name = record.plan.network.as_str();
    let attributes = [("container", record.id.as_str()), ("name", name), ("type", "bridge")];
    journal::record(&Home::from_environment(), "network", action, &identity("network", name), &attributes);
}

impl Networks {
    /// Brings the networks of a container up: its plans and what they are of. A failed attempt is undone.
    pub fn up(&self, newcomer: &Newcomer<'_>, plans: &[(&Plan, Conflist)]) -> Result<(), Error> {
        let _lock = self.lock()?;
        // The container may have run before and ended without its runtime calling the hook.
        self.take_down(newcomer.id)?;
        self.reap()?;
        for (plan, network) in plans {
            for mapping in plan.mappings()? {
                self.check_taken(&mapping, Some(newcomer.id))?;
                // The bridge may have its address only when it is up.
                if network.binding() != Some(mapping.ip) || !network.is_within(mapping.ip) {
                    mapping.check().map_err(Error::Port)?;
                }
            }
        }
        let all = || -> Result<(), Error> {
            for (index, (plan, network)) in plans.iter().enumerate() {
                self.attach(newcomer, plan, network, &record::interface(index))?;
            }
            self.refresh(Some(newcomer.id))
        };
        let outcome = all();
        if outcome.is_err() {
            // The first error is the one to report; what could not be taken down stays on record for `delete`.
            let _ = self.take_down(newcomer.id).and_then(|()| self.refresh(None));
        }
        outcome
    }

    /// Connects a container that runs to one more network.
    pub fn connect(&self, newcomer: &Newcomer<'_>, plan: &Plan, network: &Conflist) -> Result<(), Error> {
        let _lock = self.lock()?;
        let own = self.records_of(newcomer.id);
        if own.iter().any(|record| record.is_of(network)) {
            return Err(Error::Connected { network: network.name.clone(), container: newcomer.name.into() });
        }
        let free = (0..).map(record::interface).find(|name| own.iter().all(|record| record.interface != *name));
        let interface = free.expect("numbers do not end");
        // The first process, by which others know that the container lives.
        let pid = own.first().map_or(newcomer.pid, |record| record.pid);
        let newcomer = &Newcomer { pid, ..newcomer.clone() };
        let outcome = self.attach(newcomer, plan, network, &interface).and_then(|()| self.refresh(Some(newcomer.id)));
        if outcome.is_err()
            && let Some(record) = self.read(newcomer.id, &interface)
        {
            let _ = self.detach(&record).and_then(|()| self.refresh(None));
        }
        outcome
    }

    /// Disconnects a container from a network, while it goes on. Returns whether it was connected.
    pub fn disconnect(&self, id: &str, network: &str) -> Result<bool, Error> {
        let _lock = self.lock()?;
        let Some(record) = self.records_of(id).into_iter().find(|record| record.plan.network == network) else {
            return Ok(false);
        };
        self.detach(&record)?;
        for left in self.records_of(id) {
            self.lead_out(&left)?;
        }
        self.refresh(None)?;
        Ok(true)
    }

    /// Gives a container a way out by one of its networks, if it has no other.
    fn lead_out(&self, record: &Record) -> Result<(), Error> {
        let network = Conflist::from_value(&record.network)?;
        match native::Network::of(&network, &self.addresses()).filter(|_| record.native) {
            Some(native) => native.lead_out(&self.namespace(&record.id), &record.interface, &record.addresses()),
            None => Ok(()),
        }
    }

    /// Fails if a plugin is needed for the network that is not installed, or that cannot do what the plan asks for.
    pub fn check_plugins(&self, plan: &Plan, network: &Conflist) -> Result<(), Error> {
        match native::Network::of(network, &self.addresses()) {
            Some(_) => Ok(()),
            None => check_link_local(plan, network).and_then(|()| cni::check_plugins(network)),
        }
    }

    /// Connects a container to a network by an interface of that name.
    fn attach(&self, newcomer: &Newcomer<'_>, plan: &Plan, network: &Conflist, interface: &str) -> Result<(), Error> {
        let mut record = Record {
            id: newcomer.id.into(),
            name: newcomer.name.into(),
            hostname: newcomer.hostname.into(),
            domain: newcomer.domain.into(),
            bundle: newcomer.bundle.into(),
            pid: newcomer.pid,
            network: network.to_value(),
            capabilities: record::capabilities(plan, &plan.mappings()?),
            result: None,
            plan: Plan { others: Vec::new(), ..plan.clone() },
            interface: interface.into(),
            // From the first, so that what a kill leaves is not taken down by plugins, which would make tables of their own for it.
            native: native::Network::of(network, &self.addresses()).is_some(),
            proxy: None,
            hosts: Vec::new(),
        };
        let folder = self.place(&record.id);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).during("create", &folder)?;
        self.write(&record)?;
        let namespace = self.hold(&record)?;
        let bridge = network.bridge();
        let before = bridge.and_then(host::index);
        if before.is_none() {
            check_free(network)?;
        }
        let result = match self.add(&mut record, network, &namespace)? {
            Some(result) => Ok(result),
            None => self.add_by_plugins(&record, network, &namespace),
        };
        if let Some(bridge) = bridge
            && before.is_none()
        {
            self.own(bridge)?;
        }
        record.result = Some(result?);
        self.write(&record)?;
        record.proxy = proxy::start(&record.plan.mappings()?, &record.addresses(), record.pid)?;
        self.write(&record)?;
        tell("connect", &record);
        Ok(())
    }

    /// Holds the network namespace of a container, and returns where.
    fn hold(&self, record: &Record) -> Result<PathBuf, Error> {
        let namespace = self.namespace(&record.id);
        if !rootfs::is_mounted(&namespace) {
            File::create(&namespace).during("create", &namespace)?;
            let source = format!("/proc/{}/ns/net", record.pid);
            rustix::mount::mount_bind(source.as_str(), &namespace).during("mount", &namespace)?;
        }
        Ok(namespace)
    }

    fn namespace(&self, id: &str) -> PathBuf {
        self.place(id).join("netns")
    }

    /// Brings a network up without plugins; `None` if that cannot be.
    fn add(&self, record: &mut Record, network: &Conflist, namespace: &Path) -> Result<Option<Value>, Error> {
        let Some(native) = native::Network::of(network, &self.addresses()) else { return Ok(None) };
        let ports = record.plan.mappings()?;
        let ips: Vec<IpAddr> = [record.plan.ip, record.plan.ip6].into_iter().flatten().collect();
        let same = |other: &Record| other.native && !other.is_same(record) && other.is_of(network);
        let others = self.records().filter(same);
        let others: Vec<_> =
            others.map(|other| (other.plan.mappings().unwrap_or_default(), other.addresses())).collect();
        let member = Member { id: &record.id, interface: &record.interface, ports: &ports };
        let wish = Wish {
            namespace,
            ips: &ips,
            link_local: &record.plan.link_local.clone(),
            mac: record.plan.mac.as_deref(),
            others: &others,
        };
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

    fn add_by_plugins(&self, record: &Record, network: &Conflist, namespace: &Path) -> Result<Value, Error> {
        check_link_local(&record.plan, network)?;
        // What plugins leave in the firewall takes processes to look for.
        let mark = self.plugins_mark();
        fs::write(&mark, "").during("write", &mark)?;
        record.attachment(namespace).add(network)
    }

    /// Disconnects a container from all of its networks, under the lock.
    pub(super) fn take_down(&self, id: &str) -> Result<(), Error> {
        let folder = self.place(id);
        if !folder.exists() {
            return Ok(());
        }
        // The first network is the last to go, in the order in which they came.
        for record in self.records_of(id).iter().rev() {
            self.detach(record)?;
        }
        let namespace = self.namespace(id);
        match rootfs::unmount(&namespace, true) {
            Ok(_) => {}
            Err(rootfs::Error::Io(error)) => return Err(error.into()),
            Err(error) => Err(io::Error::other(error.to_string())).during("unmount", &namespace)?,
        }
        fs::remove_dir_all(&folder).during("remove", &folder)?;
        self.sweep_all();
        Ok(())
    }

    /// Disconnects a container from the network of a record, and removes that.
    fn detach(&self, record: &Record) -> Result<(), Error> {
        // The bundle may no longer exist, or is about to be removed.
        let _ = edit(&record.bundle.join("hosts"), |text| names::replace(text, &record.hosts, &[]));
        let network = Conflist::from_value(&record.network)?;
        if let Some(proxy) = record.proxy {
            proxy.end();
        }
        self.remove(record, &network)?;
        let path = self.file(record);
        fs::remove_file(&path).during("remove", &path)?;
        if record.result.is_some() {
            tell("disconnect", record);
        }
        self.sweep(&network);
        Ok(())
    }

    /// Removes what was made for a container outside of its namespace, which must go even if that no longer exists.
    fn remove(&self, record: &Record, network: &Conflist) -> Result<(), Error> {
        if record.native {
            let foreign = || Error::Conflist { path: self.file(record), reason: "not a network of this tool".into() };
            let native = native::Network::of(network, &self.addresses()).ok_or_else(foreign)?;
            let last = !self.records().any(|other| !other.is_same(record) && other.is_of(network));
            let own = network.bridge().is_some_and(|bridge| self.is_own(bridge));
            let ports = record.plan.mappings()?;
            let member = Member { id: &record.id, interface: &record.interface, ports: &ports };
            return native.delete(&member, &record.addresses(), last, own);
        }
        let namespace = self.namespace(&record.id);
        let held = rootfs::is_mounted(&namespace);
        let attachment = record.attachment(if held { &namespace } else { Path::new("") });
        let deleted = attachment.delete(network, record.result.as_ref());
        if !held || deleted.is_err() {
            firewall::forget(&record.id);
        }
        deleted
    }

    /// Removes what is left after the last container of a network: the bridge, and what plugins leave in the firewall.
    fn sweep(&self, network: &Conflist) {
        if self.records().any(|record| record.is_of(network)) {
            return;
        }
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

    /// Removes what is left after the last container of all.
    fn sweep_all(&self) {
        if self.records().next().is_some() {
            return;
        }
        if self.plugins_mark().exists() {
            firewall::remove_empty_chains();
            let _ = fs::remove_file(self.plugins_mark());
        }
        self.remove_empty_folders();
    }

    /// Records that a bridge has just been made, which is then removed with the last container of its network. One that was there before is
    /// somebody else's.
    fn own(&self, bridge: &str) -> Result<(), Error> {
        let Some(index) = host::index(bridge) else { return Ok(()) };
        let path = self.bridge_file(bridge);
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).during("create", folder)?;
        }
        Ok(fs::write(&path, index.to_string()).during("write", &path)?)
    }

    /// Removes a bridge that was made here, unless something is attached to it.
    fn disown(&self, bridge: &str) {
        if self.is_own(bridge)
            && let Err(error) = native::remove_bridge(bridge)
        {
            tracing::debug!("bridge {bridge}: {error}");
        }
        // Nothing is lost if this fails: the number is not given again.
        let _ = fs::remove_file(self.bridge_file(bridge));
    }
}

/// Refuses an address that no plugin gives.
fn check_link_local(plan: &Plan, network: &Conflist) -> Result<(), Error> {
    match plan.link_local.first() {
        Some(address) => {
            let reason = "CNI's plugins, which bring this network up, give no address of the link alone";
            Err(Error::Address { network: network.name.clone(), address: *address, reason })
        }
        None => Ok(()),
    }
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
