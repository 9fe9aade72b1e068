//! show, inspect and history.

use image_tool::address::digest;
use serde_json::{Value, json};

use crate::work::{Work, address};

#[test]
fn show_prints_documents_byte_for_byte() {
    let work = Work::new();
    let address = address(&work, "python:3.8");
    let manifest = work.run("show images:python:3.8").ok();
    assert!(address.ends_with(digest::sha256(manifest.as_bytes()).as_ref()));
    assert_eq!(work.run_with("show -", format!("{address}\n").as_bytes()).ok(), manifest);
    let config = work.run("show --config images:python:3.8").ok();
    let document: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(document["config"]["digest"], digest::sha256(config.as_bytes()).to_string());
    work.run("show -").fails(1, &["standard input is empty"]);
    work.run("show images").fails(1, &["2 images match", "images:python:3.8@", "images:busybox@"]);
    work.run("show images:nope").fails(1, &["images:nope: no such image (registry-tool pull nope images)"]);
    work.run("show images@sha256:123").fails(2, &["not a valid digest"]);
}

#[test]
fn inspect_and_history_read_as_dockers() {
    let work = Work::new();
    let documents: Value = serde_json::from_str(&work.run("inspect images:python:3.8 images:busybox").ok()).unwrap();
    assert_eq!(documents[0]["RepoTags"], json!(["python:3.8"]));
    assert_eq!(documents[0]["Config"]["Cmd"], json!(["sh"]));
    assert_eq!(
        documents[0]["Config"]["Healthcheck"]["Test"],
        json!(["NONE"]),
        "what oci-spec does not know is shown too"
    );
    assert_eq!(documents[1]["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    assert_eq!(work.run("inspect -f {{.Config.Env}} images:busybox").ok(), "[PATH=/bin]\n");
    assert_eq!(work.run("inspect -f {{.Config.Entrypoint}}{{.Config.Labels}} images:busybox").ok(), "[]map[]\n");
    let history = work.run("history images:busybox").ok();
    let lines: Vec<&str> = history.lines().collect();
    assert!(lines[0].starts_with("IMAGE ") && lines[1].contains("CMD sh") && lines[1].contains("0B"), "{history}");
    assert!(lines[2].starts_with("<missing>") && lines[2].contains("ADD base"), "{history}");
    // A history with fewer layers than the image.
    assert_eq!(work.run("history images:python:3.8").ok().lines().count(), 4);
}
