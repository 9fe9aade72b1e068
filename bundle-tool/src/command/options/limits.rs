//! What a container may use.

use bundle_tool::option::limit::{DeviceRate, Limits, Ulimit};
use bundle_tool::option::quantity::{CpuSet, Processors, Size};
use clap::ArgAction;

#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct Resources {
    /// Limit memory.
    #[arg(short, long, value_name = "BYTES")]
    pub(super) memory: Option<Size>,
    /// Keep to so much memory where it is short.
    #[arg(long, value_name = "BYTES")]
    pub(super) memory_reservation: Option<Size>,
    /// Limit memory and swap together; -1 for any amount of swap.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(super) memory_swap: Option<Size>,
    /// Readiness to swap, 0 to 100.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) memory_swappiness: Option<i64>,
    /// Limit the kernel's memory.
    #[arg(long, value_name = "BYTES")]
    pub(super) kernel_memory: Option<Size>,
    /// Do not kill the program when memory runs out.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_default_value = true, value_name = "BOOL", action = ArgAction::Set)]
    pub(super) oom_kill_disable: bool,
    /// Be killed sooner or later than others, -1000 to 1000.
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub(super) oom_score_adj: Option<i32>,
    /// Number of processors.
    #[arg(long, value_name = "N")]
    pub(super) cpus: Option<Processors>,
    /// Period of the processor quota, in microseconds.
    #[arg(long, value_name = "N")]
    pub(super) cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) cpu_quota: Option<i64>,
    /// Period of the real-time quota, in microseconds.
    #[arg(long, value_name = "N")]
    pub(super) cpu_rt_period: Option<u64>,
    /// Real-time processor time in each period, in microseconds.
    #[arg(long, value_name = "N")]
    pub(super) cpu_rt_runtime: Option<i64>,
    /// Share of the processors, relative to 1024.
    #[arg(short, long, value_name = "N")]
    pub(super) cpu_shares: Option<u64>,
    /// Processors to run on.
    #[arg(long, value_name = "LIST")]
    pub(super) cpuset_cpus: Option<CpuSet>,
    /// Memory nodes to use.
    #[arg(long, value_name = "LIST")]
    pub(super) cpuset_mems: Option<CpuSet>,
    /// Limit the number of processes; -1 for any.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(super) pids_limit: Option<i64>,
    /// Weight of block I/O, 10 to 1000.
    #[arg(long, value_name = "N")]
    pub(super) blkio_weight: Option<u16>,
    /// Weight of a block device: DEVICE:N.
    #[arg(long, value_name = "WEIGHT")]
    pub(super) blkio_weight_device: Vec<DeviceRate>,
    /// Limit reading: DEVICE:BYTES a second.
    #[arg(long, value_name = "RATE")]
    pub(super) device_read_bps: Vec<DeviceRate>,
    /// Limit reading: DEVICE:N operations a second.
    #[arg(long, value_name = "RATE")]
    pub(super) device_read_iops: Vec<DeviceRate>,
    /// Limit writing: DEVICE:BYTES a second.
    #[arg(long, value_name = "RATE")]
    pub(super) device_write_bps: Vec<DeviceRate>,
    /// Limit writing: DEVICE:N operations a second.
    #[arg(long, value_name = "RATE")]
    pub(super) device_write_iops: Vec<DeviceRate>,
    /// Set a limit of the process: NAME=SOFT[:HARD].
    #[arg(long, value_name = "LIMIT")]
    pub(super) ulimit: Vec<Ulimit>,
    /// Put the container's control group beneath this one.
    #[arg(long, value_name = "GROUP")]
    pub(super) cgroup_parent: Option<String>,
}

impl Resources {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            memory: self.memory,
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
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
