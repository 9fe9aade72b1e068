//! The document config.json: parsed as leniently as runc does, then checked for the form that the spec requires.
//!
//! Go's decoder accepts `null` for anything and ignores unknown fields, and engines rely on that. So nulls are dropped, names are
//! normalized (`field`) and runc's defaults are filled in before `oci_spec` sees the document. Where runc only warns, so does this
//! room. It decides nothing about a container, and imports only `kernel`.

pub(crate) mod annotation;
mod document;
pub(crate) mod field;
pub(crate) mod memory_policy;
pub(crate) mod rlimit;
mod seccomp;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use libcontainer::oci_spec::runtime::{Capability, LinuxNamespace, LinuxNamespaceType, Process, Spec};
use serde_json::{Value, json};

use crate::kernel::error::Fails;
use crate::kernel::{beneath, log, security};

/// The version of the runtime spec that run-tool implements.
pub(crate) const SPEC_VERSION: &str = "1.3.0";

/// A list in a document, which may be missing.
pub(crate) trait Items<T> {
    /// The items; none if the list is missing.
    fn items(&self) -> &[T];
}

impl<T> Items<T> for Option<Vec<T>> {
    fn items(&self) -> &[T] {
        self.as_deref().unwrap_or_default()
    }
}

/// A container's list of namespaces (`linux.namespaces`).
pub(crate) trait Namespaces {
    /// The entry for a kind of namespace.
    fn of(&self, kind: LinuxNamespaceType) -> Option<&LinuxNamespace>;

    /// Whether the container has a namespace of this kind, new or joined, and not the caller's.
    fn has(&self, kind: LinuxNamespaceType) -> bool {
        self.of(kind).is_some()
    }

    /// The path of the namespace to join. `None`: a new namespace, or none at all.
    fn path(&self, kind: LinuxNamespaceType) -> Option<&Path> {
        let path = self.of(kind)?.path().as_deref()?;
        (!path.as_os_str().is_empty()).then_some(path)
    }
}

impl Namespaces for [LinuxNamespace] {
    fn of(&self, kind: LinuxNamespaceType) -> Option<&LinuxNamespace> {
        self.iter().find(|namespace| namespace.typ() == kind)
    }
}

/// The namespaces that a configuration lists.
pub(crate) fn namespaces(spec: &Spec) -> &[LinuxNamespace] {
    spec.linux().as_ref().map_or(&[], |linux| linux.namespaces().items())
}

/// Reads `config.json` in the current directory, which is the bundle.
pub(crate) fn load() -> Result<Spec> {
    load_from(Path::new(""))
}

/// Reads the `config.json` of a bundle.
pub(crate) fn load_from(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let text = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("JSON specification file config.json not found")
        }
        result => result.fails(|| format!("open {}", path.display()))?,
    };
    let spec = parse(&text)?;
    check_process(spec.process().as_ref().context("process property must not be empty")?)?;
    let memory = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref()?.memory().as_ref());
    if memory.is_some_and(|memory| memory.kernel().is_some() || memory.kernel_tcp().is_some()) {
        log::warn("Kernel memory settings are ignored and will be removed");
    }
    Ok(spec)
}

/// Parses JSON as Go's decoder does, with runc's message for a text that ends too early.
pub(crate) fn read_json(text: &[u8]) -> Result<Value> {
    field::read(text).map_err(|error| match error.is_eof() {
        true if text.trim_ascii().is_empty() => anyhow::anyhow!("EOF"),
        true => anyhow::anyhow!("unexpected EOF"),
        false => error.into(),
    })
}

/// Parses and checks a `config.json` document.
pub(crate) fn parse(text: &[u8]) -> Result<Spec> {
    let mut document: Value = read_json(text)?;
    if document.is_null() {
        bail!("config cannot be null");
    }
    // A list would be read as the fields of a structure, in their order.
    let Some(spec) = document.as_object_mut() else { bail!("config must be an object") };
    spec.entry("ociVersion").or_insert_with(|| json!(SPEC_VERSION));
    if let Some(process) = document.get_mut("process") {
        complete_process(process)?;
    }
    if let Some(linux) = document.get_mut("linux") {
        complete_linux(linux)?;
    }
    document::configuration(document)
}

