//! Control groups: cgroup v1, v2, and both mounted side by side, through cgroupfs or through systemd.
//!
//! libcontainer's managers read mountinfo again for every controller, which takes most of their time. Here the hierarchies are found
//! once. `v1` and `v2` hold what is different, `device` the rules of the device controller, and `rdt` the shares of cache and memory
//! bandwidth, which have a file system of their own. This room imports `spec` and `kernel`.

pub(crate) mod device;
pub(crate) mod entrance;
pub(crate) mod file;
mod folder;
pub(crate) mod membership;
pub(crate) mod rdt;
mod stats;
pub(crate) mod systemd;
pub(crate) mod v1;
pub(crate) mod v2;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags};

use self::entrance::Entrance;
use self::file::write;
pub(crate) use self::file::{ROOT, is_unified};
use self::folder::{collect_pids, remove, write_process};
use crate::kernel::error::{self, Fails};
use crate::kernel::log;
use crate::kernel::syscall::{self, Pid};

/// The control groups of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cgroup {
    /// The folder by controller, with runc's keys: `memory`, `name=systemd`, and the empty key for cgroup v2.
    pub(crate) paths: BTreeMap<String, PathBuf>,
    /// Whether errors of permission are ignored (`--rootless`).
    pub(crate) rootless: bool,
    /// Whether the configuration sets `cgroupsPath`.
    pub(crate) explicit: bool,
    /// The unit, if systemd manages the groups.
    pub(crate) unit: Option<systemd::Unit>,
    /// The hierarchies of cgroup v1 of a container that is being created.
    pub(crate) hierarchies: Vec<v1::Hierarchy>,
}

impl Cgroup {
    /// Decides on the groups of a container: at `path` below the root, or below the caller's own groups if it is relative. Without a
    /// path the name is the container's id.
    pub(crate) fn plan(path: Option<&Path>, id: &str, rootless: bool) -> Result<Self> {
        let path = path.filter(|path| !path.as_os_str().is_empty());
        let explicit = path.is_some();
        let (absolute, inner) = match path {
            Some(path) => (path.is_absolute(), crate::kernel::beneath::clean(path)),
            None => (false, PathBuf::from("/").join(id)),
        };
        let inner = inner.strip_prefix("/").expect("cleaned paths are absolute").to_owned();
        let (paths, hierarchies) = if is_unified() {
            (v2::plan(&inner, absolute, rootless)?, Vec::new())
        } else {
            v1::plan(&inner, absolute)?
        };
        Ok(Self { paths, rootless, explicit, unit: None, hierarchies })
    }

    /// The groups of a systemd unit.
    pub(crate) fn of_unit(unit: systemd::Unit, rootless: bool) -> Result<Self> {
        let (paths, hierarchies) = unit.paths()?;
        Ok(Self { paths, rootless, explicit: true, unit: Some(unit), hierarchies })
    }

    /// Whether the system has cgroup v2 alone.
    pub(crate) fn unified(&self) -> bool {
        self.paths.len() == 1 && self.paths.contains_key("")
    }

    /// Refuses groups that are frozen or have processes: they belong to someone else.
    pub(crate) fn refuse_used(&self) -> Result<()> {
        if let Some(path) = self.main() {
            let mut pids = Vec::new();
            collect_pids(path, &mut pids)?;
            if !pids.is_empty() {
                bail!("container's cgroup is not empty: {} process(es) found", pids.len());
            }
        }
        if self.is_frozen() {
            bail!("container's cgroup unexpectedly frozen");
        }
        Ok(())
    }

    /// Creates the folders. A unit is created later, by `place`, because it needs a process.
    pub(crate) fn create(&mut self) -> Result<()> {
        if self.unit.is_some() {
            return Ok(());
        }
        self.create_folders()
    }

