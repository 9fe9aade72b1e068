//! The Container Device Interface: devices by name (`nvidia.com/gpu=all`), described by files in /etc/cdi and /var/run/cdi.
//!
//! A description lists the device nodes, mounts, variables and hooks that a container needs. It comes from the host's administrator and is
//! trusted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use image_tool::show::human;
use oci_spec::runtime::{Hook, Hooks, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, Mount};
use serde::Deserialize;

use super::mounts;
use crate::option::Refused;
use crate::option::device;
use crate::option::environment;

/// The folders of descriptions. The second is for this boot and takes precedence.
pub const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The changes of a container's configuration that devices need.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    pub(crate) env: Vec<String>,
    pub(crate) nodes: Vec<(LinuxDevice, LinuxDeviceCgroup)>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) gids: Vec<u32>,
    hooks: Vec<(String, Hook)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    kind: String,
    #[serde(default)]
    devices: Vec<Named>,
    #[serde(default)]
    container_edits: Raw,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    name: String,
    #[serde(default)]
    container_edits: Raw,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<RawMount>,
    hooks: Vec<RawHook>,
    #[serde(rename = "additionalGids", alias = "additionalGIDs")]
    additional_gids: Vec<u32>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: PathBuf,
    host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMount {
    host_path: PathBuf,
    container_path: PathBuf,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    options: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHook {
    hook_name: String,
    path: PathBuf,
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    timeout: Option<i64>,
}

/// Whether a `--device` is a CDI name: `vendor/class=name`.
pub fn is_name(text: &str) -> bool {
    text.split_once('=').is_some_and(|(kind, name)| !kind.starts_with('/') && kind.contains('/') && !name.is_empty())
}

/// A device that this host describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The full name, `VENDOR/CLASS=NAME`.
    pub name: String,
    /// The annotations of the description and of the device, which takes precedence.
    pub annotations: BTreeMap<String, String>,
}

impl Listed {
    /// `VENDOR/CLASS`.
    pub fn kind(&self) -> &str {
        self.name.split_once('=').map_or(&self.name, |(kind, _)| kind)
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }
}

/// The devices that are described in these folders, by name. Of several descriptions of a device, the last counts, as it does for
/// [`resolve`].
pub fn list(folders: &[PathBuf]) -> Vec<Listed> {
    let mut all = BTreeMap::new();
    for Description { kind, devices, annotations, .. } in read(folders).0 {
        for device in devices {
            let mut annotations = annotations.clone();
            annotations.extend(device.annotations);
            let name = format!("{kind}={}", device.name);
            all.insert(name.clone(), Listed { name, annotations });
        }
    }
    all.into_values().collect()
}

/// The edits for devices of these names, each with the option that asks for it. A description that cannot be read takes only its own devices
/// away.
pub fn resolve(folders: &[PathBuf], names: &[(&'static str, String)]) -> Result<Edits, Refused> {
    let mut edits = Edits::default();
    if names.is_empty() {
        return Ok(edits);
    }
    let (descriptions, broken) = read(folders);
    let (mut used, mut added): (Vec<usize>, Vec<&str>) = (Vec::new(), Vec::new());
    for (option, text) in names {
        if added.contains(&text.as_str()) {
            continue;
        }
        added.push(text);
        let (kind, name) = text
            .split_once('=')
            .ok_or_else(|| Refused::new(option, format!("{text}: not a CDI name (expected VENDOR/CLASS=NAME)")))?;
        // The last description takes precedence.
        let found = descriptions.iter().enumerate().rev().filter(|(_, description)| description.kind == kind);
        let device = found
            .flat_map(|(index, description)| description.devices.iter().map(move |device| (index, device)))
            .find(|(_, device)| device.name == name);
        let Some((index, device)) = device else {
            let places: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            let why: String = broken.iter().map(|error| format!("; {error}")).collect();
            return Err(Refused::new(option, format!("{text}: no CDI description in {}{why}", places.join(" or "))));
        };
        if !used.contains(&index) {
            used.push(index);
            edits.add(&descriptions[index].container_edits, option)?;
        }
        edits.add(&device.container_edits, option)?;
    }
    Ok(edits)
}

/// The descriptions of all folders, and what is wrong with those that cannot be read.
fn read(folders: &[PathBuf]) -> (Vec<Description>, Vec<String>) {
    let (mut descriptions, mut broken) = (Vec::new(), Vec::new());
    for folder in folders {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            // CDI's specification: files with these endings, in either language.
            let parse: fn(&str) -> Result<Description, String> =
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("json") => |text| serde_json::from_str(text).map_err(|error| error.to_string()),
                    Some("yaml" | "yml") => |text| serde_saphyr::from_str(text).map_err(|error| error.to_string()),
                    _ => continue,
                };
            let text = fs::read_to_string(&path).map_err(|error| error.to_string());
            match text.and_then(|text| parse(&text)) {
                Ok(description) => descriptions.push(description),
                Err(error) => {
                    let line = error.lines().next().unwrap_or_default();
                    let error = human::plain(&format!("{}: {line}", path.display()));
                    tracing::warn!("{error}");
                    broken.push(error);
                }
            }
        }
    }
    (descriptions, broken)
}

