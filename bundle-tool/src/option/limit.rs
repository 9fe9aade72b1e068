//! Limits of memory, CPUs, processes and block devices, as docker's options set them.
//!
//! A limit that this host's control groups lack is refused by name: a container without the limit that its owner asked for is worse
//! than none. What is a preference rather than a limit, or is in another limit, is discarded with docker's warning (`Limits::discard`).

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::LazyLock;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPidsBuilder, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder, PosixRlimit,
};

use crate::option::Refused;
use crate::option::quantity::{CpuSet, Processors, Size};
use crate::option::ulimit::{self, Ulimit};

/// The values of docker's resource options.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each field is named for its option, which docker's manual explains")]
pub struct Limits {
    pub memory: Option<Size>,
    pub memory_reservation: Option<Size>,
    pub memory_swap: Option<Size>,
    pub memory_swappiness: Option<i64>,
    pub kernel_memory: Option<Size>,
    pub oom_kill_disable: bool,
    pub oom_score_adj: Option<i32>,
    pub cpus: Option<Processors>,
    pub cpu_period: Option<u64>,
    pub cpu_quota: Option<i64>,
    pub cpu_rt_period: Option<u64>,
    pub cpu_rt_runtime: Option<i64>,
    pub cpu_shares: Option<u64>,
    pub cpuset_cpus: Option<CpuSet>,
    pub cpuset_mems: Option<CpuSet>,
    pub pids: Option<i64>,
    pub blkio_weight: Option<u16>,
    pub blkio_weight_device: Vec<DeviceCount>,
    pub device_read_bps: Vec<DeviceRate>,
    pub device_write_bps: Vec<DeviceRate>,
    pub device_read_iops: Vec<DeviceCount>,
    pub device_write_iops: Vec<DeviceCount>,
    pub ulimits: Vec<Ulimit>,
}

/// A limit for a block device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DeviceLimit {
    path: PathBuf,
    value: u64,
}

impl DeviceLimit {
    fn parse(text: &str, value: impl Fn(&str) -> Result<u64, String>) -> Result<Self, String> {
        let (path, limit) =
            text.rsplit_once(':').ok_or_else(|| format!("{text:?} is not valid (expected DEVICE:VALUE)"))?;
        if !path.starts_with("/dev/") {
            return Err(format!("{path:?} is not a path in /dev"));
        }
        Ok(Self { path: path.into(), value: value(limit)? })
    }
}

/// A limit in bytes for a block device: PATH:BYTES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRate(DeviceLimit);

impl FromStr for DeviceRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = |value: &str| {
            let size: Size = value.parse().map_err(|error| format!("{error}"))?;
            u64::try_from(size.bytes()).map_err(|_| format!("{value:?} is negative"))
        };
        DeviceLimit::parse(text, bytes).map(Self)
    }
}

/// A number, of operations or as a weight, for a block device: PATH:NUMBER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCount(DeviceLimit);

impl FromStr for DeviceCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |value: &str| value.parse().map_err(|_| format!("{value:?} is not a positive whole number"));
        DeviceLimit::parse(text, number).map(Self)
    }
}

/// The abilities of this host's control groups.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Whether /sys/fs/cgroup is version 2.
    pub unified: bool,
    /// Whether swap is accounted.
    pub swap: bool,
    /// Whether real-time CPU time is allotted to groups.
    pub realtime: bool,
    /// Whether groups have weights for block devices.
    pub weights: bool,
    /// The number of CPUs that are online.
    pub processors: usize,
    /// Whether this user may create control groups, which takes root with version 1.
    pub allowed: bool,
}

impl Host {
    /// Reads them from /sys/fs/cgroup, once.
    pub fn detect() -> Self {
        static HOST: LazyLock<Host> = LazyLock::new(Host::read);
        *HOST
    }

    fn read() -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let unified = root.join("cgroup.controllers").exists();
        Self {
            unified,
            swap: unified || root.join("memory/memory.memsw.limit_in_bytes").exists(),
            realtime: root.join("cpu/cpu.rt_runtime_us").exists(),
            // The root group has no weight of bfq's, but its statistics.
            weights: unified
                || ["blkio.weight", "blkio.bfq.io_serviced"].iter().any(|file| root.join("blkio").join(file).exists()),
            allowed: unified || rustix::process::geteuid().is_root(),
            // Those that may be used at all; a quota of the caller's own group is no limit of the machine.
            processors: rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize),
        }
    }
}

