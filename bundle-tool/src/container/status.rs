//! Containers as they are: bundles joined with a runtime's list of containers.
//!
//! The list is that of runc and compatible runtimes (`list --format json`): an array of states, or `null` for none. run-tool adds what
//! it knows in addition: how a container ended, its health, and how often it was restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image_tool::address::name;
use image_tool::error::During as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::bundle::{self, Used, annotation};
use crate::network::Plan;

/// An entry of a runtime's list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The id for the runtime, which is the container's name.
    pub id: String,
    /// The init process; 0 if it has ended.
    #[serde(default)]
    pub pid: i32,
    /// The state: `creating`, `created`, `running`, `paused` or `stopped`.
    pub status: String,
    /// The path of the bundle; empty if unknown.
    #[serde(default)]
    pub bundle: PathBuf,
    /// When the container was created (RFC 3339); empty if unknown.
    #[serde(default)]
    pub created: String,
    /// The annotations of config.json when it was created.
    #[serde(default)]
    pub annotations: BTreeMap<String, Value>,
    /// The exit status of the program; absent while it runs, or if unknown.
    #[serde(default)]
    pub exit_status: Option<i32>,
    /// When the program ended (RFC 3339); absent while it runs, or if unknown.
    #[serde(default)]
    pub exit_time: Option<String>,
    /// When it ended before it was started again (RFC 3339); absent if it does not run or has not run before.
    #[serde(default)]
    pub earlier_exit_time: Option<String>,
    /// Whether the kernel killed a process of it for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// The result of the health checks: `starting`, `healthy` or `unhealthy`; absent without a check.
    #[serde(default)]
    pub health: Option<String>,
    /// The results of the last health checks, as docker's `State.Health` object; absent without one.
    #[serde(default)]
    pub health_checks: Option<Value>,
    /// How often the supervisor has restarted the container.
    #[serde(default)]
    pub restart_count: u32,
    /// Whether the supervisor is about to restart it.
    #[serde(default)]
    pub restarting: bool,
}

/// Parses a runtime's list.
pub fn read_list(json: &[u8]) -> Result<Vec<State>, serde_json::Error> {
    Ok(serde_json::from_slice::<Option<Vec<State>>>(json)?.unwrap_or_default())
}

/// A mount of config.json.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Mount {
    /// The path in the container.
    pub destination: String,
    /// The type of the file system; `bind` for a part of the host's.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The path on the host, or the device.
    #[serde(default)]
    pub source: String,
    /// The options.
    #[serde(default)]
    pub options: Vec<String>,
}

/// The part of a bundle's config.json that lists show. The rest, which is much longer, is passed over.
#[derive(Clone, Debug, Default, Deserialize)]
struct Brief {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    mounts: Vec<Mount>,
}

/// A container, of which a bundle, a state, or both are known.
#[derive(Clone, Debug)]
pub struct Container {
    /// The folder of the bundle; absent if it cannot be read.
    bundle: Option<PathBuf>,
    brief: Brief,
    state: Option<State>,
}

/// Reads the bundle at `path`, if it is one.
fn brief(path: &Path) -> Option<Brief> {
    serde_json::from_slice(&fs::read(path.join("config.json")).ok()?).ok()
}

/// Joins the bundles of a folder with a runtime's list, newest first.
pub fn join(bundles: &Path, states: Vec<State>) -> Result<Vec<Container>, bundle::Error> {
    let canonical = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut by_path: BTreeMap<PathBuf, State> = BTreeMap::new();
    let mut rest = Vec::new();
    for state in states {
        match by_path.entry(canonical(&state.bundle)) {
            std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(state)),
            // Of two containers of one bundle, the second is listed without it.
            std::collections::btree_map::Entry::Occupied(_) => rest.push(state),
        }
    }
    let mut seen = BTreeSet::new();
    let entries = match fs::read_dir(bundles) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Err(error).during("read", bundles)?,
    };
    let mut all: Vec<Container> = Vec::new();
    for entry in entries.into_iter().flatten().flatten() {
        let path = entry.path();
        // A bundle that is elsewhere is a link, and of one here its name may be a link as well.
        let path = fs::read_link(&path).unwrap_or(path);
        if !seen.insert(path.clone()) {
            continue;
        }
        if let Some(brief) = brief(&path) {
            let state = by_path.remove(&canonical(&path));
            all.push(Container { bundle: Some(path), brief, state });
        }
    }
    // Bundles of other tools, or without a name in this folder.
    rest.extend(by_path.into_values());
    all.extend(rest.into_iter().map(|state| {
        let brief = brief(&state.bundle);
        let bundle = brief.is_some().then(|| state.bundle.clone());
        // What the runtime has kept of a bundle that is gone: the name, the image and the like.
        let kept = || {
            let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
            Brief { annotations: state.annotations.iter().filter_map(text).collect(), mounts: Vec::new() }
        };
        Container { bundle, brief: brief.unwrap_or_else(kept), state: Some(state) }
    }));
    all.sort_by_key(|container| (std::cmp::Reverse(container.created()), container.name()));
    Ok(all)
}

