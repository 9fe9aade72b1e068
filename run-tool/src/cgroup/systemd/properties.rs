//! Limits as properties of a systemd unit.

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::LinuxResources;

use super::device;
use super::wire::{Property, Value, property};
use crate::cgroup::device::Rule;
use crate::cgroup::v2;
use crate::kernel::{log, set};

/// The properties for limits. In `resources` the CPU quota is rounded up to a value that systemd supports.
pub(super) fn properties(
    resources: &mut LinuxResources,
    rules: &[Rule],
    unified: bool,
    version: u32,
) -> Result<Vec<Property>> {
    let mut properties = device::properties(rules, version)?;
    let mut number = |name: &str, value: u64| properties.push(property(name, Value::U64(value)));
    if let Some(memory) = resources.memory() {
        let limit = memory.limit().unwrap_or(0);
        if limit != 0 {
            number(if unified { "MemoryMax" } else { "MemoryLimit" }, limit as u64);
        }
        if unified {
            if let Some(low) = memory.reservation().filter(|low| *low != 0) {
                number("MemoryLow", low as u64);
            }
            if let Some(swap) = v2::swap_alone(memory.swap().unwrap_or(0), limit)? {
                number("MemorySwapMax", swap.parse().unwrap_or(u64::MAX));
            }
        }
    }
    if let Some(cpu) = resources.cpu() {
        let idle = unified && cpu.idle() == Some(1) && version >= 252;
        if idle {
            // For systemd a weight of zero means idle.
            number("CPUWeight", 0);
        }
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            if idle {
                log::warn("unable to apply both CPUWeight and CpuIdle to systemd, ignoring CPUWeight");
            } else if unified {
                number("CPUWeight", v2::weight_of_shares(shares));
            } else {
                number("CPUShares", shares);
            }
        }
        let quota = set_quota(&mut properties, cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0), version);
        set_cpus(&mut properties, cpu.cpus().as_deref(), cpu.mems().as_deref(), version)?;
        if Some(quota) != cpu.quota() && quota != 0 {
            let mut rounded = cpu.clone();
            rounded.set_quota(Some(quota));
            resources.set_cpu(Some(rounded));
        }
    }
    if let Some(pids) = resources.pids() {
        // systemd does not accept zero.
        let limit = if pids.limit() < 0 { u64::MAX } else { pids.limit().max(1) as u64 };
        properties.push(property("TasksMax", Value::U64(limit)));
    }
    if unified {
        set_unified(&mut properties, resources, version)?;
    } else if let Some(weight) =
        resources.block_io().as_ref().and_then(|block| block.weight()).filter(|weight| *weight != 0)
    {
        properties.push(property("BlockIOWeight", Value::U64(weight.into())));
    }
    Ok(properties)
}

