//! The systemd driver: the groups are those of a scope that systemd makes, and systemd knows of every limit that it has a name
//! for, since it writes its own idea of them whenever it is reloaded. What it has no name for is written beside it.

mod bus;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

pub(super) use self::bus::Value;
use self::bus::{Bus, Property, Refused};
use super::{ROOT, device, v1, v2};
use crate::kernel::log;
use crate::kernel::syscall::Pid;
use crate::program::parse_set;

/// A container's unit, as the state stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    /// The slice, or nothing for systemd's.
    #[serde(rename = "parent", default)]
    slice: String,
    #[serde(rename = "scope_prefix", default)]
    prefix: String,
    #[serde(default)]
    name: String,
    /// Whether the user's own systemd has it.
    #[serde(rename = "rootless", default)]
    user: bool,
    /// Whether systemd has it at all: runc writes this object for every container.
    #[serde(rename = "Systemd", default)]
    pub(crate) systemd: bool,
    /// `org.systemd.property.*`: name and value in GVariant's text form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    properties: Vec<(String, String)>,
    /// `memory.oom.group` of `unified`, which systemd takes only with a new unit.
    #[serde(skip)]
    oom_group: Option<String>,
}

/// Whether systemd runs this system (sd_booted(3)).
pub(crate) fn is_running() -> bool {
    std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|metadata| metadata.is_dir())
}

/// `test-a-b.slice` lies in `/test.slice/test-a.slice/test-a-b.slice`.
fn expand_slice(slice: &str) -> Result<String> {
    let invalid = || format!("invalid slice name: {slice}");
    let name = slice.strip_suffix(".slice").filter(|name| !name.contains('/')).with_context(invalid)?;
    if name == "-" {
        return Ok("/".to_owned());
    }
    let (mut path, mut prefix) = (String::new(), String::new());
    for component in name.split('-') {
        if component.is_empty() {
            bail!(invalid());
        }
        path.push_str(&format!("/{prefix}{component}.slice"));
        prefix.push_str(&format!("{component}-"));
    }
    Ok(path)
}

fn connect(user: bool) -> Result<Bus> {
    Bus::connect(user).context(
        "failed to connect to dbus (hint: for rootless containers, maybe you need to install dbus-user-session package, see \
         https://github.com/opencontainers/runc/blob/master/docs/cgroup-v2.md)",
    )
}

/// The leading number of `v252.38-1~deb12u1`.
fn parse_version(text: &str) -> Result<u32> {
    let text = text.trim_start_matches(['"', 'v']);
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().with_context(|| format!("can't parse version {text:?}"))
}

fn property(name: &str, value: Value) -> Property {
    (name.to_owned(), value)
}

