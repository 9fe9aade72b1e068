//! cgroup v2: one hierarchy for all controllers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};
use libcontainer::oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxRdma, LinuxResources, LinuxThrottleDevice};

use super::file::{ROOT, put_together, read, write};
use super::membership;
use crate::kernel::error::Fails;
use crate::spec::Items;

/// The parent of the groups without a given path. systemd, which owns the root's list of controllers, takes those away that its own units
/// no longer need, with the limits of all containers directly below the root. The kernel keeps those that a child passes on.
const PARENT: &str = "run-tool";

/// A container's folder: below the root of the hierarchy if its path is absolute, below `PARENT`, or below the group of a caller without
/// root.
pub(super) fn plan(inner: &Path, absolute: bool, rootless: bool) -> Result<BTreeMap<String, PathBuf>> {
    let mut path = PathBuf::from(ROOT);
    match membership::own()?.get("").filter(|_| rootless) {
        _ if absolute => {}
        Some(own) => path.push(own.trim_start_matches('/')),
        None => path.push(PARENT),
    }
    path.push(inner);
    Ok([(String::new(), path)].into())
}

/// Creates a group, and enables all controllers in its parents.
pub(super) fn create(path: &Path) -> Result<()> {
    let inner = path.strip_prefix(ROOT).unwrap_or(path);
    let available = read(&Path::new(ROOT).join("cgroup.controllers"))?;
    let mut current = PathBuf::from(ROOT);
    let last = inner.components().count();
    for (depth, component) in inner.components().enumerate() {
        enable(&current, &available);
        current.push(component);
        match fs::create_dir(&current) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => result.fails(|| format!("mkdir {}", current.display()))?,
        }
        // Below a threaded group a domain is not valid. The leaf must be threaded too.
        if depth + 1 == last
            && fs::read_to_string(current.join("cgroup.type")).is_ok_and(|kind| kind.trim() == "domain invalid")
        {
            write(&current.join("cgroup.type"), "threaded")?;
        }
    }
    Ok(())
}

/// Enables controllers for the children. If one cannot be enabled, a limit for it will fail later with its name.
fn enable(path: &Path, available: &str) {
    let file = path.join("cgroup.subtree_control");
    let enabled = read(&file).unwrap_or_default();
    let missing: Vec<_> =
        available.split(' ').filter(|name| !enabled.split(' ').any(|enabled| enabled == *name)).collect();
    if missing.is_empty() {
        return;
    }
    let all: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
    if write(&file, &all.join(" ")).is_err() {
        for one in all {
            // A controller that is missing shows later (see above).
            let _ = write(&file, &one);
        }
    }
}

/// Converts CPU shares to a weight as runc does: 1024 shares are the kernel's default weight of 100.
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    if shares == 0 {
        return 0;
    }
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil() as u64
}

/// The limit for swap alone, from the spec's limit for memory and swap together.
pub(super) fn swap_alone(swap: i64, memory: i64) -> Result<Option<String>> {
    // -1 and below: unlimited. 0: not set. Equal limits: no swap at all.
    if memory == -1 && swap == 0 {
        return Ok(Some("max".to_owned()));
    }
    if swap == 0 {
        return Ok(None);
    }
    if swap < 0 {
        return Ok(Some("max".to_owned()));
    }
    if memory <= 0 {
        bail!("unable to set swap limit without memory limit");
    }
    if swap < memory {
        bail!("memory+swap limit should be >= memory limit");
    }
    Ok(Some((swap - memory).to_string()))
}