/// The fields of a container's `process` that apply to further programs unless their own document sets them.
pub(crate) fn inherited(process: &Process) -> Result<Value> {
    let mut document = serde_json::to_value(process)?;
    if let Some(document) = document.as_object_mut() {
        document.retain(|key, _| INHERITED.contains(&key.as_str()));
    }
    Ok(document)
}

const INHERITED: [&str; 7] =
    ["apparmorProfile", "capabilities", "execCPUAffinity", "ioPriority", "oomScoreAdj", "scheduler", "selinuxLabel"];

/// Reads the process document of `exec --process`. Fields that it does not set are inherited from the container's first process. That
/// matters most for the capabilities: without them the program would have all.
pub(crate) fn load_process(path: &Path, container: Option<&Value>) -> Result<Process> {
    let text = fs::read(path).fails(|| format!("open {}", path.display()))?;
    let mut document: Value = read_json(&text)?;
    if let (Some(document), Some(container)) = (document.as_object_mut(), container.and_then(Value::as_object)) {
        for (key, value) in container {
            document.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    complete_process(&mut document)?;
    let process = document::process(document)?;
    check_process(&process)?;
    Ok(process)
}

/// Fills in runc's defaults, and drops unknown capabilities with runc's warning.
fn complete_process(process: &mut Value) -> Result<()> {
    let Some(process) = process.as_object_mut() else { bail!("process must be an object") };
    process.entry("user").or_insert_with(|| json!({}));
    process.entry("cwd").or_insert_with(|| json!(""));
    let mut unknown = BTreeSet::new();
    if let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) {
        for names in sets.values_mut().filter_map(Value::as_array_mut) {
            names.retain(|name| {
                let Some(name) = name.as_str() else { return true };
                let known = name.strip_prefix("CAP_").is_some_and(|name| Capability::from_str(name).is_ok());
                if !known {
                    unknown.insert(name.to_owned());
                }
                known
            });
        }
    }
    if !unknown.is_empty() {
        let names: Vec<_> = unknown.into_iter().collect();
        log::warn(&format!("ignoring unknown or unavailable capabilities: [{}]", names.join(" ")));
    }
    // oci_spec has other names than the spec.
    let scheduler = process.get_mut("scheduler").and_then(|scheduler| scheduler.get_mut("flags"));
    for flag in scheduler.and_then(Value::as_array_mut).into_iter().flatten() {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = json!("SCHED_RESET_ON_FORK"),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = json!("SCHED_FLAG_D_L_OVERRUN"),
            _ => {}
        }
    }
    for limit in process.get("rlimits").and_then(Value::as_array).into_iter().flatten() {
        let name = limit.get("type").and_then(Value::as_str).unwrap_or_default();
        if rlimit::resource(name).is_none() {
            bail!("wrong rlimit value: {name}");
        }
    }
    Ok(())
}

fn complete_linux(linux: &mut Value) -> Result<()> {
    for namespace in linux.get("namespaces").and_then(Value::as_array).into_iter().flatten() {
        let kind = namespace.get("type").and_then(Value::as_str).unwrap_or_default();
        if !matches!(kind, "pid" | "network" | "mount" | "ipc" | "uts" | "user" | "cgroup" | "time") {
            let path = namespace.get("path").and_then(Value::as_str).unwrap_or_default();
            bail!("namespace {{{kind:?} {path:?}}} does not exist");
        }
    }
    if let Some(policy) = linux.get("memoryPolicy") {
        memory_policy::check(policy)?;
    }
    if let Some(personality) = linux.get("personality") {
        let domain = personality.get("domain").and_then(Value::as_str).unwrap_or_default();
        if !matches!(domain, "LINUX" | "LINUX32") {
            bail!("invalid personality domain {domain}");
        }
    }
    if let Some(profile) = linux.get("seccomp") {
        let missing = |key| profile.get(key).is_none_or(|value| *value == json!("") || *value == json!([]));
        if missing("defaultAction") && missing("syscalls") {
            linux.as_object_mut().map(|linux| linux.remove("seccomp"));
        } else {
            seccomp::check_names(profile)?;
        }
    }
    if let Some(profile) = linux.get_mut("seccomp") {
        seccomp::complete(profile);
    }
    for device in linux.get("devices").and_then(Value::as_array).into_iter().flatten() {
        let kind = device.get("type").map_or(Some(""), Value::as_str);
        if let Some(kind) = kind.filter(|kind| !matches!(*kind, "b" | "c" | "u" | "p")) {
            bail!("invalid device type {kind:?}");
        }
    }
    if let Some(resources) = linux.get_mut("resources").and_then(Value::as_object_mut) {
        // `"pids": {}` sets no limit.
        if resources.get("pids").is_some_and(|pids| pids.get("limit").is_none()) {
            resources.remove("pids");
        }
        for (index, rule) in resources.get("devices").and_then(Value::as_array).into_iter().flatten().enumerate() {
            if rule.get("access").and_then(Value::as_str).is_none_or(str::is_empty) {
                bail!("device access at {index} field cannot be empty");
            }
            let kind = rule.get("type").and_then(Value::as_str).unwrap_or("a");
            if !matches!(kind, "" | "a" | "b" | "c") {
                bail!("invalid cgroup device type {kind:?}");
            }
        }
        for rule in resources.get_mut("devices").and_then(Value::as_array_mut).into_iter().flatten() {
            if rule.get("type").and_then(Value::as_str) == Some("") {
                rule.as_object_mut().map(|rule| rule.remove("type"));
            }
        }
    }
    Ok(())
}