impl Unit {
    /// The unit that `linux.cgroupsPath` names: `slice:prefix:name`.
    pub(crate) fn parse(path: &str, id: &str, user: bool) -> Result<Self> {
        if path.is_empty() {
            return Ok(Self { prefix: "runc".to_owned(), name: id.to_owned(), user, systemd: true, ..Self::default() });
        }
        let parts: Vec<&str> = path.split(':').collect();
        let [slice, prefix, name] = parts[..] else {
            bail!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
            )
        };
        let (slice, prefix, name) = (slice.into(), prefix.into(), name.into());
        Ok(Self { slice, prefix, name, user, systemd: true, ..Self::default() })
    }

    /// Takes what systemd has to know before the unit is there.
    pub(crate) fn prepare(&mut self, resources: Option<&LinuxResources>) {
        let unified = resources.and_then(|resources| resources.unified().as_ref());
        self.oom_group = unified.and_then(|unified| unified.get("memory.oom.group")).cloned();
    }

    /// Takes `org.systemd.property.*` from the annotations.
    pub(crate) fn annotate<'a>(&mut self, annotations: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
        for (key, value) in annotations {
            let Some(name) = key.strip_prefix("org.systemd.property.") else { continue };
            if name.len() < 3 {
                bail!("annotation {key} name incorrect: too short");
            }
            if !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                bail!("annotation {key} name incorrect: contains non-alphabetic character");
            }
            annotated(name, value).with_context(|| format!("annotation {key}={value} value parse error"))?;
            self.properties.push((name.to_owned(), value.to_owned()));
        }
        self.properties.sort_unstable();
        Ok(())
    }

    /// The name of the unit.
    fn unit(&self) -> String {
        if self.name.ends_with(".slice") { self.name.clone() } else { format!("{}-{}.scope", self.prefix, self.name) }
    }

    fn slice(&self) -> &str {
        match (self.slice.as_str(), self.user) {
            ("", true) => "user.slice",
            ("", false) => "system.slice",
            (slice, _) => slice,
        }
    }

    /// The folder of each controller.
    pub(crate) fn paths(&self) -> Result<BTreeMap<String, PathBuf>> {
        let mut inner = PathBuf::from(expand_slice(self.slice())?);
        if self.user {
            if !super::is_unified() {
                bail!("cannot use rootless systemd cgroups manager on cgroup v1");
            }
            let own = connect(true)?.manager_property("ControlGroup")?;
            inner = Path::new(&own).join(inner.strip_prefix("/").unwrap_or(&inner));
        }
        inner.push(self.unit());
        let inner = crate::kernel::beneath::clean(&inner);
        let inner = inner.strip_prefix("/").unwrap_or(&inner);
        if super::is_unified() {
            Ok([(String::new(), Path::new(ROOT).join(inner))].into())
        } else {
            v1::plan(inner, true)
        }
    }

    /// Starts the unit with a process in it.
    pub(super) fn start(&self, pid: Pid, unified: bool) -> Result<()> {
        let unit = self.unit();
        let mut properties =
            vec![property("Description", Value::Text(format!("libcontainer container {}", self.name)))];
        if unit.ends_with(".slice") {
            properties.push(property("Wants", Value::Texts(vec![self.slice().to_owned()])));
        } else {
            properties.push(property("Slice", Value::Text(self.slice().to_owned())));
            properties.push(property("Delegate", Value::Bool(true)));
        }
        properties.push(property("PIDs", Value::U32s(vec![pid as u32])));
        let io = if unified { "IOAccounting" } else { "BlockIOAccounting" };
        for name in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
            properties.push(property(name, Value::Bool(true)));
        }
        properties.push(property("DefaultDependencies", Value::Bool(false)));
        for (name, value) in &self.properties {
            properties.push(annotated(name, value)?);
        }
        let mut bus = connect(self.user)?;
        if let Some(group) = self.oom_group.as_ref().filter(|_| unified) {
            let version = parse_version(&bus.manager_property("Version")?)?;
            properties.extend(oom_policy(group, version)?);
        }
        let result = match bus.start_transient_unit(&unit, &properties) {
            Err(error)
                if error.downcast_ref::<Refused>().is_some_and(|refused| refused.name.ends_with(".UnitExists")) =>
            {
                // One that failed and was not forgotten yet.
                if let Err(error) = bus.reset_failed_unit(&unit) {
                    log::warn(&format!("unable to reset failed unit: {error:#}"));
                }
                bus.start_transient_unit(&unit, &properties)
            }
            result => result,
        };
        match result.with_context(|| format!("unable to start unit {unit:?}"))?.as_str() {
            "done" => Ok(()),
            other => {
                // The error that is returned says more.
                let _ = bus.reset_failed_unit(&unit);
                bail!("error creating systemd unit `{unit}`: got `{other}`")
            }
        }
    }

    /// Moves a process into the unit.
    pub(super) fn attach(&self, pid: Pid, below: &str) -> Result<()> {
        let below = format!("/{}", below.trim_start_matches('/'));
        connect(self.user)?.attach_process(&self.unit(), &below, pid as u32)
    }

    /// Tells systemd of the limits. Gives those to write beside it: systemd counts CPU time in whole percents.
    pub(super) fn set(
        &self,
        unified: bool,
        resources: &LinuxResources,
        rules: &[device::Rule],
    ) -> Result<LinuxResources> {
        let mut bus = connect(self.user)?;
        let version = parse_version(&bus.manager_property("Version")?)?;
        let mut resources = resources.clone();
        let properties = properties(&mut resources, rules, unified, version)?;
        bus.set_unit_properties(&self.unit(), &properties).context("unable to set unit properties")?;
        Ok(resources)
    }

    /// Ends the unit.
    pub(super) fn stop(&self) -> Result<()> {
        let unit = self.unit();
        let mut bus = match connect(self.user) {
            Ok(bus) => bus,
            // The folders can be removed without it, and the unit ends with them.
            Err(error) => {
                log::debug(|| format!("stop of unit {unit}: {error:#}"));
                return Ok(());
            }
        };
        match bus.stop_unit(&unit) {
            Ok(result) if result != "done" => {
                log::warn(&format!("error removing unit `{unit}`: got `{result}`. Continuing..."));
            }
            Err(error) if error.downcast_ref::<Refused>().is_none() => return Err(error),
            // Gone by itself with its last process, most likely.
            _ => {}
        }
        // It is known only if it failed.
        let _ = bus.reset_failed_unit(&unit);
        Ok(())
    }
}

/// What systemd does when the kernel kills a process of the unit for want of memory.
fn oom_policy(group: &str, version: u32) -> Result<Option<Property>> {
    if version < 253 {
        return Ok(None);
    }
    let number: u64 =
        group.parse().with_context(|| "unified resource \"memory.oom.group\" value conversion error".to_owned())?;
    let policy = match number {
        0 => "continue",
        1 => "kill",
        _ => return Ok(None),
    };
    Ok(Some(property("OOMPolicy", Value::Text(policy.to_owned()))))
}

