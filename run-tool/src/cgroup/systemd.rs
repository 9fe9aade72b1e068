//! The systemd driver: systemd creates a scope, whose groups are the container's. All limits that systemd has a property for are set
//! through systemd, because it writes its own values again when it is reloaded. The others are written to the control files.

mod annotation;
mod bus;
mod device;
mod properties;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use self::annotation::annotated;
use self::bus::{Bus, Refused};
use self::properties::properties;
use self::wire::{Property, Value, property};
use super::device::Rule;
use super::file::{ROOT, is_unified};
use super::v1;
use crate::kernel::log;
use crate::kernel::syscall::Pid;

/// A container's systemd unit, as the state stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unit {
    /// The slice; empty for the default one.
    #[serde(rename = "parent", default)]
    slice: String,
    #[serde(rename = "scope_prefix", default)]
    prefix: String,
    #[serde(default)]
    name: String,
    /// Whether it belongs to the user's own systemd.
    #[serde(rename = "rootless", default)]
    user: bool,
    /// Whether systemd manages it: runc writes this object for every container.
    #[serde(rename = "Systemd", default)]
    pub(crate) systemd: bool,
    /// The annotations `org.systemd.property.*`: names, and values in GVariant's text form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    properties: Vec<(String, String)>,
    /// `memory.oom.group` in `unified`, which systemd accepts only for a new unit.
    #[serde(skip)]
    oom_group: Option<String>,
}

/// Whether the system was booted with systemd (sd_booted(3)).
pub(crate) fn is_running() -> bool {
    std::fs::symlink_metadata("/run/systemd/system").is_ok_and(|metadata| metadata.is_dir())
}

/// Whether a user may have units: systemd delegates groups to users with cgroup v2 alone.
pub(crate) fn serves_users() -> bool {
    is_unified() && is_running()
}

/// Expands a slice to its path: `test-a-b.slice` is in `/test.slice/test-a.slice/test-a-b.slice`.
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

/// The number of a version such as `v252.38-1~deb12u1`.
fn parse_version(text: &str) -> Result<u32> {
    let text = text.trim_start_matches(['"', 'v']);
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().with_context(|| format!("can't parse version {text:?}"))
}

impl Unit {
    /// Parses `linux.cgroupsPath`, which is `slice:prefix:name` here.
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

    /// Takes the limits that systemd must know before it creates the unit.
    pub(crate) fn prepare(&mut self, resources: Option<&LinuxResources>) {
        let unified = resources.and_then(|resources| resources.unified().as_ref());
        self.oom_group = unified.and_then(|unified| unified.get("memory.oom.group")).cloned();
    }

    /// Takes the properties from the annotations `org.systemd.property.*`, and checks them.
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

    /// The folders of the unit's groups by controller, and the hierarchies of cgroup v1.
    pub(crate) fn paths(&self) -> Result<(BTreeMap<String, PathBuf>, Vec<v1::Hierarchy>)> {
        let mut inner = PathBuf::from(expand_slice(self.slice())?);
        if self.user {
            if !is_unified() {
                bail!("cannot use rootless systemd cgroups manager on cgroup v1");
            }
            let own = connect(true)?.manager_property("ControlGroup")?;
            inner = Path::new(&own).join(inner.strip_prefix("/").unwrap_or(&inner));
        }
        inner.push(self.unit());
        let inner = crate::kernel::beneath::clean(&inner);
        let inner = inner.strip_prefix("/").unwrap_or(&inner);
        if is_unified() {
            return Ok(([(String::new(), Path::new(ROOT).join(inner))].into(), Vec::new()));
        }
        v1::plan(inner, true)
    }

    /// Creates and starts the unit with a process in it.
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
                // An earlier unit of this name has failed and was not reset.
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
                // The error to report is the first one.
                let _ = bus.reset_failed_unit(&unit);
                bail!("error creating systemd unit `{unit}`: got `{other}`")
            }
        }
    }

    /// Moves a process into the unit, or into its sub-cgroup `below`.
    pub(super) fn attach(&self, pid: Pid, below: &str) -> Result<()> {
        let below = format!("/{}", below.trim_start_matches('/'));
        connect(self.user)?.attach_process(&self.unit(), &below, pid as u32)
    }

    /// Passes limits to systemd. Returns those to write to the control files as well: systemd has the CPU quota in whole percents only.
    pub(super) fn set(&self, unified: bool, resources: &LinuxResources, rules: &[Rule]) -> Result<LinuxResources> {
        let mut bus = connect(self.user)?;
        let version = parse_version(&bus.manager_property("Version")?)?;
        let mut resources = resources.clone();
        let properties = properties(&mut resources, rules, unified, version)?;
        bus.set_unit_properties(&self.unit(), &properties).context("unable to set unit properties")?;
        Ok(resources)
    }

    /// Stops the unit.
    pub(super) fn stop(&self) -> Result<()> {
        let unit = self.unit();
        let mut bus = match connect(self.user) {
            Ok(bus) => bus,
            // The folders can be removed without systemd, which then stops the unit.
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
            // Most likely the unit has ended with its last process.
            _ => {}
        }
        // Fails unless the unit has failed.
        let _ = bus.reset_failed_unit(&unit);
        Ok(())
    }
}

/// The property for `memory.oom.group`: what systemd does when a process of the unit is OOM-killed. `None`: systemd is too old.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroups_path_becomes_a_unit_and_its_folders() {
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
    fn the_oom_policy_is_set_when_the_unit_starts() {
        let policy = |group: &str, version| oom_policy(group, version).unwrap().map(|(_, value)| value);
        assert_eq!(policy("0", 253), Some(Value::Text("continue".into())));
        assert_eq!(policy("1", 253), Some(Value::Text("kill".into())));
        assert_eq!((policy("2", 253), policy("1", 252)), (None, None));
        assert!(oom_policy("x", 253).is_err());
    }
}
