//! `state.json`: what run-tool remembers of a container from one command to the next. The keys are those of runc's own file.
//!
//! The file is replaced atomically (temporary file, rename), so a command that is killed leaves the old or the new state, never a
//! part of one. Process ids are reused, so an id is valid only together with the start time of the process.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::kernel::error::Fails;
use crate::kernel::file;
use crate::kernel::syscall::Pid;

/// The name of the state's file in the container's folder.
pub(crate) const FILE: &str = "state.json";

/// A container as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// The id of the container.
    pub(crate) id: String,
    /// Its init process, in the PID namespace of the caller of `create`; 0 before there is one.
    pub(crate) init_process_pid: Pid,
    /// The start time of that process, in clock ticks since boot.
    pub(crate) init_process_start: u64,
    /// The time of the container's creation (RFC 3339).
    pub(crate) created: String,
    /// The part of its configuration that later commands need.
    pub(crate) config: Config,
    /// Whether it was created by a user other than root.
    pub(crate) rootless: bool,
    /// The folder of its control group by controller; the key of cgroup v2 is empty.
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) cgroup_paths: BTreeMap<String, PathBuf>,
    /// The file in `/proc` by kind of namespace (`NEWPID`).
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) namespace_paths: BTreeMap<String, PathBuf>,
    /// What its standard streams were opened from (`/dev/null`, `pipe:[123]`), for criu.
    pub(crate) external_descriptors: Option<Vec<String>>,
    /// Its Intel RDT groups.
    #[serde(flatten)]
    pub(crate) rdt: crate::cgroup::rdt::Groups,
    /// The log settings of a container with a supervisor; `None` for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<super::output::Settings>,
}

/// The part of the configuration that later commands need.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Config {
    /// The path of the root file system on the host.
    pub(crate) rootfs: PathBuf,
    /// The namespaces of the container, new and joined.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) namespaces: Vec<Namespace>,
    /// The annotations as `key=value`, and `bundle=PATH`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) labels: Vec<String>,
    /// The version of the runtime spec (`ociVersion`).
    pub(crate) version: String,
    /// `--no-new-keyring`.
    #[serde(default)]
    pub(crate) no_new_keyring: bool,
    /// Whether the container was created by a user other than root.
    #[serde(default)]
    pub(crate) rootless_euid: bool,
    /// Whether errors of permission on control groups are ignored (`--rootless`).
    #[serde(default)]
    pub(crate) rootless_cgroups: bool,
    /// The unit, if systemd manages the control groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cgroups: Option<crate::cgroup::systemd::Unit>,
    /// `process.user.umask`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) umask: Option<u32>,
    /// `linux.resources`, with later updates merged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resources: Option<Value>,
    /// `linux.intelRdt`, with later updates merged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) intel_rdt: Option<crate::cgroup::rdt::Config>,
    /// `hooks`, for the commands that run some later: `start` and `delete`.
    #[serde(default, rename = "Hooks", skip_serializing_if = "Option::is_none")]
    pub(crate) hooks: Option<Value>,
    /// What `exec` needs of `linux.seccomp`. The compiled filter is in a file beside this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seccomp: Option<Seccomp>,
    /// `linux.personality.domain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) personality: Option<String>,
    /// `linux.memoryPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_policy: Option<Value>,
    /// The part of `process` that `exec --process` inherits where its own document is silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<Value>,
    /// `linux.uidMappings`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) uid_mappings: Vec<Mapping>,
    /// `linux.gidMappings`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) gid_mappings: Vec<Mapping>,
}

/// A namespace of the container, in runc's form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Namespace {
    /// The kind: the clone flag without `CLONE_` (`NEWPID`).
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The path of the namespace that the container joined; empty for a new namespace.
    #[serde(default)]
    pub(crate) path: PathBuf,
}

/// A range of mapped ids.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Mapping {
    /// The first id in the container.
    pub(crate) container_id: u32,
    /// The first id on the host.
    pub(crate) host_id: u32,
    /// The number of ids.
    pub(crate) size: u32,
}