/// A property from an annotation; systemd's `…Sec` is `…USec` on the bus.
fn annotated(name: &str, text: &str) -> Result<Property> {
    let value = parse_value(text)?;
    match name.strip_suffix("Sec") {
        Some(stem) if stem.ends_with(|character: char| character.is_ascii_lowercase()) => {
            let microseconds = match value {
                Value::Byte(value) => u64::from(value) * 1_000_000,
                Value::I16(value) => value as u64 * 1_000_000,
                Value::U16(value) => u64::from(value) * 1_000_000,
                Value::I32(value) => value as u64 * 1_000_000,
                Value::U32(value) => u64::from(value) * 1_000_000,
                Value::I64(value) => (value as u64).wrapping_mul(1_000_000),
                Value::U64(value) => value.wrapping_mul(1_000_000),
                Value::Double(value) => (value * 1e6) as u64,
                _ => bail!("not a number"),
            };
            Ok((format!("{stem}USec"), Value::U64(microseconds)))
        }
        _ => Ok((name.to_owned(), value)),
    }
}

/// Reads GVariant's text form, as far as properties of units have use for it.
fn parse_value(text: &str) -> Result<Value> {
    let text = text.trim();
    let quoted = |text: &str| -> Option<String> {
        let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        Some(text[1..].strip_suffix(quote)?.replace(&format!("\\{quote}"), &quote.to_string()))
    };
    if let Some(text) = quoted(text) {
        return Ok(Value::Text(text));
    }
    if let Some(list) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        let texts: Option<Vec<String>> = items.map(quoted).collect();
        return texts.map(Value::Texts).with_context(|| format!("{text}: only lists of texts are known"));
    }
    let fail = || format!("{text}: not a value");
    Ok(match text.split_once(' ') {
        Some(("byte", number)) => Value::Byte(number.trim().parse().with_context(fail)?),
        Some(("int16", number)) => Value::I16(number.trim().parse().with_context(fail)?),
        Some(("uint16", number)) => Value::U16(number.trim().parse().with_context(fail)?),
        Some(("int32", number)) => Value::I32(number.trim().parse().with_context(fail)?),
        Some(("uint32", number)) => Value::U32(number.trim().parse().with_context(fail)?),
        Some(("int64", number)) => Value::I64(number.trim().parse().with_context(fail)?),
        Some(("uint64", number)) => Value::U64(number.trim().parse().with_context(fail)?),
        Some(("double", number)) => Value::Double(number.trim().parse().with_context(fail)?),
        Some(_) => bail!(fail()),
        None if text == "true" => Value::Bool(true),
        None if text == "false" => Value::Bool(false),
        None if text.contains('.') => Value::Double(text.parse().with_context(fail)?),
        None => Value::I32(text.parse().with_context(fail)?),
    })
}

/// A set as systemd takes it: bytes, the lowest first.
fn bits(name: &str, set: &str) -> Result<Value> {
    let words = parse_set(set).with_context(|| format!("resources.CPU.{name}={set:?} conversion error"))?;
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() {
        bail!("resources.CPU.{name}={set:?} conversion error: empty value");
    }
    Ok(Value::Bytes(bytes))
}

/// What systemd has a name for. The quota is rounded up to what systemd can say.
fn properties(
    resources: &mut LinuxResources,
    rules: &[device::Rule],
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
            // No weight at all is systemd's word for idle.
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
        // systemd does not take zero.
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

/// Adds the limit of CPU time; gives the quota that it really is.
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

/// Adds what of `unified` has a name in systemd, which would write over it otherwise.
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
            // Written beside systemd.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_units_and_paths() {
        let unit = Unit::parse("test-a-b.slice:docker:1234", "id", false).unwrap();
        assert_eq!(unit.unit(), "docker-1234.scope");
        assert_eq!(expand_slice(unit.slice()).unwrap(), "/test.slice/test-a.slice/test-a-b.slice");
        let unit = Unit::parse("", "id", false).unwrap();
        assert_eq!((unit.unit().as_str(), unit.slice()), ("runc-id.scope", "system.slice"));
        assert!(Unit::parse("/a/b", "id", false).is_err());
        for wrong in ["a", ".slice", "a--b.slice", "-a.slice", "a/b.slice"] {
            assert!(expand_slice(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn annotations_are_read_with_their_types() {
        let cases = [
            ("TimeoutStopSec", "uint32 3", ("TimeoutStopUSec", Value::U64(3_000_000))),
            ("CollectMode", "'inactive-or-failed'", ("CollectMode", Value::Text("inactive-or-failed".into()))),
            ("SendSIGHUP", "true", ("SendSIGHUP", Value::Bool(true))),
            (
                "After",
                "['a.service', 'b.service']",
                ("After", Value::Texts(vec!["a.service".into(), "b.service".into()])),
            ),
        ];
        for (name, text, (wanted, value)) in cases {
            assert_eq!(annotated(name, text).unwrap(), (wanted.to_owned(), value), "{name}");
        }
        assert!(annotated("TimeoutStopSec", "'x'").is_err());
    }

    #[test]
    fn what_happens_without_memory_is_said_when_the_unit_starts() {
        let policy = |group: &str, version| oom_policy(group, version).unwrap().map(|(_, value)| value);
        assert_eq!(policy("0", 253), Some(Value::Text("continue".into())));
        assert_eq!(policy("1", 253), Some(Value::Text("kill".into())));
        assert_eq!((policy("2", 253), policy("1", 252)), (None, None));
        assert!(oom_policy("x", 253).is_err());
    }

    #[test]
    fn idle_takes_the_place_of_a_weight() {
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
