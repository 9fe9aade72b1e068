//! list: addresses, tables and templates.

use serde_json::Value;

use crate::work::Work;

#[test]
fn list_prints_addresses_tables_and_templates() {
    let work = Work::new();
    let list = work.run("list images").ok();
    assert_eq!(list.lines().count(), 2);
    assert!(list.starts_with("images:python:3.8@sha256:"), "{list}");
    let table = work.run("list --table images").ok();
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(lines[0], ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    assert_eq!((lines[1][0], lines[1][1], lines[1][2].len()), ("python", "3.8", 12));
    assert!(lines[1][3].ends_with(" years ago"), "{table}");
    assert_eq!(work.run("list images --format {{.Repository}}:{{.Tag}}").ok(), "python:3.8\nbusybox:latest\n");
    assert_eq!(work.run("list images:busybox -q").ok().len(), 13);
    assert!(work.run("list images:python -q --no-trunc").ok().starts_with("sha256:"));
    assert_eq!(work.run("list images -f reference=py* --format {{.Tag}}").ok(), "3.8\n");
    assert_eq!(work.run("list images -f dangling=true").ok(), "");
    let json: Value = serde_json::from_str(work.run("list images --json").ok().lines().next().unwrap()).unwrap();
    assert_eq!(json["annotations"]["org.opencontainers.image.ref.name"], "python:3.8");
    assert_eq!(work.run("list").ok(), "", "a default layout that is not there yet is empty");
    work.run("list nowhere").fails(1, &["nowhere", "no image layout", "registry-tool pull"]);
    work.run("list images --format {{.Nope}}").fails(1, &["template: :1:2: ", "can't evaluate field Nope"]);
    work.run("list images --format {{.Tag").fails(1, &["unclosed action"]);
    work.run("list images -f color=red").fails(2, &["reference=PATTERN"]);
}