/// How the container's seccomp filter is installed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seccomp {
    /// The `SECCOMP_FILTER_FLAG_*` bits.
    #[serde(default)]
    pub(crate) flag_bits: u64,
    /// The socket of the seccomp agent, which receives the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener_path: Option<PathBuf>,
    /// Opaque data for the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener_metadata: Option<String>,
}

/// Reads `null` as empty: runc writes an empty list so, and run-tool manages containers that runc started.
fn null_is_default<'a, D: Deserializer<'a>, T: Deserialize<'a> + Default>(from: D) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl State {
    /// The absolute path of the bundle, from the labels.
    pub(crate) fn bundle(&self) -> Option<&str> {
        self.config.labels.iter().rev().find_map(|label| label.strip_prefix("bundle="))
    }

    /// The annotations of config.json.
    pub(crate) fn annotations(&self) -> Map<String, Value> {
        self.config
            .labels
            .iter()
            .filter_map(|label| label.split_once('='))
            .filter(|(name, _)| *name != "bundle")
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect()
    }

    /// The value of an annotation of config.json.
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        let mut labels = self.config.labels.iter().filter_map(|label| label.split_once('='));
        labels.find(|(key, _)| *key == name && *key != "bundle").map(|(_, value)| value)
    }

    /// Whether the container's namespace of a kind (`NEWPID`) was made for it, not joined or shared with the host.
    pub(crate) fn has_new_namespace(&self, kind: &str) -> bool {
        self.config.namespaces.iter().any(|namespace| namespace.kind == kind && namespace.path.as_os_str().is_empty())
    }

    /// The document that hooks read on standard input (runtime-spec runtime.md, "State").
    pub(crate) fn for_hooks(&self, status: &str, pid: Pid) -> String {
        let mut document = Map::new();
        document.insert("ociVersion".into(), json!(self.config.version));
        document.insert("id".into(), json!(self.id));
        document.insert("status".into(), json!(status));
        if pid != 0 {
            document.insert("pid".into(), json!(pid));
        }
        document.insert("bundle".into(), json!(self.bundle().unwrap_or_default()));
        let annotations = self.annotations();
        if !annotations.is_empty() {
            document.insert("annotations".into(), Value::Object(annotations));
        }
        Value::Object(document).to_string()
    }

    /// Reads the state from a container's folder. `None`: there is no such container.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(None),
            result => result.fails(|| format!("open {}", path.display()))?,
        };
        let mut state: Self = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        state.config.cgroups = state.config.cgroups.filter(|unit| unit.systemd);
        Ok(Some(state))
    }

    /// Writes the state to a container's folder, atomically.
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec(self)?;
        file::replace(&folder.join(FILE), &text)
    }
}

/// Checks a container id: it becomes the name of a folder and of control groups.
pub(crate) fn check_id(id: &str) -> Result<()> {
    if id.is_empty() {
        bail!("container id cannot be empty");
    }
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if !id.bytes().all(valid) || id == "." || id == ".." {
        bail!("invalid container ID format");
    }
    if id.len() > 1024 {
        bail!("invalid container ID format");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_the_root_are_refused() {
        for id in ["", ".", "..", "a/b", "../x", "a b", "é"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        for id in ["a", "-", "a.b_c+d-1", "..."] {
            assert!(check_id(id).is_ok(), "{id:?}");
        }
    }

    #[test]
    fn a_state_comes_back_as_it_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        assert!(State::load(folder.path()).unwrap().is_none());
        let mut state = State { id: "x".into(), init_process_pid: 7, ..State::default() };
        state.config.labels = vec!["a=b=c".into(), "bundle=/b".into()];
        state.save(folder.path()).unwrap();
        let loaded = State::load(folder.path()).unwrap().unwrap();
        assert_eq!((loaded.id.as_str(), loaded.init_process_pid, loaded.bundle()), ("x", 7, Some("/b")));
        assert_eq!(loaded.annotations()["a"], "b=c");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
