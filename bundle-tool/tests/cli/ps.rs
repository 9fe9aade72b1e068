//! ps.

use serde_json::json;

use crate::work::Work;

#[test]
fn ps_joins_bundles_with_a_runtimes_list() {
    let work = Work::new();
    let path = work
        .run("create --network none --name eager_wilson images:python:3.8 python /docker_test/hello.py")
        .ok()
        .to_owned();
    let state = |status: &str| {
        json!([{"id": "eager_wilson", "pid": 7, "status": status, "bundle": path, "created": "2026-01-01T00:00:00Z", "exitStatus": 137, "exitTime": "2026-01-01T00:00:00Z"}]).to_string()
    };
    let table = work.run_with("ps", state("running").as_bytes()).ok().to_owned();
    let lines: Vec<&str> = table.lines().collect();
    let headings: Vec<&str> = lines[0].split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(headings, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    let cells: Vec<&str> = lines[1].split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(
        (cells[1], cells[2], cells[5], cells[6]),
        ("python:3.8", "\"python /docker_test…\"", "8888/tcp", "eager_wilson")
    );
    assert!(cells[3].ends_with(" ago") && cells[4].starts_with("Up "));
    let id = work.run("find --id eager_wilson").ok().to_owned();
    assert_eq!(work.run_with("ps -q", state("running").as_bytes()).ok(), &id[..12]);
    assert_eq!(work.run_with("ps -q", state("stopped").as_bytes()).ok(), "");
    assert!(work.run_with("ps -a", state("stopped").as_bytes()).ok().contains("Exited (137)"));
    assert!(work.run_with("ps --all", b"null").ok().contains("Created"));
    let format = ["ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.ID}}", "--filter", "label=from=image"];
    assert_eq!(work.words(&format, b"[]").ok(), format!("eager_wilson {id}"));
    assert_eq!(work.run_with("ps -aq --filter name=other", b"[]").ok(), "");
    work.run("ps").fails(1, &["standard input is empty", "run-tool list --format json"]);
    work.run_with("ps", b"{").fails(1, &["not a runtime's list"]);
    work.run("delete eager_wilson").ok();
}
