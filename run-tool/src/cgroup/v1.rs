//! cgroup v1: one hierarchy for each controller.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::file::{ROOT, is_version_2, put_together, read, write};
use super::{membership, v2};
use crate::kernel::error::{self, Fails};
use crate::kernel::mountinfo::{self, Mounted};
use crate::spec::Items;

const CONTROLLERS: [&str; 15] = [
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
    "misc",
    "name=systemd",
];

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Its controllers, or `name=NAME`.
    pub(crate) controllers: Vec<String>,
    /// Its mount point.
    pub(crate) mountpoint: PathBuf,
    /// The group of the hierarchy that is mounted there; `/` unless this is a container.
    pub(crate) root: String,
}

/// Finds the hierarchies of a process among mounts. Those after the last of them are not looked at.
fn hierarchies_among(
    mounts: impl IntoIterator<Item = Result<Mounted>>,
    membership: &BTreeMap<String, String>,
) -> Result<Vec<Hierarchy>> {
    let mut missing: BTreeSet<&str> = membership.keys().map(String::as_str).filter(|key| !key.is_empty()).collect();
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    let mut mounts = mounts.into_iter();
    while !missing.is_empty()
        && let Some(mount) = mounts.next().transpose()?
    {
        if mount.kind != "cgroup" {
            continue;
        }
        let controllers: Vec<String> = mount
            .options
            .split(',')
            .filter(|option| CONTROLLERS.contains(option) || option.starts_with("name="))
            .map(str::to_owned)
            .collect();
        // The first mount of a hierarchy counts.
        if controllers.is_empty() || hierarchies.iter().any(|known| known.controllers == controllers) {
            continue;
        }
        for controller in &controllers {
            missing.remove(controller.as_str());
        }
        let root = mount.root.display().to_string();
        hierarchies.push(Hierarchy { controllers, mountpoint: mount.place, root });
    }
    Ok(hierarchies)
}

/// The hierarchies that are mounted in this process's mount namespace, of those in which it is a member of a group.
pub(crate) fn hierarchies(membership: &BTreeMap<String, String>) -> Result<Vec<Hierarchy>> {
    hierarchies_among(mountinfo::mounts()?, membership)
}

/// A container's folders by controller, and the hierarchies in which they are.
pub(super) fn plan(inner: &Path, absolute: bool) -> Result<(BTreeMap<String, PathBuf>, Vec<Hierarchy>)> {
    let membership = membership::own()?;
    let hierarchies = hierarchies(&membership)?;
    let mut paths = BTreeMap::new();
    let below = |mountpoint: &Path, root: &str, own: Option<&String>| {
        let mut path = mountpoint.to_owned();
        if !absolute && let Some(own) = own {
            // In a container the mount may show only the own group, so its path must be stripped.
            let own = own.strip_prefix(root.trim_end_matches('/')).unwrap_or(own);
            path.push(own.trim_start_matches('/'));
        }
        path.push(inner);
        path
    };
    for hierarchy in &hierarchies {
        for controller in &hierarchy.controllers {
            if CONTROLLERS.contains(&controller.as_str()) {
                let path = below(&hierarchy.mountpoint, &hierarchy.root, membership.get(controller));
                paths.insert(controller.clone(), path);
            }
        }
    }
    if !paths.contains_key("devices") {
        bail!("cgroup: subsystem does not exist: devices");
    }
    let unified = Path::new(ROOT).join("unified");
    if is_version_2(&unified) {
        paths.insert(String::new(), below(&unified, "/", membership.get("")));
    }
    Ok((paths, hierarchies))
}

/// Creates a group. A cpuset accepts no process as long as its CPUs and memory nodes are empty, so it gets those of its parent.
pub(super) fn create(controller: &str, path: &Path) -> Result<()> {
    if controller == "cpuset" {
        return create_cpuset(path);
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::create_dir_all(path).fails(|| format!("mkdir {}", path.display()))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        result => result.fails(|| format!("mkdir {}", path.display()))?,
    }
    Ok(())
}

fn create_cpuset(path: &Path) -> Result<()> {
    let parent = path.parent().context("cpuset has no parent")?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            create_cpuset(parent)?;
            fs::create_dir(path).fails(|| format!("mkdir {}", path.display()))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        result => result.fails(|| format!("mkdir {}", path.display()))?,
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if read(&path.join(file))?.is_empty() {
            let mut inherited = read(&parent.join(file))?;
            if inherited.is_empty() {
                create_cpuset(parent)?;
                inherited = read(&parent.join(file))?;
            }
            write(&path.join(file), &inherited)?;
        }
    }
    Ok(())
}