fn limit(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// A line for `rdma.max`.
pub(super) fn rdma(device: &str, limit: &LinuxRdma) -> String {
    let value = |count: Option<u32>| count.map_or_else(|| "max".to_owned(), |count| count.to_string());
    format!("{device} hca_handle={} hca_object={}", value(limit.hca_handles()), value(limit.hca_objects()))
}

/// With `checkBeforeUpdate`, refuses a memory limit below the current usage, which would make the kernel kill processes.
pub(super) fn check_usage(path: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(memory) = resources.memory().as_ref().filter(|memory| memory.check_before_update() == Some(true)) else {
        return Ok(());
    };
    // If the usage is not known, there is nothing to compare.
    let Some(usage) = read(&path.join("memory.current")).ok().and_then(|usage| usage.parse::<i64>().ok()) else {
        return Ok(());
    };
    for (kind, maximum) in [("memory+swap", memory.swap()), ("memory", memory.limit())] {
        if let Some(maximum) = maximum.filter(|maximum| *maximum > 0 && *maximum <= usage) {
            bail!("rejecting {kind} limit {maximum} <= usage {usage}");
        }
    }
    Ok(())
}

/// Sets limits.
pub(super) fn set(path: &Path, resources: &LinuxResources) -> Result<()> {
    check_usage(path, resources)?;
    let put = |name: &str, value: &str| write(&path.join(name), value);
    if let Some(memory) = resources.memory() {
        set_memory(path, memory)?;
    }
    if let Some(pids) = resources.pids() {
        put("pids.max", &if pids.limit() == 0 { "1".to_owned() } else { limit(pids.limit()) })?;
    }
    if let Some(cpu) = resources.cpu() {
        set_cpu(path, cpu)?;
    }
    set_block_io(path, resources)?;
    for page in resources.hugepage_limits().items() {
        let value = limit(page.limit());
        put(&format!("hugetlb.{}.max", page.page_size()), &value)?;
        let reserved = format!("hugetlb.{}.rsvd.max", page.page_size());
        if path.join(&reserved).exists() {
            put(&reserved, &value)?;
        }
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        put("rdma.max", &rdma(device, limit))?;
    }
    set_unified(path, resources)
}

fn set_memory(path: &Path, memory: &LinuxMemory) -> Result<()> {
    let put = |name: &str, value: &str| write(&path.join(name), value);
    let maximum = memory.limit().unwrap_or(0);
    if let Some(swap) = swap_alone(memory.swap().unwrap_or(0), maximum)? {
        // Without swap accounting, "max" and zero need not be set.
        let file = path.join("memory.swap.max");
        if file.exists() || !matches!(swap.as_str(), "max" | "0") {
            write(&file, &swap)?;
        }
    }
    if maximum != 0 {
        put("memory.max", &limit(maximum))?;
    }
    if let Some(reservation) = memory.reservation().filter(|reservation| *reservation != 0) {
        put("memory.low", &limit(reservation))?;
    }
    Ok(())
}

fn set_cpu(path: &Path, cpu: &LinuxCpu) -> Result<()> {
    let put = |name: &str, value: &str| write(&path.join(name), value);
    if let Some(idle) = cpu.idle() {
        put("cpu.idle", &idle.to_string())?;
    }
    // The weight of an idle group is fixed.
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0 && cpu.idle() != Some(1)) {
        put("cpu.weight", &weight_of_shares(shares).to_string())?;
    }
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    let bandwidth = (quota != 0 || period != 0).then(|| {
        let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        format!("{quota} {}", if period == 0 { 100_000 } else { period })
    });
    let burst = cpu.burst().map(|burst| burst.to_string());
    put_together(&|name, value| put(name, &value), &[("cpu.max.burst", burst)], ("cpu.max", bandwidth))?;
    for (name, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            put(name, value)?;
        }
    }
    Ok(())
}

