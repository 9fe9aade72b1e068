//! `update`: new resource limits for a container. They are set in the kernel first and then stored in the state.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use libcontainer::oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::global::Global;
use crate::cgroup::rdt::{self, Resctrl};
use crate::container::{NotRunning, Status};
use crate::kernel::error::Fails;
use crate::kernel::log;
use crate::spec::{field, read_json};

/// Update container resource constraints.
///
/// Values that are not given stay unchanged.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Path to a JSON file with the resources to update, or - for standard input.
    ///
    /// The file has the form of linux.resources in config.json. All other options are then ignored.
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Block I/O weight, between 10 and 1000.
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// CPU CFS period, in microseconds; 0 for the system default.
    #[arg(long, value_name = "USECS")]
    cpu_period: Option<String>,
    /// CPU CFS quota, the CPU time allowed in a period, in microseconds.
    #[arg(long, value_name = "USECS", allow_hyphen_values = true)]
    cpu_quota: Option<String>,
    /// CPU CFS burst, the unused CPU time that may accumulate, in microseconds.
    #[arg(long, value_name = "USECS")]
    cpu_burst: Option<String>,
    /// CPU shares (relative weight vs. other containers).
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<String>,
    /// CPU real-time period, in microseconds; 0 for the system default.
    #[arg(long, value_name = "USECS")]
    cpu_rt_period: Option<String>,
    /// CPU real-time quota, the CPU time allowed in a real-time period, in microseconds.
    #[arg(long, value_name = "USECS", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<String>,
    /// CPUs to use, such as 0-3,7.
    #[arg(long, value_name = "CPUS")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use, such as 0,1.
    #[arg(long, value_name = "NODES")]
    cpuset_mems: Option<String>,
    /// Set cgroup SCHED_IDLE: with 1, the container gets only CPU time that is otherwise idle.
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<String>,
    /// Memory limit, such as 256m; -1 for no limit.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Memory reservation (soft limit), such as 128m.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// Limit of memory plus swap, such as 512m; -1 for unlimited swap.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Ignored by the kernel since 5.4.
    #[arg(long, hide = true, allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    /// Ignored by the kernel since 5.4.
    #[arg(long, hide = true, allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    /// Maximum number of pids allowed in the container; -1 for no limit.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Intel RDT/CAT L3 cache schema, for a container with `linux.intelRdt`.
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Intel RDT/MBA memory bandwidth schema, for a container with `linux.intelRdt`.
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
    /// ID of the container.
    id: String,
}

impl Update {
    pub(super) fn run(self, global: &Global) -> Result<()> {
        let mut container = global.container(&self.id)?;
        let rdt = self.rdt(container.state.config.intel_rdt.as_ref().filter(|_| container.state.rdt.exist()))?;
        let asked = self.asked()?;
        let memory = asked.get("memory");
        if memory.is_some_and(|memory| memory.get("kernel").or(memory.get("kernelTCP")).is_some()) {
            log::warn("Kernel memory settings are ignored and will be removed");
        }
        if container.status() == Status::Stopped {
            return Err(NotRunning.into());
        }
        let stored = container.state.config.resources.clone().unwrap_or_else(|| json!({}));
        let effective = effective(&asked, &stored);
        let resources: LinuxResources = serde_json::from_value(effective)?;
        let cgroup = container.cgroup();
        let set_rdt = || rdt.as_ref().map_or(Ok(()), |(config, resctrl)| resctrl.set(config, &container.state.rdt));
        if let Err(error) = cgroup.set(&resources, &[]).and_then(|()| set_rdt()) {
            // Some limits may be set already: restore the old ones.
            let back = serde_json::from_value(stored).map_err(anyhow::Error::from);
            if let Err(error) = back.and_then(|before: LinuxResources| cgroup.set(&before, &[])) {
                log::warn(&format!(
                    "Setting back cgroup configs failed due to error: {error:#}, your state.json and actual configs might \
                     be inconsistent."
                ));
            }
            return Err(error);
        }
        if let Some((config, _)) = rdt {
            container.state.config.intel_rdt = Some(config);
        }
        let mut merged = stored;
        field::merge(&mut merged, asked);
        container.state.config.resources = Some(merged);
        container.save()
    }

    /// The Intel RDT configuration that the options ask for. `None`: no option for it was given.
    fn rdt(&self, stored: Option<&rdt::Config>) -> Result<Option<(rdt::Config, Resctrl)>> {
        let given = |schema: &Option<String>| schema.clone().filter(|schema| !schema.is_empty());
        let (cache, bandwidth) = (given(&self.l3_cache_schema), given(&self.mem_bw_schema));
        if cache.is_none() && bandwidth.is_none() {
            return Ok(None);
        }
        let resctrl = Resctrl::find();
        if cache.is_some() && !resctrl.as_ref().is_some_and(Resctrl::has_cache) {
            bail!("Intel RDT/CAT: l3 cache schema is not enabled");
        }
        if bandwidth.is_some() && !resctrl.as_ref().is_some_and(Resctrl::has_bandwidth) {
            bail!("Intel RDT/MBA: memory bandwidth schema is not enabled");
        }
        let mut config = stored.cloned().context("updating a non-existent Intel RDT configuration is not supported")?;
        config.l3_cache_schema = cache.unwrap_or(config.l3_cache_schema);
        config.bandwidth_schema = bandwidth.unwrap_or(config.bandwidth_schema);
        Ok(resctrl.map(|resctrl| (config, resctrl)))
    }