impl Edits {
    /// Sets variables in addition to those of descriptions.
    pub fn set_variables(&mut self, entries: impl IntoIterator<Item = String>) {
        environment::overlay(&mut self.env, entries);
    }

    fn add(&mut self, raw: &Raw, option: &'static str) -> Result<(), Refused> {
        self.env.extend(raw.env.iter().cloned());
        self.gids.extend(&raw.additional_gids);
        for node in &raw.device_nodes {
            self.nodes.push(node.resolve().map_err(|reason| Refused::new(option, reason))?);
        }
        for raw in &raw.mounts {
            let mut options: Vec<&str> = raw.options.iter().map(String::as_str).collect();
            if !options.iter().any(|option| ["bind", "rbind"].contains(option))
                && raw.kind.as_deref().is_none_or(|kind| kind == "bind")
            {
                options.push("rbind");
            }
            self.mounts.push(mounts::mount(
                &raw.container_path,
                raw.kind.as_deref().unwrap_or("bind"),
                &raw.host_path,
                &options,
            ));
        }
        for raw in &raw.hooks {
            let mut hook = Hook::default();
            hook.set_path(raw.path.clone());
            hook.set_args(raw.args.clone());
            hook.set_env(raw.env.clone());
            hook.set_timeout(raw.timeout);
            self.hooks.push((raw.hook_name.clone(), hook));
        }
        Ok(())
    }

    /// Appends the hooks to existing ones.
    pub(crate) fn add_hooks(&self, hooks: Option<Hooks>) -> Result<Option<Hooks>, Refused> {
        if self.hooks.is_empty() {
            return Ok(hooks);
        }
        let mut all = hooks.unwrap_or_default();
        for (name, hook) in &self.hooks {
            let list = match name.as_str() {
                "prestart" => all.prestart_mut(),
                "createRuntime" => all.create_runtime_mut(),
                "createContainer" => all.create_container_mut(),
                "startContainer" => all.start_container_mut(),
                "poststart" => all.poststart_mut(),
                "poststop" => all.poststop_mut(),
                other => {
                    return Err(Refused::new("--device", format!("a CDI description has an unknown hook {other:?}")));
                }
            };
            list.get_or_insert_default().push(hook.clone());
        }
        Ok(Some(all))
    }
}

impl Node {
    fn resolve(&self) -> Result<(LinuxDevice, LinuxDeviceCgroup), String> {
        let host = self.host_path.as_deref().unwrap_or(&self.path);
        let numbers = match (self.major, self.minor) {
            (Some(major), Some(minor)) => Some((major, minor)),
            _ => None,
        };
        let (kind, (major, minor), mode) = match (self.kind.as_deref(), numbers) {
            (Some(kind), Some(numbers)) => (kind.to_owned(), numbers, None),
            _ => found(host)?,
        };
        let kind = match kind.as_str() {
            "c" | "u" => LinuxDeviceType::C,
            "b" => LinuxDeviceType::B,
            other => {
                return Err(format!("{}: a CDI description has an unknown device type {other:?}", self.path.display()));
            }
        };
        let mut node = LinuxDevice::default();
        node.set_path(self.path.clone());
        node.set_typ(kind);
        node.set_major(major);
        node.set_minor(minor);
        node.set_file_mode(self.file_mode.or(mode));
        node.set_uid(self.uid);
        node.set_gid(self.gid);
        Ok((node, device::allow(kind, Some(major), Some(minor), self.permissions.as_deref().unwrap_or("rwm"))))
    }
}

/// The type, the major and minor number, and the mode of a device.
type Found = (String, (i64, i64), Option<u32>);