fn set_unified(path: &Path, resources: &LinuxResources) -> Result<()> {
    for (name, value) in resources.unified().iter().flatten() {
        check_key(name)?;
        for line in value.lines() {
            if let Err(error) = write(&path.join(name), line) {
                let controller = name.split('.').next().unwrap_or(name);
                let controllers = read(&path.join("cgroup.controllers")).unwrap_or_default();
                if controller != "cgroup" && !controllers.split(' ').any(|known| known == controller) {
                    bail!("unified resource {name:?} can't be set: controller {controller:?} not available");
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

fn set_block_io(path: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(block) = resources.block_io() else { return Ok(()) };
    let put = |name: &str, value: &str| write(&path.join(name), value);
    let bfq = path.join("io.bfq.weight").exists();
    if let Some(weight) = block.weight().filter(|weight| *weight != 0) {
        if bfq {
            put("io.bfq.weight", &weight.to_string())?;
        } else {
            if !(10..=1000).contains(&weight) {
                bail!("blockIO weight {weight} is not between 10 and 1000");
            }
            // io.weight ranges to 10000, blkio.weight to 1000.
            let weight = 1 + u64::from(weight - 10) * 9999 / 990;
            put("io.weight", &weight.to_string())?;
        }
    }
    for device in block.weight_device().items() {
        if let Some(weight) = device.weight().filter(|_| bfq) {
            put("io.bfq.weight", &format!("{}:{} {weight}", device.major(), device.minor()))?;
        }
    }
    let throttle = |name: &str, devices: &[LinuxThrottleDevice]| -> Result<()> {
        for device in devices {
            put("io.max", &format!("{}:{} {name}={}", device.major(), device.minor(), device.rate()))?;
        }
        Ok(())
    };
    throttle("rbps", block.throttle_read_bps_device().items())?;
    throttle("wbps", block.throttle_write_bps_device().items())?;
    throttle("riops", block.throttle_read_iops_device().items())?;
    throttle("wiops", block.throttle_write_iops_device().items())
}

/// Freezes or thaws a group, and waits until the kernel reports that it is done.
pub(super) fn freeze(path: &Path, frozen: bool) -> Result<()> {
    let wanted = if frozen { "1" } else { "0" };
    write(&path.join("cgroup.freeze"), wanted)?;
    for _ in 0..1000 {
        let events = read(&path.join("cgroup.events"))?;
        if events.lines().any(|line| line.strip_prefix("frozen ") == Some(wanted)) {
            return Ok(());
        }
        sleep(Duration::from_millis(2));
    }
    bail!("timeout of 2 s waiting for the cgroup to {}", if frozen { "freeze" } else { "thaw" })
}

/// Refuses keys of `unified` that cannot be control files of a controller.
pub(super) fn check_key(key: &str) -> Result<()> {
    if key.contains('/') {
        bail!("unified resource {key:?} must be a file name (no slashes)");
    }
    if key.find('.').is_none_or(|dot| dot == 0) {
        bail!("unified resource {key:?} must be in the form CONTROLLER.PARAMETER");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_as_in_runc() {
        for (shares, weight) in [(0, 0), (2, 1), (1024, 100), (262_144, 10_000), (262_145, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn the_limit_for_swap_excludes_memory() {
        for (swap, memory, alone) in
            [(0, 0, None), (-1, 100, Some("max")), (150, 100, Some("50")), (0, -1, Some("max"))]
        {
            assert_eq!(swap_alone(swap, memory).unwrap().as_deref(), alone, "{swap} {memory}");
        }
        assert!(swap_alone(50, 100).is_err());
    }

    #[test]
    fn limits_below_the_usage_are_refused_with_check_before_update() {
        let folder = tempfile::tempdir().unwrap();
        let check = |memory: serde_json::Value| {
            let resources = serde_json::from_value(serde_json::json!({"memory": memory})).unwrap();
            check_usage(folder.path(), &resources).map_err(|error| error.to_string())
        };
        let wanted =
            |limit: i64, swap: i64| serde_json::json!({"limit": limit, "swap": swap, "checkBeforeUpdate": true});
        // The usage is not known yet.
        assert_eq!(check(wanted(1024, 2048)), Ok(()));
        std::fs::write(folder.path().join("memory.current"), "4096\n").unwrap();
        assert_eq!(check(wanted(1024, 2048)).unwrap_err(), "rejecting memory+swap limit 2048 <= usage 4096");
        assert_eq!(check(wanted(1024, 0)).unwrap_err(), "rejecting memory limit 1024 <= usage 4096");
        assert_eq!(check(wanted(4096, -1)).unwrap_err(), "rejecting memory limit 4096 <= usage 4096");
        assert_eq!(check(wanted(-1, -1)), Ok(()));
        assert_eq!(check(wanted(4097, 8192)), Ok(()));
        assert_eq!(check(serde_json::json!({"limit": 1024, "swap": 2048})), Ok(()));
    }
}