/// Sets limits.
pub(super) fn set(paths: &BTreeMap<String, PathBuf>, resources: &LinuxResources) -> Result<()> {
    let file = |name: &str| -> Result<PathBuf> {
        let controller = name.split('.').next().unwrap_or(name);
        match paths.get(controller) {
            Some(path) => Ok(path.join(name)),
            None => bail!("cannot set {controller} limit: container could not join or create cgroup"),
        }
    };
    let put = |name: &str, value: String| write(&file(name)?, &value);
    if let Some(memory) = resources.memory() {
        set_memory(&file, memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        set_cpu(&file, cpu)?;
    }
    if let Some(pids) = resources.pids() {
        let limit = match pids.limit() {
            // With a limit of zero not even the init process could start.
            0 => "1".to_owned(),
            limit if limit < 0 => "max".to_owned(),
            limit => limit.to_string(),
        };
        put("pids.max", limit)?;
    }
    set_block_io(paths, &put, resources)?;
    for limit in resources.hugepage_limits().items() {
        put(&format!("hugetlb.{}.limit_in_bytes", limit.page_size()), limit.limit().to_string())?;
    }
    if let Some(network) = resources.network() {
        if let Some(class) = network.class_id().filter(|class| *class != 0) {
            put("net_cls.classid", class.to_string())?;
        }
        for priority in network.priorities().items() {
            put("net_prio.ifpriomap", format!("{} {}", priority.name(), priority.priority()))?;
        }
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        put("rdma.max", v2::rdma(device, limit))?;
    }
    Ok(())
}

fn set_block_io(
    paths: &BTreeMap<String, PathBuf>,
    put: &dyn Fn(&str, String) -> Result<()>,
    resources: &LinuxResources,
) -> Result<()> {
    let Some(block) = resources.block_io() else { return Ok(()) };
    let bfq = paths.get("blkio").is_some_and(|path| path.join("blkio.bfq.weight").exists());
    let prefix = if bfq { "blkio.bfq" } else { "blkio" };
    if let Some(weight) = block.weight().filter(|weight| *weight != 0) {
        put(&format!("{prefix}.weight"), weight.to_string())?;
    }
    if let Some(weight) = block.leaf_weight().filter(|weight| *weight != 0) {
        put("blkio.leaf_weight", weight.to_string())?;
    }
    for device in block.weight_device().items() {
        let number = format!("{}:{}", device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            put(&format!("{prefix}.weight_device"), format!("{number} {weight}"))?;
        }
        if let Some(weight) = device.leaf_weight().filter(|weight| *weight != 0) {
            put("blkio.leaf_weight_device", format!("{number} {weight}"))?;
        }
    }
    let throttle = |name: &str, devices: &[LinuxThrottleDevice]| -> Result<()> {
        for device in devices {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            put(&format!("blkio.throttle.{name}_device"), value)?;
        }
        Ok(())
    };
    throttle("read_bps", block.throttle_read_bps_device().items())?;
    throttle("write_bps", block.throttle_write_bps_device().items())?;
    throttle("read_iops", block.throttle_read_iops_device().items())?;
    throttle("write_iops", block.throttle_write_iops_device().items())
}

fn set_cpu(file: &dyn Fn(&str) -> Result<PathBuf>, cpu: &LinuxCpu) -> Result<()> {
    let put = |name: &str, value: String| write(&file(name)?, &value);
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        put("cpu.shares", shares.to_string())?;
        // The kernel clamps the value silently.
        let got: u64 = read(&file("cpu.shares")?)?.parse().unwrap_or(shares);
        if shares > got {
            bail!("the maximum allowed cpu-shares is {got}");
        }
        if shares < got {
            bail!("the minimum allowed cpu-shares is {got}");
        }
    }
    // The kernel may not support bursts.
    let burst = cpu.burst().filter(|_| file("cpu.cfs_burst_us").is_ok_and(|path| path.exists()));
    let number = |value: Option<u64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    let signed = |value: Option<i64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    put_together(
        &put,
        &[("cpu.cfs_period_us", number(cpu.period())), ("cpu.cfs_burst_us", burst.map(|burst| burst.to_string()))],
        ("cpu.cfs_quota_us", signed(cpu.quota())),
    )?;
    put_together(
        &put,
        &[("cpu.rt_period_us", number(cpu.realtime_period()))],
        ("cpu.rt_runtime_us", signed(cpu.realtime_runtime())),
    )?;
    if let Some(idle) = cpu.idle() {
        put("cpu.idle", idle.to_string())?;
    }
    for (name, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            put(name, value.clone())?;
        }
    }
    Ok(())
}