/// The least memory that a container starts with (docker's minimum).
const MEMORY_MINIMUM: i64 = 6 << 20;

impl Limits {
    /// Takes away what docker discards with a warning on a host without it, and returns these warnings: preferences between containers, and limits
    /// that are in the limit of memory.
    pub fn discard(&mut self, host: &Host) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        let limited = self.memory.is_some_and(|size| size.bytes() != 0);
        // Without a limit of its own, swap is as docker's default has it: as much as memory.
        if limited && !host.swap && self.memory_swap.is_none_or(|size| size.bytes() != -1) {
            warnings.push(
                "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
            );
            self.memory_swap = None;
        }
        if host.unified && self.memory_swappiness.take().is_some_and(|value| value != -1) {
            warnings.push(
                "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
            );
        }
        // Since Linux 5.16 the limit of memory alone holds, which includes the kernel's.
        if self.kernel_memory.take().is_some_and(|size| size.bytes() != 0) {
            warnings.extend([
                "Specifying a kernel memory limit is deprecated and will be removed in a future release.",
                "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
            ]);
        }
        if host.unified && std::mem::take(&mut self.oom_kill_disable) {
            warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
        }
        if self.oom_kill_disable && !limited {
            warnings.push(
                "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
            );
        }
        if !host.weights && self.blkio_weight.take().is_some_and(|weight| weight != 0) {
            warnings
                .push("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.");
        }
        if !host.weights && !std::mem::take(&mut self.blkio_weight_device).is_empty() {
            warnings.push(
                "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
            );
        }
        warnings
    }

    /// The rlimits as config.json holds them: one of a kind (runtime-spec config.md, "rlimits"), the last that was asked for.
    pub fn rlimits(&self) -> Result<Vec<PosixRlimit>, Refused> {
        ulimit::rlimits(&self.ulimits)
    }

    /// The limits as config.json holds them, without devices.
    pub fn resources(&self, host: &Host) -> Result<LinuxResources, Refused> {
        let mut resources = LinuxResources::default();
        resources.set_devices(None);
        resources.set_memory(self.memory(host)?);
        resources.set_cpu(self.cpu(host)?);
        resources.set_block_io(self.block_io(host)?);
        if let Some(limit) = self.pids {
            let pids = LinuxPidsBuilder::default();
            // For docker 0 means unlimited; for a runtime it would mean no processes.
            let pids = pids.limit(if limit <= 0 { -1 } else { limit }).build();
            resources.set_pids(Some(pids.expect("the limit is set")));
        }
        let given = [
            ("--memory", resources.memory().is_some()),
            ("--cpus", resources.cpu().is_some()),
            ("--pids-limit", resources.pids().is_some()),
            ("--blkio-weight", resources.block_io().is_some()),
        ];
        if let Some((option, _)) = given.iter().find(|(_, given)| *given && !host.allowed) {
            return Err(Refused::new(option, "limits need root on this host, which has cgroup v1"));
        }
        Ok(resources)
    }

    fn memory(&self, host: &Host) -> Result<Option<LinuxMemory>, Refused> {
        let unified = |option| Err(Refused::new(option, "this host has cgroup v2, which has no such limit"));
        let limit = self.memory.map(Size::bytes).filter(|bytes| *bytes != 0);
        let reservation = self.memory_reservation.map(Size::bytes).filter(|bytes| *bytes != 0);
        let mut memory = LinuxMemory::default();
        if let Some(limit) = limit {
            if limit < MEMORY_MINIMUM {
                return Err(Refused::new("--memory", "Minimum memory limit allowed is 6MB"));
            }
            memory.set_limit(Some(limit));
        }
        if let Some(reservation) = reservation {
            if reservation < MEMORY_MINIMUM {
                return Err(Refused::new("--memory-reservation", "Minimum memory reservation allowed is 6MB"));
            }
            if limit.is_some_and(|limit| reservation > limit) {
                return Err(Refused::new(
                    "--memory-reservation",
                    "Minimum memory limit can not be less than memory reservation limit",
                ));
            }
            memory.set_reservation(Some(reservation));
        }
        memory.set_swap(self.swap(host, limit)?);
        if let Some(swappiness) = self.memory_swappiness.filter(|value| *value != -1) {
            if host.unified {
                return unified("--memory-swappiness");
            }
            let value = u64::try_from(swappiness).ok().filter(|value| *value <= 100);
            memory.set_swappiness(Some(value.ok_or_else(|| {
                let reason = format!("Invalid value: {swappiness}. Valid memory swappiness range is 0-100");
                Refused::new("--memory-swappiness", reason)
            })?));
        }
        if self.kernel_memory.is_some_and(|size| size.bytes() != 0) {
            return Err(Refused::new(
                "--kernel-memory",
                "not supported since Linux 5.16 (--memory includes kernel memory)",
            ));
        }
        if self.oom_kill_disable {
            if host.unified {
                return unified("--oom-kill-disable");
            }
            memory.set_disable_oom_killer(Some(true));
        }
        Ok((memory != LinuxMemory::default()).then_some(memory))
    }

    /// The limit of memory plus swap, where `limit` is that of memory.
    fn swap(&self, host: &Host, limit: Option<i64>) -> Result<Option<i64>, Refused> {
        let refused = |reason: &str| Err(Refused::new("--memory-swap", reason));
        match (self.memory_swap.map(Size::bytes).filter(|bytes| *bytes != 0), limit) {
            (Some(-1), _) => Ok(host.swap.then_some(-1)),
            (Some(_), None) => {
                refused("You should always set the Memory limit when using Memoryswap limit, which includes it")
            }
            (Some(_), _) if !host.swap => refused("this host does not account for swap (boot with swapaccount=1)"),
            (Some(swap), Some(limit)) if swap < limit => {
                refused("Minimum memoryswap limit should be larger than memory limit, which it includes")
            }
            (Some(swap), Some(_)) => Ok(Some(swap)),
            // Docker's default: as much swap as memory.
            (None, Some(limit)) if host.swap => Ok(Some(limit.saturating_mul(2))),
            (None, _) => Ok(None),
        }
    }

    fn cpu(&self, host: &Host) -> Result<Option<LinuxCpu>, Refused> {
        let mut cpu = LinuxCpu::default();
        if let Some(shares) = self.cpu_shares.filter(|shares| *shares != 0) {
            // The kernel's limits, beyond which a runtime finds another value than it wrote.
            if shares < 2 {
                return Err(Refused::new("--cpu-shares", "The minimum allowed cpu-shares is 2"));
            }
            if shares > 262_144 {
                return Err(Refused::new("--cpu-shares", "The maximum allowed cpu-shares is 262144"));
            }
            cpu.set_shares(Some(shares));
        }
        if let Some(cpus) = self.cpus.filter(|cpus| !cpus.is_unlimited()) {
            if self.cpu_period.is_some() || self.cpu_quota.is_some() {
                return Err(Refused::new(
                    "--cpus",
                    "Conflicting options: it sets what --cpu-period and --cpu-quota set",
                ));
            }
            if cpus.quota()
                > i64::try_from(host.processors).unwrap_or(i64::MAX).saturating_mul(Processors::PERIOD as i64)
            {
                return Err(Refused::new(
                    "--cpus",
                    format!(
                        "Range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available",
                        host.processors
                    ),
                ));
            }
            cpu.set_period(Some(Processors::PERIOD));
            cpu.set_quota(Some(cpus.quota()));
        }
        if let Some(period) = self.cpu_period.filter(|period| *period != 0) {
            if !(1_000..=1_000_000).contains(&period) {
                return Err(Refused::new(
                    "--cpu-period",
                    "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
                ));
            }
            cpu.set_period(Some(period));
        }
        if let Some(quota) = self.cpu_quota.filter(|quota| *quota != 0) {
            if quota != -1 && quota < 1_000 {
                return Err(Refused::new("--cpu-quota", "CPU cfs quota can not be less than 1ms (i.e. 1000)"));
            }
            cpu.set_quota(Some(quota));
        }
        for (option, given) in
            [("--cpu-rt-period", self.cpu_rt_period.is_some()), ("--cpu-rt-runtime", self.cpu_rt_runtime.is_some())]
        {
            if given && !host.realtime {
                let reason =
                    "this host does not allot real-time CPU time to control groups (CONFIG_RT_GROUP_SCHED, cgroup v1)";
                return Err(Refused::new(option, reason));
            }
        }
        cpu.set_realtime_period(self.cpu_rt_period);
        cpu.set_realtime_runtime(self.cpu_rt_runtime);
        check_online("--cpuset-cpus", self.cpuset_cpus.as_ref(), "/sys/devices/system/cpu/online")?;
        check_online("--cpuset-mems", self.cpuset_mems.as_ref(), "/sys/devices/system/node/online")?;
        cpu.set_cpus(self.cpuset_cpus.as_ref().map(|set| set.as_str().to_owned()));
        cpu.set_mems(self.cpuset_mems.as_ref().map(|set| set.as_str().to_owned()));
        Ok((cpu != LinuxCpu::default()).then_some(cpu))
    }

    fn block_io(&self, host: &Host) -> Result<Option<LinuxBlockIo>, Refused> {
        let mut block = LinuxBlockIo::default();
        let weight = |option: &'static str, weight: u64| match u16::try_from(weight) {
            Ok(weight @ 10..=1000) => Ok(weight),
            _ => Err(Refused::new(option, "Range of blkio weight is from 10 to 1000")),
        };
        if let Some(value) = self.blkio_weight.filter(|value| *value != 0) {
            if !host.weights {
                return Err(Refused::new(
                    "--blkio-weight",
                    "no I/O scheduler of this host supports weights (bfq does)",
                ));
            }
            block.set_weight(Some(weight("--blkio-weight", value.into())?));
        }
        let mut weights = Vec::new();
        for DeviceCount(rate) in &self.blkio_weight_device {
            let (major, minor) = rate.numbers("--blkio-weight-device")?;
            let device = LinuxWeightDeviceBuilder::default().major(major).minor(minor);
            let device = device.weight(weight("--blkio-weight-device", rate.value)?).build();
            weights.push(device.expect("numbers and weight are set"));
        }
        block.set_weight_device(Some(weights).filter(|list| !list.is_empty()));
        let bytes = |option, rates: &[DeviceRate]| throttle(option, rates.iter().map(|rate| &rate.0));
        block.set_throttle_read_bps_device(bytes("--device-read-bps", &self.device_read_bps)?);
        block.set_throttle_write_bps_device(bytes("--device-write-bps", &self.device_write_bps)?);
        let operations = |option, counts: &[DeviceCount]| throttle(option, counts.iter().map(|count| &count.0));
        block.set_throttle_read_iops_device(operations("--device-read-iops", &self.device_read_iops)?);
        block.set_throttle_write_iops_device(operations("--device-write-iops", &self.device_write_iops)?);
        Ok((block != LinuxBlockIo::default()).then_some(block))
    }
}