    /// Opens the groups for a process that is about to be cloned.
    pub(crate) fn entrance(&self) -> Entrance {
        if self.unit.is_some() || (self.rootless && !self.unified()) {
            return Entrance::default();
        }
        let open = |path: PathBuf, flags: OFlags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
        let group = self.paths.get("").map(|path| open(path.clone(), OFlags::PATH | OFlags::DIRECTORY)).transpose();
        let folders: BTreeSet<&PathBuf> =
            self.paths.iter().filter(|(controller, _)| !controller.is_empty()).map(|(_, path)| path).collect();
        let tasks = folders.into_iter().map(|folder| open(folder.join("tasks"), OFlags::WRONLY)).collect();
        match (group, tasks) {
            (Ok(group), Ok(tasks)) => Entrance { group, tasks },
            // `place` or `join` will report what is wrong.
            _ => Entrance::default(),
        }
    }

    /// Moves the init process into the groups.
    pub(crate) fn place(&mut self, pid: Pid) -> Result<()> {
        let Some(unit) = &self.unit else { return self.join(pid, &BTreeMap::new()) };
        unit.start(pid, self.unified())?;
        // systemd creates only the folders of the controllers that it knows.
        self.create_folders()?;
        for (controller, path) in &self.paths {
            if !controller.is_empty() && controller != "name=systemd" {
                write_process(path, pid)?;
            }
        }
        Ok(())
    }