fn set_memory(file: &dyn Fn(&str) -> Result<PathBuf>, memory: &LinuxMemory) -> Result<()> {
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    const LIMIT: &str = "memory.limit_in_bytes";
    let nonzero = |value: Option<i64>| value.filter(|value| *value != 0);
    let limit = nonzero(memory.limit());
    let mut swap = nonzero(memory.swap());
    let counts_swap = file(SWAP).is_ok_and(|path| path.exists());
    // The kernel refuses unlimited memory with a limit for memory and swap together.
    if limit == Some(-1) && swap.is_none() && counts_swap {
        swap = Some(-1);
    }
    let set_limit = |limit: i64| -> Result<()> {
        match write(&file(LIMIT)?, &limit.to_string()) {
            Err(error) if error::errno(&error) == Some(libc::EBUSY) => {
                let value = |name: &str| file(name).and_then(|path| read(&path)).unwrap_or_default();
                let (usage, peak) = (value("memory.usage_in_bytes"), value("memory.max_usage_in_bytes"));
                bail!("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")
            }
            result => result,
        }
    };
    let set_swap = |swap: i64| write(&file(SWAP)?, &swap.to_string());
    match (limit, swap) {
        (Some(limit), Some(swap)) => {
            // The limit for memory and swap must never be below that for memory, so the one that grows is set first.
            let current: i128 = read(&file(SWAP)?)?.parse().unwrap_or(0);
            if swap == -1 || current < i128::from(swap) {
                set_swap(swap)?;
                set_limit(limit)?;
            } else {
                set_limit(limit)?;
                set_swap(swap)?;
            }
        }
        (Some(limit), None) => set_limit(limit)?,
        (None, Some(swap)) => set_swap(swap)?,
        (None, None) => {}
    }
    if let Some(reservation) = nonzero(memory.reservation()) {
        write(&file("memory.soft_limit_in_bytes")?, &reservation.to_string())?;
    }
    if memory.disable_oom_killer() == Some(true) {
        write(&file("memory.oom_control")?, "1")?;
    }
    match memory.swappiness() {
        Some(swappiness @ 0..=100) => write(&file("memory.swappiness")?, &swappiness.to_string())?,
        Some(swappiness) => bail!("invalid memory swappiness value: {swappiness} (valid range is 0-100)"),
        None => {}
    }
    Ok(())
}

/// Freezes or thaws a group. If it gains a task meanwhile it stays `FREEZING` until the state is written again.
pub(super) fn freeze(path: &Path, frozen: bool) -> Result<()> {
    let file = path.join("freezer.state");
    if !frozen {
        return write(&file, "THAWED");
    }
    for round in 0..1000 {
        if round % 50 == 49 {
            // A task that is to freeze may be waiting for one that is frozen already.
            write(&file, "THAWED")?;
            sleep(Duration::from_millis(10));
        }
        write(&file, "FROZEN")?;
        if round % 25 == 24 {
            sleep(Duration::from_millis(10));
        }
        match read(&file)?.as_str() {
            "FROZEN" => return Ok(()),
            "FREEZING" => {}
            other => bail!("unexpected state {other} while freezing"),
        }
        if round > 10 {
            sleep(Duration::from_millis(1));
        }
    }
    write(&file, "THAWED")?;
    bail!("unable to freeze")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read_from_mountinfo() {
        let text = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:4 - cgroup cgroup rw,cpu,cpuacct\n\
            40 31 0:37 /a /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            42 31 0:29 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct\n";
        let membership = membership::parse("2:cpu,cpuacct:/\n1:name=systemd:/a\n0::/\n");
        let mounts = mountinfo::parse_table(text.as_bytes());
        let never = std::iter::from_fn(|| panic!("all were found"));
        let found = hierarchies_among(mounts.iter().take(2).cloned().map(Ok).chain(never), &membership).unwrap();
        assert_eq!(hierarchies_among(mounts.into_iter().map(Ok), &membership).unwrap(), found);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!((found[1].root.as_str(), found[1].controllers[0].as_str()), ("/a", "name=systemd"));
    }
}