/// Refuses CPUs or memory nodes that this host has not.
fn check_online(option: &'static str, wanted: Option<&CpuSet>, file: &str) -> Result<(), Refused> {
    let Some(wanted) = wanted else { return Ok(()) };
    let what = if option == "--cpuset-cpus" { "CPUs" } else { "memory nodes" };
    let online: Option<CpuSet> = fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    match online {
        Some(online) if !wanted.is_within(&online) => {
            let (wanted, online) = (wanted.as_str(), online.as_str());
            let reason = format!("Requested {what} are not available - requested {wanted}, available: {online}");
            Err(Refused::new(option, reason))
        }
        _ => Ok(()),
    }
}

fn throttle<'a>(
    option: &'static str,
    rates: impl Iterator<Item = &'a DeviceLimit>,
) -> Result<Option<Vec<LinuxThrottleDevice>>, Refused> {
    let mut list = Vec::new();
    for rate in rates {
        let (major, minor) = rate.numbers(option)?;
        let device = LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(rate.value).build();
        list.push(device.expect("numbers and rate are set"));
    }
    Ok(Some(list).filter(|list| !list.is_empty()))
}

impl DeviceLimit {
    fn numbers(&self, option: &'static str) -> Result<(i64, i64), Refused> {
        let found = fs::metadata(&self.path)
            .map_err(|error| Refused::new(option, format!("{}: {error}", self.path.display())))?;
        if !found.file_type().is_block_device() {
            return Err(Refused::new(option, format!("{} is not a block device", self.path.display())));
        }
        Ok((rustix::fs::major(found.rdev()).into(), rustix::fs::minor(found.rdev()).into()))
    }
}

#[cfg(test)]
mod tests;