/// Adds the properties for the CPU quota. Returns the quota that systemd will set.
fn set_quota(properties: &mut Vec<Property>, quota: i64, period: u64, version: u32) -> i64 {
    if period != 0 && version >= 242 {
        properties.push(property("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    if quota == 0 && period == 0 {
        return quota;
    }
    let (mut each_second, mut rounded) = (u64::MAX, quota);
    if quota > 0 {
        let period = if period == 0 { 100_000 } else { period };
        let exact = quota as u64 * 1_000_000 / period;
        each_second = exact.next_multiple_of(10_000);
        if exact != each_second {
            rounded = (each_second * period / 1_000_000) as i64;
        }
    }
    properties.push(property("CPUQuotaPerSecUSec", Value::U64(each_second)));
    rounded
}

/// Adds the properties for keys of `unified`. systemd would otherwise overwrite these files.
fn set_unified(properties: &mut Vec<Property>, resources: &LinuxResources, version: u32) -> Result<()> {
    let idle = |text: &str| text.trim() == "1" && version >= 252;
    let idles = resources.unified().as_ref().and_then(|unified| unified.get("cpu.idle")).is_some_and(|text| idle(text));
    for (key, text) in resources.unified().iter().flatten() {
        v2::check_key(key)?;
        let text = text.trim();
        let number = |text: &str| -> Result<u64> {
            if text == "max" {
                return Ok(u64::MAX);
            }
            text.parse().with_context(|| format!("unified resource {key:?} value conversion error"))
        };
        let name = match key.as_str() {
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.min" => "MemoryMin",
            "memory.max" => "MemoryMax",
            "memory.swap.max" => "MemorySwapMax",
            "pids.max" => {
                properties.push(property("TasksMax", Value::U64(number(text)?.max(1))));
                continue;
            }
            "cpu.weight" if idles => {
                log::warn("unable to apply both cpu.weight and cpu.idle to systemd, ignoring cpu.weight");
                continue;
            }
            "cpu.weight" => "CPUWeight",
            "cpu.idle" => {
                if idles {
                    properties.push(property("CPUWeight", Value::U64(0)));
                }
                continue;
            }
            "cpu.max" => {
                let fields: Vec<&str> = text.split_ascii_whitespace().collect();
                let (quota, period) = match fields[..] {
                    [quota] => (quota, "100000"),
                    [quota, period] => (quota, period),
                    _ => bail!("unified resource {key:?} value invalid: {text:?}"),
                };
                let quota = if quota == "max" { 0 } else { number(quota)? as i64 };
                set_quota(properties, quota, number(period)?, version);
                continue;
            }
            "cpuset.cpus" => {
                set_cpus(properties, Some(text), None, version)?;
                continue;
            }
            "cpuset.mems" => {
                set_cpus(properties, None, Some(text), version)?;
                continue;
            }
            // No property: it is written to the control file.
            _ => continue,
        };
        properties.push(property(name, Value::U64(number(text)?)));
    }
    Ok(())
}

fn set_cpus(properties: &mut Vec<Property>, cpus: Option<&str>, mems: Option<&str>, version: u32) -> Result<()> {
    for (name, key, set) in [("AllowedCPUs", "Cpus", cpus), ("AllowedMemoryNodes", "Mems", mems)] {
        if let Some(set) = set.filter(|set| !set.is_empty() && version >= 244) {
            properties.push(property(name, bits(key, set)?));
        }
    }
    Ok(())
}

/// Converts a list of CPUs or nodes to systemd's bit mask: bytes, the lowest first.
fn bits(name: &str, text: &str) -> Result<Value> {
    let words = set::parse(text).with_context(|| format!("resources.CPU.{name}={text:?} conversion error"))?;
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() {
        bail!("resources.CPU.{name}={text:?} conversion error: empty value");
    }
    Ok(Value::Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_replaces_a_weight() {
        let text = r#"{"unified":{"cpu.idle":"1","cpu.weight":"50"},"cpu":{"idle":1,"shares":1024}}"#;
        let mut resources: LinuxResources = serde_json::from_str(text).unwrap();
        let set = properties(&mut resources, &[], true, 252).unwrap();
        assert!(
            set.iter().filter(|(name, _)| name == "CPUWeight").all(|(_, value)| *value == Value::U64(0)),
            "{set:?}"
        );
        for wrong in
            [r#"{"unified":{"cpuset.cpus":" , "}}"#, r#"{"unified":{"a/b.c":"1"}}"#, r#"{"unified":{"a":"1"}}"#]
        {
            let mut resources: LinuxResources = serde_json::from_str(wrong).unwrap();
            assert!(properties(&mut resources, &[], true, 252).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_become_properties() {
        let text = r#"{"memory":{"limit":100,"swap":150,"reservation":50},"pids":{"limit":0},
            "cpu":{"shares":1024,"quota":12345,"period":100000,"cpus":"0-1,8"},
            "unified":{"memory.high":"90"}}"#;
        let mut resources: LinuxResources = serde_json::from_str(text).unwrap();
        let set = properties(&mut resources, &[], true, 252).unwrap();
        let of = |name: &str| set.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        assert_eq!(of("MemoryMax"), Some(Value::U64(100)));
        assert_eq!(of("MemorySwapMax"), Some(Value::U64(50)));
        assert_eq!(of("CPUWeight"), Some(Value::U64(100)));
        assert_eq!(of("CPUQuotaPerSecUSec"), Some(Value::U64(130_000)));
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(13_000));
        assert_eq!(of("AllowedCPUs"), Some(Value::Bytes(vec![3, 1])));
        assert_eq!(of("TasksMax"), Some(Value::U64(1)));
        assert_eq!(of("MemoryHigh"), Some(Value::U64(90)));
        let old = properties(&mut resources, &[], true, 240).unwrap();
        assert!(!old.iter().any(|(key, _)| key == "AllowedCPUs" || key == "CPUQuotaPeriodUSec"));
    }
}
