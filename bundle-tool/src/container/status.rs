//! The rows of docker ps: bundles joined with a runtime's list of containers.
//!
//! The list is that of runc and compatible runtimes (`list --format json`): an array of states, or `null` for none. run-tool adds
//! `exitStatus` and `exitTime` if it knows them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use image_tool::address::name;
use image_tool::show::human;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bundle::annotation;
use crate::bundle::{self, Bundle};

/// An entry of a runtime's list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The id for the runtime, which is the container's name.
    pub id: String,
    /// The state: `creating`, `created`, `running`, `paused` or `stopped`.
    pub status: String,
    /// The path of the bundle; empty if unknown.
    #[serde(default)]
    pub bundle: PathBuf,
    /// When the container was created (RFC 3339); empty if unknown.
    #[serde(default)]
    pub created: String,
    /// The exit status of the program; absent while it runs, or if unknown.
    #[serde(default)]
    pub exit_status: Option<i32>,
    /// The result of the health checks: `starting`, `healthy` or `unhealthy`; absent without a check.
    #[serde(default)]
    pub health: Option<String>,
    /// When the program ended (RFC 3339); absent while it runs, or if unknown.
    #[serde(default)]
    pub exit_time: Option<String>,
}

/// Parses a runtime's list.
pub fn read_list(json: &[u8]) -> Result<Vec<State>, serde_json::Error> {
    Ok(serde_json::from_slice::<Option<Vec<State>>>(json)?.unwrap_or_default())
}

/// A container, of which a bundle, a state, or both are known.
#[derive(Clone, Debug)]
pub struct Container {
    bundle: Option<Bundle>,
    state: Option<State>,
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
    let mut all: Vec<Container> = Vec::new();
    for bundle in Bundle::list(bundles)? {
        let state = by_path.remove(&canonical(bundle.path()));
        all.push(Container { bundle: Some(bundle), state });
    }
    // Bundles of other tools, or without a name in this folder.
    rest.extend(by_path.into_values());
    all.extend(
        rest.into_iter().map(|state| Container { bundle: Bundle::open(&state.bundle).ok(), state: Some(state) }),
    );
    all.sort_by_key(|container| std::cmp::Reverse(container.created()));
    Ok(all)
}

impl Container {
    fn annotation(&self, key: &str) -> Option<&str> {
        self.bundle.as_ref()?.annotation(key)
    }

    fn created(&self) -> Option<Timestamp> {
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
        match (&self.state, &self.bundle) {
            (_, Some(bundle)) if bundle.annotation(annotation::NAME).is_some() => bundle.name(),
            (Some(state), _) => state.id.clone(),
            (None, Some(bundle)) => bundle.name(),
            (None, None) => String::new(),
        }
    }

    /// Docker's word for the state.
    pub fn state(&self) -> &str {
        match self.state.as_ref().map(|state| state.status.as_str()) {
            None | Some("creating") => "created",
            Some("stopped") => "exited",
            Some(other) => other,
        }
    }

    /// Whether docker ps lists it without `--all`.
    pub fn is_up(&self) -> bool {
        ["running", "paused"].contains(&self.state())
    }

