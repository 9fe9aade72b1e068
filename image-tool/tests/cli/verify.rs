//! verify.

use std::fs;

use image_tool::address::digest;
use oci_spec::image::MediaType;
use serde_json::Value;

use crate::work::{Work, address, tar};

#[test]
fn verify_prints_what_is_sound_and_tells_all_that_is_not() {
    let work = Work::new();
    let list = work.run("list images").ok();
    assert_eq!(work.run("verify images").ok(), list);
    assert_eq!(work.run_with("verify -", list.as_bytes()).ok(), list);
    assert_eq!(work.run("verify images:python:3.8").ok(), address(&work, "python:3.8") + "\n");
    work.run("verify -").fails(1, &["standard input is empty"]);
    let manifest: Value = serde_json::from_str(&work.run("show images:python:3.8").ok()).unwrap();
    let blob = |index: usize| {
        let digest = manifest["layers"][index]["digest"].as_str().unwrap();
        (digest.to_owned(), work.path("images/blobs/sha256").join(&digest[7..]))
    };
    fs::write(blob(0).1, "short").unwrap();
    fs::remove_file(blob(1).1).unwrap();
    let run = work.run_with("verify -", list.as_bytes());
    assert_eq!(run.status, 1);
    assert!(run.stdout.starts_with("images:busybox@") && run.stdout.lines().count() == 1, "{}", run.stdout);
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", run.stderr);
    for (line, (digest, what)) in lines.iter().zip([(blob(0).0, "got 5"), (blob(1).0, "missing")]) {
        let one = run.stderr.contains(&digest) && run.stderr.contains(what);
        assert!(line.starts_with("image-tool: images:python:3.8: ") && one, "{}", run.stderr);
    }
}

#[test]
fn a_wrong_diff_id_is_found() {
    let work = Work::new();
    let layer = tar(&[("a", "a")]);
    let descriptor = work.image("wrong", &[&layer], MediaType::ImageLayerGzip);
    let manifest: Value = serde_json::from_str(&work.run("show images:wrong").ok()).unwrap();
    let config = work
        .run("show --config images:wrong")
        .ok()
        .replace(digest::sha256(&layer).as_ref(), digest::sha256(b"").as_ref());
    let writer = work.layout().writer().unwrap();
    let config = writer.put(MediaType::ImageConfig, config.as_bytes()).unwrap();
    let mut manifest = manifest;
    manifest["config"] = serde_json::to_value(config).unwrap();
    let manifest = writer.put(descriptor.media_type().clone(), manifest.to_string().as_bytes()).unwrap();
    writer.publish(&"wrong".parse().unwrap(), manifest).unwrap();
    drop(writer);
    work.run("verify images:wrong").fails(1, &["images:wrong: layer sha256:", "diff id: expected sha256:e3b0c442"]);
    work.run("unpack images:wrong out").fails(1, &["images:wrong: layer sha256:", "diff id: expected sha256:e3b0c442"]);
    assert!(!work.path("out").exists(), "what is not verified is not kept");
}
