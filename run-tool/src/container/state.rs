//! `state.json`: what is known of a container between two commands, in the keys of runc's own file.
//!
//! The file is replaced as a whole (temporary, rename), so a command that is killed leaves the old or the new state, never a
//! part. A process id counts only together with the time at which the process started: ids are used again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::kernel::error::Fails;
use crate::kernel::file;
use crate::kernel::syscall::Pid;

/// The name of the file.
pub(crate) const FILE: &str = "state.json";

/// A container as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// The container's name.
    pub(crate) id: String,
    /// Its first process, in the caller's PID namespace.
    pub(crate) init_process_pid: Pid,
    /// When that process started, in clock ticks since boot.
    pub(crate) init_process_start: u64,
    /// When the container was made (RFC 3339).
    pub(crate) created: String,
    /// How it was configured.
    pub(crate) config: Config,
    /// Whether it was made by a user other than root.
    pub(crate) rootless: bool,
    /// Its control groups.
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) cgroup_paths: BTreeMap<String, PathBuf>,
    /// Its namespaces.
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) namespace_paths: BTreeMap<String, PathBuf>,
    /// What its standard streams were.
    pub(crate) external_descriptors: Option<Vec<String>>,
    /// Its Intel RDT groups.
    #[serde(flatten)]
    pub(crate) rdt: crate::cgroup::rdt::Groups,
    /// Where its output is kept, for a container with a supervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<super::output::Settings>,
}

/// The part of the configuration that later commands need.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Config {
    /// The root file system on the host.
    pub(crate) rootfs: PathBuf,
    /// The namespaces, as runc names them.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) namespaces: Vec<Namespace>,
    /// `key=value` of each annotation, and `bundle=PATH`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) labels: Vec<String>,
    /// The version of the runtime spec.
    pub(crate) version: String,
    /// `--no-new-keyring`.
    #[serde(default)]
    pub(crate) no_new_keyring: bool,
    /// Made by a user other than root.
    #[serde(default)]
    pub(crate) rootless_euid: bool,
    /// Missing rights over control groups are no error.
    #[serde(default)]
    pub(crate) rootless_cgroups: bool,
    /// The unit, where systemd manages the groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cgroups: Option<crate::cgroup::systemd::Unit>,
    /// `process.user.umask`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) umask: Option<u32>,
    /// The limits, as config.json and later updates say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resources: Option<Value>,
    /// `linux.intelRdt`, as later updates say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) intel_rdt: Option<crate::cgroup::rdt::Config>,
    /// The hooks that run when the container is deleted or started.
    #[serde(default, rename = "Hooks", skip_serializing_if = "Option::is_none")]
    pub(crate) hooks: Option<Value>,
    /// What exec needs of `linux.seccomp`; the compiled filter lies beside this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seccomp: Option<Seccomp>,
    /// `linux.personality.domain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) personality: Option<String>,
    /// `linux.memoryPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_policy: Option<Value>,
    /// What of `process` holds for every program of the container that does not say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<Value>,
    /// Whether the container's user namespace maps ids.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) uid_mappings: Vec<Mapping>,
    /// See `uid_mappings`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) gid_mappings: Vec<Mapping>,
}

/// A namespace in runc's words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Namespace {
    /// `NEWPID` and so on.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The joined namespace, or nothing.
    #[serde(default)]
    pub(crate) path: PathBuf,
}

/// A range of mapped ids.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Mapping {
    /// First id inside.
    pub(crate) container_id: u32,
    /// First id outside.
    pub(crate) host_id: u32,
    /// How many.
    pub(crate) size: u32,
}

/// How the container's seccomp filter is installed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seccomp {
    /// `SECCOMP_FILTER_FLAG_*`.
    #[serde(default)]
    pub(crate) flag_bits: u64,
    /// The agent that gets the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener_path: Option<PathBuf>,
    /// What the agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener_metadata: Option<String>,
}

/// runc writes an empty list as `null`; the containers that it started are managed here too.
fn null_is_default<'a, D: Deserializer<'a>, T: Deserialize<'a> + Default>(from: D) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl State {
    /// The bundle's path.
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

    /// Whether the container's namespace of a kind (`NEWPID`) is one made for it.
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

    /// Reads the state in a container's folder. `None`: there is no such container.
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

    /// Replaces the state in a container's folder.
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec(self)?;
        file::replace(&folder.join(FILE), &text)
    }
}

/// Checks a container's name: it becomes the name of a folder and of control groups.
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
    fn names_that_could_leave_the_folder_are_refused() {
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
