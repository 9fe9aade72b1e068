//! Limits and the restart policy of a container that exists already.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Error;
use crate::bundle::{self, Bundle, annotation};
use crate::config;
use crate::option::Refused;
use crate::option::limit::{Host, Limits};

/// Changes config.json: the limits that are given, for which `inspect` shows the words of their `options`, and the restart policy, of which an
/// inner `None` means none. Returns the limits that were given, as `linux.resources` has them, if any were.
pub fn update(
    bundle: &Bundle,
    limits: &Limits,
    mut options: BTreeMap<String, String>,
    policy: Option<Option<String>>,
) -> Result<Option<Value>, Error> {
    let mut config = bundle.config().clone();
    let host = Host::detect();
    let old = &config["linux"]["resources"]["memory"];
    let mut wanted = limits.clone();
    if wanted.memory_swap.is_some() && wanted.memory.is_none() {
        // Swap includes the memory that the container has already.
        wanted.memory = old["limit"].as_i64().and_then(|limit| limit.to_string().parse().ok());
    }
    let mut asked = serde_json::to_value(wanted.resources(&host)?).expect("limits are JSON");
    if wanted.memory_swap.is_none()
        && let Some(memory) = asked["memory"].as_object_mut()
        && let Some(limit) = memory.get("limit").and_then(Value::as_i64)
    {
        // As in docker, the limit of both stays what it is. A container that has none cannot get one of memory alone.
        memory.remove("swap");
        let both = old["swap"].as_i64().unwrap_or_default();
        if host.swap && both != -1 && limit > both {
            let reason = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time";
            return Err(Refused::new("--memory", reason).into());
        }
        if both != 0 {
            options.insert("memory-swap".into(), both.to_string());
        }
    }
    prune(&mut asked);
    let is_given = asked.as_object().is_some_and(|asked| !asked.is_empty());
    if is_given {
        let mut all = config["linux"]["resources"].take();
        merge(&mut all, &asked);
        config["linux"]["resources"] = all;
    }
    if !options.is_empty() {
        let old = bundle.annotation(annotation::UPDATED).and_then(|text| serde_json::from_str(text).ok());
        let mut all: BTreeMap<String, String> = old.unwrap_or_default();
        all.append(&mut options);
        config["annotations"][annotation::UPDATED] = serde_json::to_string(&all).expect("a map is JSON").into();
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
        let size = |text: &str| text.parse().ok();
        let more = Limits { memory: size("8m"), ..Limits::default() };
        if host.swap {
            let refused =
                update(&Bundle::open(folder.path()).unwrap(), &more, BTreeMap::new(), None).unwrap_err().to_string();
            assert!(refused.ends_with("update the memoryswap at the same time"), "{refused}");
        }
        let given =
            update(&Bundle::open(folder.path()).unwrap(), &limits, BTreeMap::new(), Some(Some("always".into())))
                .unwrap();
        assert_eq!(given, Some(json!({"pids": {"limit": 7}})));
        let changed = Bundle::open(folder.path()).unwrap();
        assert_eq!(
            changed.config()["linux"]["resources"],
            json!({"memory": {"limit": 1, "swap": 2}, "devices": [1], "pids": {"limit": 7}})
        );
        assert_eq!(changed.annotation(annotation::RESTART), Some("always"));
        assert_eq!(update(&changed, &Limits::default(), BTreeMap::new(), Some(None)).unwrap(), None);
        let changed = Bundle::open(folder.path()).unwrap();
        if host.swap {
            let both = Limits { memory_swap: size("20m"), ..more.clone() };
            let given = update(&changed, &both, BTreeMap::new(), None).unwrap();
            assert_eq!(given, Some(json!({"memory": {"limit": 8 << 20, "swap": 20 << 20}})));
            let changed = Bundle::open(folder.path()).unwrap();
            let given =
                update(&changed, &Limits { memory: size("16m"), ..Limits::default() }, BTreeMap::new(), None).unwrap();
            assert_eq!(given, Some(json!({"memory": {"limit": 16 << 20}})), "swap stays");
            let changed = Bundle::open(folder.path()).unwrap();
            let given =
                update(&changed, &Limits { memory_swap: size("18m"), ..Limits::default() }, BTreeMap::new(), None)
                    .unwrap();
            assert_eq!(given, Some(json!({"memory": {"limit": 16 << 20, "swap": 18 << 20}})), "memory is in it");
        }
        assert_eq!(Bundle::open(folder.path()).unwrap().annotation(annotation::RESTART), None);
    }
}