/// Checks a process, the container's own or one for `exec`.
pub(crate) fn check_process(process: &Process) -> Result<()> {
    if process.cwd().as_os_str().is_empty() {
        bail!("Cwd property must not be empty");
    }
    if !process.cwd().is_absolute() {
        bail!("Cwd must be an absolute path");
    }
    if process.args().items().is_empty() {
        bail!("args must not be empty");
    }
    if process.selinux_label().as_ref().is_some_and(|label| !label.is_empty()) && !security::selinux_enabled() {
        bail!("selinux label is specified in config, but selinux is disabled or not supported");
    }
    Ok(())
}

/// The absolute path of the root file system. As the spec requires, it must contain no symlink.
pub(crate) fn rootfs(spec: &Spec, bundle: &Path) -> Result<PathBuf> {
    let root = spec.root().as_ref().context("root must be specified")?;
    let path = beneath::clean(&bundle.join(root.path()));
    fs::metadata(&path).fails(|| format!("invalid rootfs: stat {}", path.display()))?;
    let real = fs::canonicalize(&path).fails(|| format!("invalid rootfs: lstat {}", path.display()))?;
    if real != path {
        bail!("invalid rootfs: not an absolute path, or a symlink");
    }
    Ok(path)
}

/// Converts the name of a sysctl to the form with dots. The first separator shows which of the two forms it has (sysctl.d(5)).
pub(crate) fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(first) if name.as_bytes()[first] == b'/' => name
            .chars()
            .map(|character| match character {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<Spec> {
        parse(text.as_bytes())
    }

    #[test]
    fn null_is_the_same_as_missing() {
        let spec =
            spec(r#"{"process":{"args":["a"],"cwd":"/","rlimits":null,"user":null},"linux":{"namespaces":null}}"#);
        assert_eq!(spec.unwrap().process().as_ref().unwrap().user().uid(), 0);
    }

    #[test]
    fn a_process_without_capabilities_inherits_the_containers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("process.json");
        fs::write(&path, r#"{"args":["a"],"cwd":"/"}"#).unwrap();
        let container = json!({"capabilities": {"bounding": ["CAP_KILL"]}, "oomScoreAdj": 5});
        let process = load_process(&path, Some(&container)).unwrap();
        assert_eq!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 1);
        assert_eq!(process.oom_score_adj(), Some(5));
    }

    #[test]
    fn an_unknown_capability_is_dropped() {
        let text = r#"{"process":{"args":["a"],"cwd":"/","capabilities":{"bounding":["CAP_FLY","CAP_KILL"]}}}"#;
        let spec = spec(text).unwrap();
        let sets = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 1);
    }

    #[test]
    fn a_sysctl_with_slashes_keeps_the_dots_of_an_interface() {
        assert_eq!(dotted("net/ipv4/conf/eno2.100.rp_filter"), "net.ipv4.conf.eno2/100/rp_filter");
        assert_eq!(dotted("net.ipv4.conf.eno2/100.rp_filter"), "net.ipv4.conf.eno2/100.rp_filter");
    }
}