    /// The labels of image and options together.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.annotation(annotation::LABELS).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    /// Whether its image has that name or digest.
    pub fn is_of(&self, image: &str) -> bool {
        let digest = self.annotation(annotation::DIGEST).unwrap_or_default();
        self.annotation(annotation::IMAGE).is_some_and(|own| name::equal(own, image))
            || digest == image
            || (image.len() >= 4 && digest.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(image)))
    }

    fn status(&self, now: Timestamp) -> String {
        let Some(state) = &self.state else { return "Created".into() };
        let since =
            |text: &str| text.parse::<Timestamp>().map(|time| human::duration(now.as_second() - time.as_second()));
        match state.status.as_str() {
            "running" => {
                let health = match state.health.as_deref() {
                    Some("starting") => " (health: starting)",
                    Some("healthy") => " (healthy)",
                    Some("unhealthy") => " (unhealthy)",
                    _ => "",
                };
                format!("Up {}{health}", since(&state.created).unwrap_or_default())
            }
            "paused" => format!("Up {} (Paused)", since(&state.created).unwrap_or_default()),
            "stopped" => {
                let status = state.exit_status.map(|status| format!(" ({status})")).unwrap_or_default();
                let time = state.exit_time.as_deref().and_then(|text| since(text).ok());
                format!("Exited{status}{}", time.map(|time| format!(" {time} ago")).unwrap_or_default())
            }
            _ => "Created".into(),
        }
    }

    /// The fields of docker's `--format`, with text of an image, a bundle or a runtime as it is.
    pub fn fields(&self, now: Timestamp, truncate: bool) -> Value {
        let short = |text: String, length: usize| if truncate { ellipsis(&text, length) } else { text };
        let words: Vec<String> =
            self.annotation(annotation::COMMAND).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let command = words.join(" ");
        let id: String = if truncate { self.id().chars().take(12).collect() } else { self.id() };
        let plan: Option<crate::network::Plan> =
            self.annotation(annotation::NETWORK).and_then(|json| serde_json::from_str(json).ok());
        let volumes = self.bundle.as_ref().map(Bundle::volumes).unwrap_or_default();
        let labels: Vec<String> = self.labels().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let created = self.created();
        json!({
            "ID": id,
            "Names": self.name(),
            "Image": self.annotation(annotation::IMAGE).unwrap_or_default(),
            "Command": format!("\"{}\"", short(command, 20).replace('\\', "\\\\").replace('"', "\\\"")),
            "CreatedAt": created.map(|time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()).unwrap_or_default(),
            "RunningFor": created.map(|time| human::ago(time, now)).unwrap_or_default(),
            "Status": self.status(now),
            "State": self.state(),
            // Ports lead nowhere while the container does not run.
            "Ports": if self.is_up() { self.annotation(annotation::PORTS).unwrap_or_default() } else { "" },
            "Labels": labels.join(","),
            "Mounts": volumes.into_iter().map(|used| short(used.name, 15)).collect::<Vec<_>>().join(","),
            "Networks": plan.map(|plan| plan.network).unwrap_or_default(),
            "Bundle": self.bundle.as_ref().map(|bundle| bundle.path().display().to_string()).unwrap_or_default(),
        })
    }
}

/// Truncates text to `length` characters, the last of which is then an ellipsis.
fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
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
    fn a_row_reads_as_dockers() {
        let folder = tempfile::tempdir().unwrap();
        let path = bundle(folder.path(), "eager_wilson", "2026-01-01T00:00:00Z");
        let list = json!([state("eager_wilson", "running", &path)]).to_string();
        let all = join(folder.path(), read_list(list.as_bytes()).unwrap()).unwrap();
        let fields = all[0].fields("2026-01-01T00:00:05Z".parse().unwrap(), true);
        let expected = [
            ("ID", "eager_wilson"),
            ("Image", "python:3.8"),
            ("Command", "\"python /docker_test…\""),
            ("RunningFor", "5 seconds ago"),
            ("Status", "Up 4 seconds"),
            ("Ports", "0.0.0.0:5000->5000/tcp"),
            ("Names", "eager_wilson"),
            ("State", "running"),
        ];
        for (field, value) in expected {
            assert_eq!(fields[field], value, "{field}");
        }
        assert!(all[0].is_of("docker.io/library/python:3.8") && !all[0].is_of("python:3.9"));
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
        let now = "2026-01-03T00:05:00Z".parse().unwrap();
        let rows: Vec<(String, String, bool)> = all
            .iter()
            .map(|each| (each.name(), each.fields(now, true)["Status"].as_str().unwrap().to_owned(), each.is_up()))
            .collect();
        assert_eq!(rows[0], ("newer".into(), "Created".into(), false));
        assert_eq!(rows[1].0, "foreign");
        assert_eq!(rows[2], ("older".into(), "Exited (137) 5 minutes ago".into(), false));
    }

    #[test]
    fn the_health_of_what_runs_is_dockers() {
        let folder = tempfile::tempdir().unwrap();
        let path = bundle(folder.path(), "checked", "2026-01-01T00:00:00Z");
        for (health, shown) in [
            ("starting", "Up 4 seconds (health: starting)"),
            ("healthy", "Up 4 seconds (healthy)"),
            ("unhealthy", "Up 4 seconds (unhealthy)"),
            ("\u{1b}[31m", "Up 4 seconds"),
        ] {
            let mut listed = state("checked", "running", &path);
            listed["health"] = json!(health);
            let all = join(folder.path(), read_list(json!([listed]).to_string().as_bytes()).unwrap()).unwrap();
            assert_eq!(all[0].fields("2026-01-01T00:00:05Z".parse().unwrap(), true)["Status"], shown);
        }
    }

    #[test]
    fn an_empty_list_is_null_too() {
        assert!(read_list(b"null").unwrap().is_empty() && read_list(b"[]").unwrap().is_empty());
        assert!(read_list(b"").is_err() && read_list(b"{}").is_err());
    }
}