/// Looks up a device of the host.
fn found(host: &Path) -> Result<Found, String> {
    let found = fs::metadata(host).map_err(|error| format!("{}: {error}", host.display()))?;
    let kind = match found.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return Err(format!("{}: not a device", host.display())),
    };
    let numbers = (rustix::fs::major(found.rdev()).into(), rustix::fs::minor(found.rdev()).into());
    Ok((kind.into(), numbers, Some(found.mode() & 0o7777)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folder(description: &serde_json::Value) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("vendor.json"), description.to_string()).unwrap();
        let folders = vec![folder.path().to_owned()];
        (folder, folders)
    }

    #[test]
    fn names_are_told_from_paths() {
        assert!(is_name("nvidia.com/gpu=all") && is_name("vendor/class=0"));
        for text in ["/dev/fuse", "/dev/x=y", "gpu=all", "vendor/class=", "vendor/class"] {
            assert!(!is_name(text), "{text}");
        }
    }

    #[test]
    fn a_device_brings_nodes_mounts_variables_and_hooks() {
        let (_held, folders) = folder(&json!({"cdiVersion": "0.6.0", "kind": "vendor.com/hole",
            "containerEdits": {"env": ["ALL=1"]},
            "devices": [{"name": "one", "containerEdits": {
                "deviceNodes": [{"path": "/dev/hole", "hostPath": "/dev/null"}, {"path": "/dev/given", "type": "c", "major": 9, "minor": 8, "permissions": "r"}],
                "mounts": [{"hostPath": "/usr/lib/vendor", "containerPath": "/usr/lib/vendor", "options": ["ro", "nosuid"]}],
                "hooks": [{"hookName": "createContainer", "path": "/usr/bin/vendor-hook", "args": ["vendor-hook", "ldcache"]}],
                "env": ["ONE=1"]}}]}));
        let name = || ("--device", "vendor.com/hole=one".to_owned());
        let edits = resolve(&folders, &[name(), name()]).unwrap();
        assert_eq!(edits.env, ["ALL=1", "ONE=1"], "a device that is named twice is one");
        assert_eq!((edits.nodes[0].0.major(), edits.nodes[0].0.minor()), (1, 3));
        assert_eq!((edits.nodes[1].0.major(), edits.nodes[1].1.access().as_deref()), (9, Some("r")));
        assert_eq!(edits.mounts[0].options().as_ref().unwrap(), &["ro", "nosuid", "rbind"]);
        let hooks = edits.add_hooks(None).unwrap().unwrap();
        assert_eq!(hooks.create_container().as_ref().unwrap().len(), 1);
    }

    #[test]
    fn devices_are_listed_with_what_is_noted_of_them() {
        let (_held, folders) =
            folder(&json!({"cdiVersion": "0.6.0", "kind": "vendor.com/hole", "annotations": {"a": "1", "b": "1"},
            "devices": [{"name": "two", "annotations": {"b": "2"}}, {"name": "one"}]}));
        let listed = list(&folders);
        let names: Vec<(&str, &str, Option<&str>)> =
            listed.iter().map(|device| (device.name.as_str(), device.kind(), device.annotation("b"))).collect();
        assert_eq!(
            names,
            [
                ("vendor.com/hole=one", "vendor.com/hole", Some("1")),
                ("vendor.com/hole=two", "vendor.com/hole", Some("2"))
            ]
        );
    }

    #[test]
    fn a_device_that_nobody_describes_is_refused_with_the_reason() {
        let (held, folders) = folder(&json!({"cdiVersion": "0.6.0", "kind": "vendor.com/hole", "devices": []}));
        let message = |option, name: &str| resolve(&folders, &[(option, name.to_owned())]).unwrap_err().to_string();
        assert!(
            message("--device", "vendor.com/hole=two")
                .starts_with("--device: vendor.com/hole=two: no CDI description in ")
        );
        fs::write(held.path().join("broken.json"), "{").unwrap();
        fs::write(held.path().join("nvidia.yaml"), "kind: [\n").unwrap();
        let message = message("--gpus", "nvidia.com/gpu=all");
        assert!(message.contains("broken.json: ") && message.contains("nvidia.yaml: "), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }

    #[test]
    fn a_broken_description_takes_no_other_away_and_yaml_is_read_as_json_is() {
        let (held, folders) = folder(&json!({"cdiVersion": "0.6.0", "kind": "vendor.com/hole",
            "devices": [{"name": "one", "containerEdits": {"env": ["ONE=1"]}}]}));
        fs::write(held.path().join("a-broken.json"), "{bad").unwrap();
        fs::write(held.path().join("z-broken.yaml"), "\tkind: x").unwrap();
        let yaml = "---\ncdiVersion: 0.5.0\nkind: nvidia.com/gpu\ncontainerEdits:\n  env:\n  - ALL=1\ndevices:\n\
            - name: \"0\"\n  containerEdits:\n    deviceNodes:\n    - path: /dev/hole\n      hostPath: /dev/null\n\
            - name: all\n  containerEdits:\n    mounts:\n    - hostPath: /usr/lib/x\n      containerPath: /usr/lib/x\n\
            \x20     options: [ro, nosuid]\n";
        fs::write(held.path().join("nvidia.yaml"), yaml).unwrap();
        let names = ["vendor.com/hole=one", "nvidia.com/gpu=0", "nvidia.com/gpu=all"];
        let names: Vec<_> = names.iter().map(|name| ("--device", (*name).to_owned())).collect();
        let edits = resolve(&folders, &names).unwrap();
        assert_eq!(edits.env, ["ONE=1", "ALL=1"]);
        assert_eq!((edits.nodes[0].0.path().as_path(), edits.nodes[0].0.minor()), (Path::new("/dev/hole"), 3));
        assert_eq!(edits.mounts[0].options().as_ref().unwrap(), &["ro", "nosuid", "rbind"]);
    }
}