impl Container {
    /// The value of an annotation of config.json.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.brief.annotations.get(key).map(String::as_str)
    }

    /// The folder of the bundle; absent if it cannot be read.
    pub fn bundle(&self) -> Option<&Path> {
        self.bundle.as_deref()
    }

    /// What the runtime says; absent if it does not know the container.
    pub fn runtime(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// The mounts of config.json.
    pub fn mounts(&self) -> &[Mount] {
        &self.brief.mounts
    }

    /// When the container was created; absent if unknown.
    pub fn created(&self) -> Option<Timestamp> {
        let own = self.annotation(annotation::CREATED).and_then(|text| text.parse().ok());
        own.or_else(|| self.state.as_ref()?.created.parse().ok())
    }

    /// The 64-digit id; the runtime's id if another tool made the bundle.
    pub fn id(&self) -> String {
        let runtime = || self.state.as_ref().map(|state| state.id.clone()).unwrap_or_default();
        self.annotation(annotation::ID).map_or_else(runtime, str::to_owned)
    }

    /// The name of the container.
    pub fn name(&self) -> String {
        let folder = || Some(self.bundle.as_ref()?.file_name()?.to_string_lossy().into_owned());
        let own = || self.annotation(annotation::NAME).filter(|name| bundle::name::is_name(name)).map(str::to_owned);
        let runtime = self.state.as_ref().map(|state| state.id.clone());
        // Of docker's containers the runtime knows the id only.
        let dockers = self.annotation(annotation::RUNTIME_ID).and_then(|_| own());
        dockers.or(runtime).or_else(own).or_else(folder).unwrap_or_default()
    }

    /// Whether a word is its name, its id or the first digits of its id.
    pub fn is(&self, word: &str) -> bool {
        let word = word.strip_prefix('/').unwrap_or(word);
        self.name() == word || (!word.is_empty() && self.id().starts_with(word))
    }

    /// Docker's word for the state.
    pub fn state(&self) -> &str {
        match self.state.as_ref() {
            None => "created",
            Some(state) if state.restarting => "restarting",
            Some(state) => match state.status.as_str() {
                "creating" => "created",
                "stopped" => "exited",
                other => other,
            },
        }
    }

    /// Whether docker ps lists it without `--all`.
    pub fn is_up(&self) -> bool {
        ["running", "paused", "restarting"].contains(&self.state())
    }

    /// docker's word for its health: `none` without a check.
    pub fn health(&self) -> &str {
        let known = |text: &&str| ["starting", "healthy", "unhealthy"].contains(text);
        self.state.as_ref().and_then(|state| state.health.as_deref()).filter(known).unwrap_or("none")
    }

    /// The labels of image and options together.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.json(annotation::LABELS).unwrap_or_default()
    }

    /// The program and its arguments.
    pub fn command(&self) -> Vec<String> {
        self.json(annotation::COMMAND).unwrap_or_default()
    }

    /// The network that hooks set up; absent without one.
    pub fn plan(&self) -> Option<Plan> {
        self.json(annotation::NETWORK)
    }

    /// The volumes that it uses.
    pub fn volumes(&self) -> Vec<Used> {
        self.json(annotation::VOLUMES).unwrap_or_default()
    }

    /// The value of an annotation that is JSON; absent if it is not valid.
    pub fn json<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.annotation(key)?).ok()
    }

    /// Whether its image has that name or digest.
    pub fn is_of(&self, image: &str) -> bool {
        let hex = image.strip_prefix("sha256:").unwrap_or(image);
        let begins = |key: &str| {
            let digest = self.annotation(key).unwrap_or_default();
            hex.len() >= 4 && digest.strip_prefix("sha256:").is_some_and(|own| own.starts_with(hex))
        };
        let named = |own: &str| {
            let (name, digest) = own.split_once('@').map_or((own, None), |(name, digest)| (name, Some(digest)));
            match image.split_once('@') {
                Some((wanted, wanted_digest)) => {
                    let digest = digest.or(self.annotation(annotation::DIGEST));
                    name::equal(name, wanted) && digest == Some(wanted_digest)
                }
                None => name::equal(name, image),
            }
        };
        self.annotation(annotation::IMAGE).is_some_and(named)
            || begins(annotation::DIGEST)
            || begins(annotation::IMAGE_ID)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bundle(folder: &Path, name: &str, created: &str) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(&path).unwrap();
        let config = json!({"annotations": {
            "org.oci-tools.name": name, "org.oci-tools.id": format!("{name:0<64}"), "org.oci-tools.created": created,
            "org.oci-tools.image": "python:3.8", "org.oci-tools.ports": "0.0.0.0:5000->5000/tcp",
            "org.oci-tools.command": r#"["python","/docker_test/hello.py"]"#, "org.oci-tools.labels": r#"{"a":"1"}"#,
        }});
        fs::write(path.join("config.json"), config.to_string()).unwrap();
        path
    }

    fn state(id: &str, status: &str, path: &Path) -> Value {
        json!({"ociVersion": "1.0.2", "id": id, "pid": 7, "status": status, "bundle": path, "created": "2026-01-01T00:00:01.5Z", "owner": "root"})
    }

    #[test]
    fn a_bundle_is_joined_with_its_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = bundle(folder.path(), "eager_wilson", "2026-01-01T00:00:00Z");
        let list = json!([state("eager_wilson", "running", &path)]).to_string();
        let all = join(folder.path(), read_list(list.as_bytes()).unwrap()).unwrap();
        let container = &all[0];
        assert_eq!((container.name().as_str(), container.state()), ("eager_wilson", "running"));
        assert_eq!(container.command(), ["python", "/docker_test/hello.py"]);
        assert_eq!(container.labels()["a"], "1");
        assert!(container.is("eager_wilson") && container.is("/eager_wilson") && container.is(&container.id()[..4]));
        assert!(!container.is("") && !container.is("eager_wilsons"));
        assert!(all[0].is_of("docker.io/library/python:3.8") && !all[0].is_of("python:3.9"));
    }

    #[test]
    fn of_a_bundle_that_is_gone_there_is_what_the_runtime_has_kept() {
        let folder = tempfile::tempdir().unwrap();
        let id = "a".repeat(64);
        let mut gone = state(&id, "stopped", &folder.path().join(&id));
        gone["annotations"] = json!({
            "org.oci-tools.name": "web", "org.oci-tools.id": id, "org.oci-tools.runtime-id": id,
            "org.oci-tools.image": "bb:1", "other": 1,
        });
        let all = join(folder.path(), read_list(json!([gone]).to_string().as_bytes()).unwrap()).unwrap();
        assert_eq!((all[0].name(), all[0].id()), ("web".to_owned(), id));
        assert!(all[0].is_of("bb:1") && all[0].bundle().is_none());
    }

    #[test]
    fn what_does_not_run_is_created_or_exited() {
        let folder = tempfile::tempdir().unwrap();
        let older = bundle(folder.path(), "older", "2026-01-01T00:00:00Z");
        bundle(folder.path(), "newer", "2026-01-02T00:00:00Z");
        let mut stopped = state("older", "stopped", &older);
        stopped["exitStatus"] = json!(137);
        stopped["exitTime"] = json!("2026-01-03T00:00:00Z");
        let list = json!([stopped, state("foreign", "running", Path::new("/nowhere"))]).to_string();
        let all = join(folder.path(), read_list(list.as_bytes()).unwrap()).unwrap();
        let rows: Vec<(String, String, bool)> =
            all.iter().map(|each| (each.name(), each.state().to_owned(), each.is_up())).collect();
        assert_eq!(rows[0], ("newer".into(), "created".into(), false));
        assert_eq!(rows[1], ("foreign".into(), "running".into(), true));
        assert_eq!(rows[2], ("older".into(), "exited".into(), false));
    }

    #[test]
    fn an_empty_list_is_null_too() {
        assert!(read_list(b"null").unwrap().is_empty() && read_list(b"[]").unwrap().is_empty());
        assert!(read_list(b"").is_err() && read_list(b"{}").is_err());
    }
}