    /// Delegates a unit's cgroup v2 to a user: the folder, and the files that the kernel lists as safe to delegate.
    pub(crate) fn delegate(&self, owner: u32) -> Result<()> {
        let Some(path) = self.paths.get("").filter(|_| self.unit.is_some() && self.unified()) else { return Ok(()) };
        let files = fs::read_to_string("/sys/kernel/cgroup/delegate")
            .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned());
        std::os::unix::fs::chown(path, Some(owner), None).fails(|| format!("chown {}", path.display()))?;
        for file in files.lines() {
            match std::os::unix::fs::chown(path.join(file), Some(owner), None) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result.fails(|| format!("chown {}", path.join(file).display()))?,
            }
        }
        Ok(())
    }

    fn create_folders(&mut self) -> Result<()> {
        let unified = self.unified();
        let mut refused = Vec::new();
        for (controller, path) in &self.paths {
            let made = if unified { v2::create(path) } else { v1::create(controller, path) };
            match made {
                Ok(()) => {}
                Err(error) if self.forgives(&error) => refused.push(controller.clone()),
                Err(error) => return Err(error).context("unable to apply cgroup configuration"),
            }
        }
        self.paths.retain(|controller, _| !refused.contains(controller));
        Ok(())
    }

    /// Whether an error is ignored: an ordinary user without permission gets a container without groups, unless the configuration sets
    /// `cgroupsPath`.
    fn forgives(&self, error: &anyhow::Error) -> bool {
        self.rootless && !self.explicit && matches!(error::errno(error), Some(libc::EPERM | libc::EACCES | libc::EROFS))
    }

    /// Moves a process into the groups, or into sub-cgroups of them (`exec --cgroup`).
    pub(crate) fn join(&self, pid: Pid, sub: &BTreeMap<String, PathBuf>) -> Result<()> {
        for name in sub.keys().filter(|name| !name.is_empty()) {
            if !self.paths.contains_key(name) {
                bail!("unknown controller {name} in SubCgroupPaths");
            }
        }
        if let Some(unit) = &self.unit
            && (self.unified() || sub.is_empty())
        {
            let below = sub.get("").map(|path| path.display().to_string()).unwrap_or_default();
            if Path::new(&below).components().any(|component| component == Component::ParentDir) {
                bail!("bad sub cgroup path: {below}");
            }
            unit.attach(pid, &below).with_context(|| format!("error adding pid {pid} to cgroups"))?;
            if self.unified() {
                return Ok(());
            }
        }
        for (controller, base) in &self.paths {
            let mut path = base.clone();
            if let Some(below) = sub.get(controller).or_else(|| sub.get("")) {
                if below.components().any(|component| component == Component::ParentDir) {
                    bail!("bad sub cgroup path: {}", below.display());
                }
                path.push(below.strip_prefix("/").unwrap_or(below));
            }
            let added = write_process(&path, pid).with_context(|| format!("error adding pid {pid} to cgroups"));
            match added {
                Ok(()) => {}
                Err(error)
                    if self.rootless
                        && matches!(error::errno(&error), Some(libc::EPERM | libc::EACCES | libc::EROFS)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Refuses `linux.resources.unified` on a system with cgroup v1.
    pub(crate) fn refuse_unified(&self, resources: Option<&LinuxResources>) -> Result<()> {
        let unified = resources.and_then(|resources| resources.unified().as_ref());
        if !self.paths.is_empty() && !self.unified() && unified.is_some_and(|unified| !unified.is_empty()) {
            bail!("invalid configuration: cannot use unified on cgroup v1");
        }
        Ok(())
    }

    /// Sets limits. If there are no device `rules`, the access to devices stays unchanged.
    pub(crate) fn set(&self, resources: &LinuxResources, rules: &[device::Rule]) -> Result<()> {
        if self.paths.is_empty() {
            return refuse_limits(resources);
        }
        let told = match &self.unit {
            Some(unit) => Some(self.tell(unit, resources, rules)?),
            None => None,
        };
        let resources = told.as_ref().unwrap_or(resources);
        let set = if self.unified() {
            v2::set(&self.paths[""], resources)
        } else {
            self.refuse_unified(Some(resources))?;
            v1::set(&self.paths, resources)
        };
        set?;
        let devices = match self.paths.get("devices") {
            Some(path) => device::set_v1(path, rules),
            None if self.unified() => device::set_v2(&self.paths[""], rules),
            None => Ok(()),
        };
        match devices {
            // Only root can set device rules. The kernel's permission checks on device files remain.
            Err(error) if self.rootless => {
                log::debug(|| format!("device rules: {error:#}"));
                Ok(())
            }
            result => result,
        }
    }

    /// Passes limits to systemd. With cgroup v1 systemd denies all devices for a moment, so the container is frozen meanwhile.
    fn tell(&self, unit: &systemd::Unit, resources: &LinuxResources, rules: &[device::Rule]) -> Result<LinuxResources> {
        if self.unified() {
            // systemd would not check that.
            v2::check_usage(&self.paths[""], resources)?;
        }
        let freeze = !self.unified() && !rules.is_empty() && !self.is_frozen();
        if freeze {
            self.freeze(true)?;
        }
        let told = unit.set(self.unified(), resources, rules);
        if freeze {
            self.freeze(false)?;
        }
        told
    }

    /// The folder that is used to list the container's processes.
    fn main(&self) -> Option<&Path> {
        ["devices", "", "freezer", "pids", "memory"].iter().find_map(|name| self.paths.get(*name)).map(PathBuf::as_path)
    }

    /// Whether the groups still exist.
    pub(crate) fn exists(&self) -> bool {
        self.main().is_some_and(Path::exists)
    }

    /// All processes of the container, also those in sub-cgroups.
    pub(crate) fn pids(&self) -> Result<Vec<Pid>> {
        let mut pids = Vec::new();
        if let Some(path) = self.main() {
            collect_pids(path, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Whether the processes are suspended by the freezer.
    pub(crate) fn is_frozen(&self) -> bool {
        if self.unified() {
            return fs::read_to_string(self.paths[""].join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1");
        }
        match self.paths.get("freezer") {
            Some(path) => fs::read_to_string(path.join("freezer.state")).is_ok_and(|text| text.trim() != "THAWED"),
            None => false,
        }
    }

    /// Suspends or resumes all processes.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        if self.unified() {
            v2::freeze(&self.paths[""], frozen)
        } else {
            match self.paths.get("freezer") {
                Some(path) => v1::freeze(path, frozen),
                None => bail!("cannot toggle freezer: cgroups not configured for container"),
            }
        }
    }

    /// The number of processes that were OOM-killed.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match self.paths.get("memory") {
            Some(path) => path.join("memory.oom_control"),
            None if self.unified() => self.paths[""].join("memory.events"),
            None => return 0,
        };
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// The statistics that `events` prints.
    pub(crate) fn stats(&self) -> serde_json::Value {
        if self.unified() { stats::version_2(&self.paths[""]) } else { stats::version_1(&self.paths) }
    }

    /// Kills all processes of the container.
    pub(crate) fn kill_all(&self) -> Result<()> {
        if let Some(path) = self.paths.get("") {
            match write(&path.join("cgroup.kill"), "1") {
                Ok(()) => {
                    // Processes that the freezer of cgroup v1 has frozen cannot die.
                    if self.paths.contains_key("freezer") && self.is_frozen() {
                        self.freeze(false)?;
                    }
                    return Ok(());
                }
                Err(error) if matches!(error::errno(&error), Some(libc::ENOENT)) => {}
                Err(error) => return Err(error),
            }
        }
        // Frozen processes cannot fork while the list is processed.
        if let Err(error) = self.freeze(true) {
            log::debug(|| format!("{error:#}"));
        }
        let pids = self.pids();
        for pid in pids.iter().flatten() {
            // The process may have ended already.
            let _ = syscall::kill(*pid, libc::SIGKILL);
        }
        if let Err(error) = self.freeze(false) {
            log::debug(|| format!("{error:#}"));
        }
        pids.map(drop)
    }

    /// Removes the folders, with the sub-cgroups that the container created. They stay busy for a moment after the last process.
    pub(crate) fn destroy(&self) -> Result<()> {
        if let Some(unit) = &self.unit {
            unit.stop()?;
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut pause = Duration::from_millis(1);
        loop {
            let mut busy = None;
            for path in self.paths.values() {
                if let Err(error) = remove(path) {
                    busy = Some((path, error));
                }
            }
            match busy {
                None => return Ok(()),
                Some((path, error)) if Instant::now() > deadline || error.raw_os_error() != Some(libc::EBUSY) => {
                    return Err(error)
                        .fails(|| format!("unable to remove container's cgroup: rmdir {}", path.display()))
                        .map_err(Into::into);
                }
                Some(_) => {
                    sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
            }
        }
    }
}

/// Refuses limits for a container of a user who may not make groups. Without limits it runs in the groups of its caller.
fn refuse_limits(resources: &LinuxResources) -> Result<()> {
    if let Some(key) = resources.unified().iter().flatten().map(|(key, _)| key).min() {
        bail!("cannot set {key}: container could not join or create cgroup");
    }
    let mut resources = resources.clone();
    if resources.pids().is_some_and(|pids| pids.limit() < 0) {
        resources.set_pids(None);
    }
    v1::set(&BTreeMap::new(), &resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_without_groups_are_refused() {
        let set = |resources: serde_json::Value| {
            let resources = serde_json::from_value(resources).unwrap();
            Cgroup::default().set(&resources, &[]).map_err(|error| error.to_string())
        };
        for nothing in [
            serde_json::json!({"devices": [{"allow": false, "access": "rwm"}], "memory": {}, "pids": {"limit": -1}}),
            serde_json::json!({"cpu": {"shares": 0}, "blockIO": {}, "hugepageLimits": [], "unified": {}}),
        ] {
            assert_eq!(set(nothing), Ok(()));
        }
        for (limit, named) in [
            (serde_json::json!({"memory": {"limit": 1_048_576}}), "memory limit"),
            (serde_json::json!({"cpu": {"quota": 5000, "period": 10000}}), "cpu limit"),
            (serde_json::json!({"pids": {"limit": 5}}), "pids limit"),
            (serde_json::json!({"unified": {"memory.high": "5"}}), "memory.high"),
        ] {
            assert_eq!(
                set(limit).unwrap_err(),
                format!("cannot set {named}: container could not join or create cgroup")
            );
        }
    }

    #[test]
    fn a_sub_cgroup_cannot_lead_outside() {
        let cgroup = Cgroup { paths: [("pids".into(), "/sys/fs/cgroup/pids/x".into())].into(), ..Cgroup::default() };
        let sub = [("pids".to_owned(), PathBuf::from("../y"))].into();
        assert_eq!(cgroup.join(1, &sub).unwrap_err().to_string(), "bad sub cgroup path: ../y");
    }
}