    /// The requested limits as a `linux.resources` object without nulls.
    fn asked(&self) -> Result<Value> {
        match &self.resources {
            Some(path) => read_resources(path),
            None => self.options(),
        }
    }

    fn options(&self) -> Result<Value> {
        let mut document = Map::new();
        let mut put = |section: &str, key: &str, value: Value| {
            let section = document.entry(section).or_insert_with(|| json!({}));
            section[key] = value;
        };
        if let Some(weight) = self.blkio_weight.filter(|weight| *weight != 0) {
            put("blockIO", "weight", json!(weight));
        }
        for (name, key, text) in [
            ("cpu-burst", "burst", &self.cpu_burst),
            ("cpu-period", "period", &self.cpu_period),
            ("cpu-rt-period", "realtimePeriod", &self.cpu_rt_period),
            ("cpu-share", "shares", &self.cpu_share),
        ] {
            if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                let value: u64 = text.parse().map_err(|_| {
                    anyhow::anyhow!("invalid value for {name}: strconv.ParseUint: parsing {text:?}: invalid syntax")
                })?;
                put("cpu", key, json!(value));
            }
        }
        for (name, key, text) in [
            ("cpu-quota", "quota", &self.cpu_quota),
            ("cpu-rt-runtime", "realtimeRuntime", &self.cpu_rt_runtime),
            ("cpu-idle", "idle", &self.cpu_idle),
        ] {
            if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                let value: i64 = text.parse().map_err(|_| {
                    anyhow::anyhow!("invalid value for {name}: strconv.ParseInt: parsing {text:?}: invalid syntax")
                })?;
                put("cpu", key, json!(value));
            }
        }
        for (key, text) in [("cpus", &self.cpuset_cpus), ("mems", &self.cpuset_mems)] {
            if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                put("cpu", key, json!(text));
            }
        }
        for (name, key, text) in [
            ("memory", "limit", &self.memory),
            ("memory-swap", "swap", &self.memory_swap),
            ("memory-reservation", "reservation", &self.memory_reservation),
            ("kernel-memory", "kernel", &self.kernel_memory),
            ("kernel-memory-tcp", "kernelTCP", &self.kernel_memory_tcp),
        ] {
            if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                let bytes = bytes(text).with_context(|| format!("invalid value for {name}"))?;
                put("memory", key, json!(bytes));
            }
        }
        if let Some(limit) = self.pids_limit {
            put("pids", "limit", json!(limit));
        }
        Ok(Value::Object(document))
    }
}

/// Reads a document with limits, from a file or standard input.
fn read_resources(path: &Path) -> Result<Value> {
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut text).context("standard input")?;
    } else {
        text = std::fs::read(path).fails(|| format!("open {}", path.display()))?;
    }
    let mut value = read_json(&text)?;
    if let Some(object) = value.as_object_mut() {
        // Devices are not updated, as in runc: a plugin may have added to them.
        object.remove("devices");
        if object.get("pids").is_some_and(|pids| pids.get("limit").is_none()) {
            object.remove("pids");
        }
    }
    Ok(value)
}

/// Parses a size in docker's units, which are powers of 1024: `512`, `64m`, `1.5GiB`. -1 means no limit.
fn bytes(text: &str) -> Result<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| anyhow::anyhow!("invalid size: '{text}'"))?;
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => bail!("invalid suffix: '{}'", &text[end..]),
    };
    Ok((number * 1024f64.powi(power)) as i64)
}

/// The limits to set: the requested ones, and the stored ones that the kernel accepts only together with them.
fn effective(asked: &Value, stored: &Value) -> Value {
    let mut effective = asked.clone();
    let set = |value: &Value, section: &str, key: &str| {
        value.get(section).and_then(|section| section.get(key)).filter(|value| value.as_i64() != Some(0)).cloned()
    };
    if effective.get("memory").is_some() {
        let unlimited = set(asked, "memory", "limit") == Some(json!(-1));
        for key in ["limit", "swap"] {
            // A limit that is not requested keeps its stored value; unlimited memory lifts the limit on swap too.
            if set(asked, "memory", key).is_none()
                && !(key == "swap" && unlimited)
                && let Some(value) = set(stored, "memory", key)
            {
                effective["memory"][key] = value;
            }
        }
    }
    for (one, other) in [("quota", "period"), ("period", "quota")] {
        if set(asked, "cpu", one).is_some()
            && set(asked, "cpu", other).is_none()
            && let Some(value) = set(stored, "cpu", other)
        {
            effective["cpu"][other] = value;
        }
    }
    effective
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_with_their_units() {
        for (text, size) in [("-1", -1), ("0", 0), ("64m", 64 << 20), ("1.5GiB", 3 << 29), ("2kb", 2048)] {
            assert_eq!(bytes(text).unwrap(), size, "{text}");
        }
        assert!(bytes("1x").is_err());
        assert!(bytes("m").is_err());
    }

    #[test]
    fn a_quota_brings_its_period() {
        let stored = json!({"cpu": {"period": 100_000, "quota": 5}, "memory": {"swap": 7}});
        let effective = effective(&json!({"cpu": {"quota": 9}, "memory": {"limit": 3}}), &stored);
        assert_eq!(effective, json!({"cpu": {"quota": 9, "period": 100_000}, "memory": {"limit": 3, "swap": 7}}));
    }
}
