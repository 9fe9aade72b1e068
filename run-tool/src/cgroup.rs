//! Control groups, through their file systems or through systemd: version 1, version 2, and both mounted side by side.
//!
//! libcontainer's managers read mountinfo anew for every controller, which is most of the time it needs; here the hierarchies
//! are found once. `v1` and `v2` hold what differs, `device` the rules of the device controller, `rdt` the shares of cache and
//! memory bandwidth, which have a file system of their own. This room imports `spec` and `kernel`.

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

/// The control groups of a container: a folder for each hierarchy, keyed as runc keys them (`memory`, `name=systemd`, and the
/// empty name for version 2).
#[derive(Clone, Debug, Default)]
pub(crate) struct Cgroup {
    /// Folder of each controller.
    pub(crate) paths: BTreeMap<String, PathBuf>,
    /// Whether missing permissions are no error.
    pub(crate) rootless: bool,
    /// Whether the configuration names the path.
    pub(crate) explicit: bool,
    /// The unit, where systemd manages the groups.
    pub(crate) unit: Option<systemd::Unit>,
}

impl Cgroup {
    /// Where the groups of a container go: at `path` below the root, relative to the caller's groups if it is not absolute,
    /// and at the container's name there if it is missing.
    pub(crate) fn plan(path: Option<&Path>, id: &str, rootless: bool) -> Result<Self> {
        let path = path.filter(|path| !path.as_os_str().is_empty());
        let explicit = path.is_some();
        let (absolute, inner) = match path {
            Some(path) => (path.is_absolute(), crate::kernel::beneath::clean(path)),
            None => (false, PathBuf::from("/").join(id)),
        };
        let inner = inner.strip_prefix("/").expect("cleaned paths are absolute").to_owned();
        let paths = if is_unified() { v2::plan(&inner, absolute || !rootless)? } else { v1::plan(&inner, absolute)? };
        Ok(Self { paths, rootless, explicit, unit: None })
    }

    /// The groups of a unit of systemd's.
    pub(crate) fn of_unit(unit: systemd::Unit, rootless: bool) -> Result<Self> {
        Ok(Self { paths: unit.paths()?, rootless, explicit: true, unit: Some(unit) })
    }

    /// Whether the groups are version 2 alone.
    pub(crate) fn unified(&self) -> bool {
        self.paths.len() == 1 && self.paths.contains_key("")
    }

    /// Refuses groups with processes and frozen ones: their limits and their fate are someone else's.
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

    /// Makes the folders. A unit is made with its first process, by `place`.
    pub(crate) fn create(&mut self) -> Result<()> {
        if self.unit.is_some() {
            return Ok(());
        }
        self.create_folders()
    }

