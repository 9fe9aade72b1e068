//! The direction of the dependencies. Their licences, sources and versions are checked by `cargo deny` (`.deny.toml`).

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use tests::{TOOLS, repository};

fn metadata(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version=1", "--locked"]).args(arguments).current_dir(repository());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The names of a workspace package's dependencies, except those for tests.
fn dependencies(package: &Value) -> BTreeSet<&str> {
    let all = package["dependencies"].as_array().unwrap();
    all.iter().filter(|dependency| dependency["kind"] != "dev").map(|dependency| text(dependency, "name")).collect()
}

#[test]
fn siblings_depend_one_way() {
    let allowed = [
        ("image-tool", &[][..]),
        ("registry-tool", &["image-tool"]),
        ("bundle-tool", &["image-tool"]),
        ("build-tool", &["image-tool", "bundle-tool"]),
        ("run-tool", &[]),
        ("tests", &[]),
    ];
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(packages.len(), allowed.len(), "a package is missing from this test's table");
    for (name, allowed) in allowed {
        let package = packages.iter().find(|package| package["name"] == name).unwrap();
        for dependency in dependencies(package).intersection(&TOOLS.into()) {
            assert!(allowed.contains(dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn only_the_registry_tool_links_an_async_runtime() {
    let metadata = metadata(&[]);
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let id = |name: &str| {
        let packages = metadata["packages"].as_array().unwrap();
        text(packages.iter().find(|package| package["name"] == name).unwrap(), "id")
    };
    for tool in TOOLS.into_iter().filter(|tool| *tool != "registry-tool") {
        let mut seen = BTreeSet::new();
        let mut left = vec![id(tool)];
        while let Some(next) = left.pop() {
            if !seen.insert(next) {
                continue;
            }
            assert!(next != id("tokio"), "{tool} must not link tokio");
            let node = nodes.iter().find(|node| node["id"] == next).unwrap();
            for dependency in node["deps"].as_array().unwrap() {
                let kinds = dependency["dep_kinds"].as_array().unwrap();
                if kinds.iter().any(|kind| kind["kind"].is_null()) {
                    left.push(text(dependency, "pkg"));
                }
            }
        }
    }
}
