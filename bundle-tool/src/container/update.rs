//! Limits and the restart policy of a container that exists already.

use serde_json::{Map, Value};

use super::Error;
use crate::bundle::{self, Bundle, annotation};
use crate::config;
use crate::option::limit::{Host, Limits};

/// Changes config.json: the limits that are given, and the restart policy, of which an inner `None` means none. Returns the limits that were
/// given, as `linux.resources` has them, if any were.
pub fn update(bundle: &Bundle, limits: &Limits, policy: Option<Option<String>>) -> Result<Option<Value>, Error> {
    let asked = limits.resources(&Host::detect())?;
    let mut asked = serde_json::to_value(asked).expect("limits are JSON");
    let mut config = bundle.config().clone();
    prune(&mut asked);
    let is_given = asked.as_object().is_some_and(|asked| !asked.is_empty());
    if is_given {
        let mut all = config["linux"]["resources"].take();
        merge(&mut all, &asked);
        config["linux"]["resources"] = all;
    }
    if let Some(policy) = policy {
        let annotations = config["annotations"].as_object_mut();
        match (annotations, policy) {
            (Some(annotations), Some(policy)) => drop(annotations.insert(annotation::RESTART.into(), policy.into())),
            (Some(annotations), None) => drop(annotations.remove(annotation::RESTART)),
            (None, _) => {}
        }
    }
    bundle::replace(bundle.path(), "config.json", &config::json(&mut config), 0o600)?;
    Ok(is_given.then_some(asked))
}

/// Removes what is null or empty.
fn prune(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object.values_mut().for_each(prune);
        object.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|object| !object.is_empty()));
    }
}

/// Puts the members of `new` in the place of those of `old`.
fn merge(old: &mut Value, new: &Value) {
    let Some(new) = new.as_object() else {
        old.clone_from(new);
        return;
    };
    if !old.is_object() {
        *old = Value::Object(Map::new());
    }
    for (key, value) in new {
        merge(&mut old[key], value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_asked_for_changes() {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({"linux": {"resources": {"memory": {"limit": 1, "swap": 2}, "devices": [1]}}, "annotations": {"a": "b"}});
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let limits = Limits { pids: Some(7), ..Limits::default() };
        let host = Host::detect();
        if !host.allowed {
            return;
        }
        let given = update(&Bundle::open(folder.path()).unwrap(), &limits, Some(Some("always".into()))).unwrap();
        assert_eq!(given, Some(json!({"pids": {"limit": 7}})));
        let changed = Bundle::open(folder.path()).unwrap();
        assert_eq!(
            changed.config()["linux"]["resources"],
            json!({"memory": {"limit": 1, "swap": 2}, "devices": [1], "pids": {"limit": 7}})
        );
        assert_eq!(changed.annotation(annotation::RESTART), Some("always"));
        assert_eq!(update(&changed, &Limits::default(), Some(None)).unwrap(), None);
        assert_eq!(Bundle::open(folder.path()).unwrap().annotation(annotation::RESTART), None);
    }
}
