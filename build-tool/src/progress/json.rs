//! BuildKit's events as lines of JSON: `vertexes`, `logs`, `statuses` and `warnings` of its `SolveStatus`.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image_tool::address::digest;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Event, write};

/// Writes events as JSON.
#[derive(Debug, Default)]
pub(super) struct Json {
    /// The steps under way: their title, and when they began.
    steps: Mutex<HashMap<usize, (String, String)>>,
    /// The digest of the first step.
    first: OnceLock<String>,
}

impl Json {
    pub(super) fn event(&self, number: usize, event: Event<'_>) {
        let now = Timestamp::now().to_string();
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::Start(name) = event {
            steps.insert(number, (name.to_owned(), now.clone()));
        }
        let Some((name, started)) = steps.get(&number) else { return };
        let digest = digest::sha256(format!("{number} {name}").as_bytes()).to_string();
        let _ = self.first.set(digest.clone());
        let vertex = json!({"digest": digest, "name": name, "started": started});
        let ended = |more: Value| {
            let mut vertex = vertex.clone();
            vertex["completed"] = now.clone().into();
            for (key, value) in more.as_object().into_iter().flatten() {
                vertex[key] = value.clone();
            }
            json!({"vertexes": [vertex]})
        };
        let line = match event {
            Event::Start(_) => json!({"vertexes": [vertex]}),
            Event::Output(line) => {
                let data = STANDARD.encode(format!("{line}\n"));
                json!({"logs": [{"vertex": digest, "stream": 1, "data": data, "timestamp": now}]})
            }
            Event::Note(text) => {
                json!({"statuses": [{"id": text, "vertex": digest, "timestamp": now, "started": now, "completed": now}]})
            }
            Event::Cached => ended(json!({"cached": true})),
            Event::Done => ended(json!({})),
            Event::Failed(why) => ended(json!({"error": why})),
        };
        write(&format!("{line}\n"));
    }

    /// A finding of the lint, a `VertexWarning` but for the vertex, which is the first one: the Dockerfile's.
    pub(super) fn finding(&self, mut finding: Value) {
        let first = self.first.get();
        finding["vertex"] = first.map_or_else(String::new, Clone::clone).into();
        write(&format!("{}\n", json!({"warnings": [finding]})));
    }

    pub(super) fn warn(&self, text: &str) {
        let line = json!({"warnings": [{"level": 1, "short": STANDARD.encode(text)}]});
        write(&format!("{line}\n"));
    }
}
