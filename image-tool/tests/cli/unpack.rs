//! unpack.

use std::fs;

use crate::work::{Work, address};

#[test]
fn unpack_fills_a_new_or_an_empty_folder() {
    let work = Work::new();
    assert_eq!(work.run("unpack images:python:3.8 out").ok(), "out\n");
    assert_eq!(fs::read_to_string(work.path("out/bin/python")).unwrap(), "python");
    assert!(!work.path("out/etc/motd").exists() && work.path("out/etc").is_dir());
    work.run("unpack images:python:3.8 out").fails(1, &["out: not empty"]);
    fs::create_dir(work.path("empty")).unwrap();
    let address = address(&work, "busybox");
    assert_eq!(work.run_with("unpack - empty", address.as_bytes()).ok(), "empty\n");
    assert_eq!(fs::read_to_string(work.path("empty/etc/motd")).unwrap(), "hello\n");
    work.run("unpack --rootless images:busybox a/b/c").ok();
    assert!(work.path("a/b/c/bin/sh").exists());
    work.run("unpack --uid-map x images:busybox d").fails(1, &["x: not a valid ID map"]);
    let names: Vec<_> = fs::read_dir(work.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{names:?}");
}