    /// The way in for a process that is about to be cloned.
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
            // `place` and `join` say what is wrong.
            _ => Entrance::default(),
        }
    }

    /// Moves the first process in.
    pub(crate) fn place(&mut self, pid: Pid) -> Result<()> {
        let Some(unit) = &self.unit else { return self.join(pid, &BTreeMap::new()) };
        unit.start(pid, self.unified())?;
        // systemd makes the folders of the controllers that it knows.
        self.create_folders()?;
        for (controller, path) in &self.paths {
            if !controller.is_empty() && controller != "name=systemd" {
                write_process(path, pid)?;
            }
        }
        Ok(())
    }

    /// Gives a unit's version 2 group to a user: the folder, and the files that the kernel lists as safe to delegate.
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

    /// A user without rights over the groups runs the container without them, unless the configuration names a path.
    fn forgives(&self, error: &anyhow::Error) -> bool {
        self.rootless && !self.explicit && matches!(error::errno(error), Some(libc::EPERM | libc::EACCES | libc::EROFS))
    }

    /// Moves a process into the groups, or into sub-groups of theirs (`exec --cgroup`).
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

    /// Refuses the values of version 2's own files where there are none.
    pub(crate) fn refuse_unified(&self, resources: Option<&LinuxResources>) -> Result<()> {
        let unified = resources.and_then(|resources| resources.unified().as_ref());
        if !self.paths.is_empty() && !self.unified() && unified.is_some_and(|unified| !unified.is_empty()) {
            bail!("invalid configuration: cannot use unified on cgroup v1");
        }
        Ok(())
    }

    /// Sets limits. `rules` are the device rules; nothing is done to devices without any.
    pub(crate) fn set(&self, resources: &LinuxResources, rules: &[device::Rule]) -> Result<()> {
        if self.paths.is_empty() {
            return Ok(());
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
            // Nobody but root sets device rules; the kernel's own permission checks are what remains.
            Err(error) if self.rootless => {
                log::debug(|| format!("device rules: {error:#}"));
                Ok(())
            }
            result => result,
        }
    }

    /// Tells systemd of limits. On version 1 it forbids all devices for a moment, so the container must not be at one then.
    fn tell(&self, unit: &systemd::Unit, resources: &LinuxResources, rules: &[device::Rule]) -> Result<LinuxResources> {
        if self.unified() {
            // systemd would not ask.
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

    /// The folder whose processes are the container's.
    fn main(&self) -> Option<&Path> {
        ["devices", "", "freezer", "pids", "memory"].iter().find_map(|name| self.paths.get(*name)).map(PathBuf::as_path)
    }

    /// Whether the folder still exists.
    pub(crate) fn exists(&self) -> bool {
        self.main().is_some_and(Path::exists)
    }

    /// All processes of the container, those in sub-groups too.
    pub(crate) fn pids(&self) -> Result<Vec<Pid>> {
        let mut pids = Vec::new();
        if let Some(path) = self.main() {
            collect_pids(path, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Whether the processes are stopped by the freezer.
    pub(crate) fn is_frozen(&self) -> bool {
        if self.unified() {
            return fs::read_to_string(self.paths[""].join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1");
        }
        match self.paths.get("freezer") {
            Some(path) => fs::read_to_string(path.join("freezer.state")).is_ok_and(|text| text.trim() != "THAWED"),
            None => false,
        }
    }

    /// Stops all processes, or lets them go on.
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

    /// How many processes the kernel has killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match self.paths.get("memory") {
            Some(path) => path.join("memory.oom_control"),
            None if self.unified() => self.paths[""].join("memory.events"),
            None => return 0,
        };
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// What the container uses.
    pub(crate) fn stats(&self) -> serde_json::Value {
        if self.unified() { stats::version_2(&self.paths[""]) } else { stats::version_1(&self.paths) }
    }

    /// Kills every process of the container.
    pub(crate) fn kill_all(&self) -> Result<()> {
        if let Some(path) = self.paths.get("") {
            match write(&path.join("cgroup.kill"), "1") {
                Ok(()) => {
                    // A frozen version 1 freezer holds its processes back from dying.
                    if self.paths.contains_key("freezer") && self.is_frozen() {
                        self.freeze(false)?;
                    }
                    return Ok(());
                }
                Err(error) if matches!(error::errno(&error), Some(libc::ENOENT)) => {}
                Err(error) => return Err(error),
            }
        }
        // Frozen processes cannot fork while the list is gone through.
        if let Err(error) = self.freeze(true) {
            log::debug(|| format!("{error:#}"));
        }
        let pids = self.pids();
        for pid in pids.iter().flatten() {
            // Gone meanwhile: that is the aim.
            let _ = syscall::kill(*pid, libc::SIGKILL);
        }
        if let Err(error) = self.freeze(false) {
            log::debug(|| format!("{error:#}"));
        }
        pids.map(drop)
    }

    /// Removes the folders, with the sub-groups that the container made. They stay busy for a moment after the last process.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_group_cannot_lead_out() {
        let cgroup = Cgroup { paths: [("pids".into(), "/sys/fs/cgroup/pids/x".into())].into(), ..Cgroup::default() };
        let sub = [("pids".to_owned(), PathBuf::from("../y"))].into();
        assert_eq!(cgroup.join(1, &sub).unwrap_err().to_string(), "bad sub cgroup path: ../y");
    }
}
