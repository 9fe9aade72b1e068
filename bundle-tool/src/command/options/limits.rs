//! Limits of memory, CPUs, block I/O and processes.

use bundle_tool::option::boolean;
use bundle_tool::option::limit::{DeviceCount, DeviceRate, Limits};
use bundle_tool::option::quantity::{CpuSet, Processors, Size, SwapSize};
use bundle_tool::option::ulimit::Ulimit;
use clap::ArgAction;

use super::candidates;

#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Resources {
    /// Memory limit, such as 256m.
    #[arg(short, long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(super) memory: Option<Size>,
    /// Memory soft limit, such as 128m.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(super) memory_reservation: Option<Size>,
    /// Limit of memory plus swap, such as 512m; -1 for unlimited swap.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(super) memory_swap: Option<SwapSize>,
    /// Tune container memory swappiness, between 0 and 100.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) memory_swappiness: Option<i64>,
    /// Kernel memory limit; discarded since Linux 5.16, where --memory includes it.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(super) kernel_memory: Option<Size>,
    /// Disable the OOM killer.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", value_parser = boolean::parse, action = ArgAction::Set)]
    pub(super) oom_kill_disable: bool,
    /// Tune the host's OOM preferences, between -1000 and 1000.
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = oom_score)]
    pub(super) oom_score_adj: Option<i32>,
    /// Number of CPUs, such as 1.5 or 1/2.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) cpus: Option<Processors>,
    /// Limit the period of the CPU quota, in microseconds.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) cpu_period: Option<u64>,
    /// Limit CPU time in each period, in microseconds.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) cpu_quota: Option<i64>,
    /// Limit the period of the real-time CPU quota, in microseconds.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) cpu_rt_period: Option<u64>,
    /// Limit real-time CPU time in each period, in microseconds.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) cpu_rt_runtime: Option<i64>,
    /// CPU shares, a weight relative to 1024.
    #[arg(short, long, value_name = "N", allow_hyphen_values = true)]
    pub(super) cpu_shares: Option<u64>,
    /// CPUs in which to allow execution, such as 0-3,7.
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub(super) cpuset_cpus: Option<CpuSet>,
    /// Memory nodes in which to allow execution, such as 0,1.
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub(super) cpuset_mems: Option<CpuSet>,
    /// Limit the number of processes; -1 for unlimited.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) pids_limit: Option<i64>,
    /// Block I/O weight, between 10 and 1000; discarded on a host without an I/O scheduler that has weights.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) blkio_weight: Option<u16>,
    /// Block I/O weight of a device, between 10 and 1000; may be repeated.
    #[arg(long, value_name = "DEVICE:WEIGHT", allow_hyphen_values = true)]
    pub(super) blkio_weight_device: Vec<DeviceCount>,
    /// Limit the read rate of a device, in bytes per second; may be repeated.
    #[arg(long, value_name = "DEVICE:BYTES", allow_hyphen_values = true)]
    pub(super) device_read_bps: Vec<DeviceRate>,
    /// Limit the read rate of a device, in operations per second; may be repeated.
    #[arg(long, value_name = "DEVICE:N", allow_hyphen_values = true)]
    pub(super) device_read_iops: Vec<DeviceCount>,
    /// Limit the write rate of a device, in bytes per second; may be repeated.
    #[arg(long, value_name = "DEVICE:BYTES", allow_hyphen_values = true)]
    pub(super) device_write_bps: Vec<DeviceRate>,
    /// Limit the write rate of a device, in operations per second; may be repeated.
    #[arg(long, value_name = "DEVICE:N", allow_hyphen_values = true)]
    pub(super) device_write_iops: Vec<DeviceCount>,
    /// Set a resource limit of the program; may be repeated.
    #[arg(long, value_name = "NAME=SOFT[:HARD]", allow_hyphen_values = true, add = candidates::words(candidates::ULIMITS))]
    pub(super) ulimit: Vec<Ulimit>,
    /// Parent cgroup for the container, a path or a systemd slice.
    #[arg(long, value_name = "CGROUP", allow_hyphen_values = true)]
    pub(super) cgroup_parent: Option<String>,
}

/// Reads a preference of the OOM killer.
fn oom_score(text: &str) -> Result<i32, String> {
    let number: i32 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    let known = -1000..=1000;
    let reason = || format!("Invalid value {number}, range for oom score adj is [-1000, 1000].");
    known.contains(&number).then_some(number).ok_or_else(reason)
}

impl Resources {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            memory: self.memory,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap.map(SwapSize::size),
            memory_swappiness: self.memory_swappiness,
            kernel_memory: self.kernel_memory,
            oom_kill_disable: self.oom_kill_disable,
            oom_score_adj: self.oom_score_adj,
            cpus: self.cpus,
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_rt_period: self.cpu_rt_period,
            cpu_rt_runtime: self.cpu_rt_runtime,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            pids: self.pids_limit,
            blkio_weight: self.blkio_weight,
            blkio_weight_device: self.blkio_weight_device.clone(),
            device_read_bps: self.device_read_bps.clone(),
            device_write_bps: self.device_write_bps.clone(),
            device_read_iops: self.device_read_iops.clone(),
            device_write_iops: self.device_write_iops.clone(),
            ulimits: self.ulimit.clone(),
        }
    }
}
