//! Events of containers, in the journal that a bundle names: docker's event documents, one JSON line each.
//!
//! The annotation `org.oci-tools.events` holds the path of the journal. bundle-tool reads it (`bundle-tool events`), and writes to it what
//! happens to bundles. Without the annotation nothing is recorded, as for any bundle of another tool.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::state::State;
use crate::kernel::log;

/// Records what happened to a container. An event that cannot be recorded is lost: the container matters more.
pub(crate) fn record(state: &State, action: &str, more: &[(&str, String)]) {
    append(&state.annotations(), || renamed(state), &state.id, action, more);
}

/// Records what happened to a container that is to be made of these annotations.
pub(crate) fn record_before(annotations: &HashMap<String, String>, id: &str, action: &str) {
    let annotations = annotations.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
    append(&annotations, || None, id, action, &[]);
}

fn append(
    annotations: &Map<String, Value>,
    renamed: impl Fn() -> Option<String>,
    id: &str,
    action: &str,
    more: &[(&str, String)],
) {
    let text = |key: &str| annotations.get(&format!("org.oci-tools.{key}")).and_then(Value::as_str);
    let Some(path) = text("events").filter(|path| path.starts_with('/')) else { return };
    let name = renamed().or_else(|| text("name").map(str::to_owned)).unwrap_or_else(|| id.to_owned());
    let line = document(annotations, &name, action, more, jiff::Timestamp::now());
    // Neither a link nor a pipe that nobody reads can be in the place of the file.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    // One write of a short line to the end of a file is not mixed with others.
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        log::debug(|| format!("record {action} in {path}: {error}"));
    }
}

/// The name that a container has got since it was started, if its bundle has been written since then.
fn renamed(state: &State) -> Option<String> {
    let file = Path::new(state.bundle()?).join("config.json");
    let written = jiff::Timestamp::try_from(std::fs::metadata(&file).ok()?.modified().ok()?).ok()?;
    if written <= state.created.parse().ok()? {
        return None;
    }
    let config: Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
    config.pointer("/annotations/org.oci-tools.name")?.as_str().map(str::to_owned)
}

fn document(
    annotations: &Map<String, Value>,
    name: &str,
    action: &str,
    more: &[(&str, String)],
    now: jiff::Timestamp,
) -> String {
    let text = |key: &str| annotations.get(&format!("org.oci-tools.{key}")).and_then(Value::as_str).unwrap_or_default();
    let mut attributes: Map<String, Value> = serde_json::from_str(text("labels")).unwrap_or_default();
    attributes.insert("image".into(), text("image").into());
    attributes.insert("name".into(), name.into());
    attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.as_str().into())));
    let event = json!({
        "status": action, "id": text("id"), "from": text("image"), "Type": "container", "Action": action,
        "Actor": {"ID": text("id"), "Attributes": attributes},
        "scope": "local", "time": now.as_second(), "timeNano": i64::try_from(now.as_nanosecond()).unwrap_or_default(),
    });
    event.to_string() + "\n"
}

/// A further program in a container, of docker exec or of a health check, for the journal.
pub(crate) struct Call<'a> {
    state: &'a State,
    command: String,
    id: String,
}

impl<'a> Call<'a> {
    /// Records that it is to be made, with these words.
    pub(crate) fn of(state: &'a State, words: &[String]) -> Self {
        let call = Self { state, command: words.join(" "), id: random_id() };
        call.record("create");
        call
    }

    fn record(&self, action: &str) {
        record(self.state, &format!("exec_{action}: {}", self.command), &[("execID", self.id.clone())]);
    }

    /// Records that the program runs.
    pub(crate) fn started(&self) {
        self.record("start");
    }

    /// Records its end.
    pub(crate) fn ended(&self, status: i32) {
        let more = [("execID", self.id.clone()), ("exitCode", status.to_string())];
        record(self.state, "exec_die", &more);
    }
}

/// An id as docker has them: 64 hexadecimal digits.
fn random_id() -> String {
    // Each is made with keys of its own; the first are the kernel's.
    let number = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    (0..4).map(|_| format!("{:016x}", number())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_dockers_document_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("events.jsonl");
        let mut state = State { id: "web".into(), ..State::default() };
        record(&state, "start", &[]);
        assert!(!journal.exists());
        state.config.labels = vec![
            format!("org.oci-tools.events={}", journal.display()),
            "org.oci-tools.id=abc".into(),
            "org.oci-tools.image=bb:1".into(),
            "org.oci-tools.labels={\"a\":\"b\"}".into(),
        ];
        record(&state, "start", &[]);
        record(&state, "die", &[("exitCode", "3".into())]);
        let text = std::fs::read_to_string(&journal).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["Action"], &lines[0]["id"], &lines[0]["from"]),
            (&json!("start"), &json!("abc"), &json!("bb:1"))
        );
        let attributes = &lines[1]["Actor"]["Attributes"];
        assert_eq!(attributes, &json!({"a": "b", "exitCode": "3", "image": "bb:1", "name": "web"}));
    }
}
