//! The options that limit what is read.

use std::fs;

use oci_spec::image::MediaType;

use crate::work::{Work, tar};

#[test]
fn what_is_larger_than_a_person_allows_is_refused() {
    let work = Work::new();
    let text = "x".repeat(40_000);
    work.image("large", &[&tar(&[("a", &text), ("b", ""), ("c", "")])], MediaType::ImageLayerGzip);
    for command in [
        "verify images:large",
        "unpack images:large out",
        "export -o out.tar images:large",
        "squash images:large",
        "tree images:large",
        "convert images:large",
        "compare images:large images:busybox",
    ] {
        for (limit, said) in [
            ("--max-size 30k", "larger than 30720 bytes"),
            ("--max-entries 2", "more than 2 entries"),
            ("--max-layers 0", "1 layers are more than 0"),
        ] {
            let run = work.run(&format!("{command} {limit}"));
            assert_eq!(run.status, 1, "{command} {limit}");
            assert!(run.stderr.contains(said), "{command} {limit}: {}", run.stderr);
        }
        assert!(!work.path("out").exists() && !work.path("out.tar").exists(), "{command}");
    }
    for command in
        ["verify images:large", "unpack images:large out", "export -o out.tar images:large", "tree images:large"]
    {
        work.run(&format!("{command} --max-size 1M --max-entries 3 --max-layers 1")).ok();
    }
    work.run("verify --max-size x").fails(2, &["not a valid size"]);
}

#[test]
fn an_archive_of_images_has_limits_too() {
    let work = Work::new();
    let archive = work.run_bytes("save images:python:3.8", b"").stdout;
    for (limit, said) in [
        ("--max-size 100", "bytes are more than 100"),
        ("--max-entries 2", "more than 2 files"),
        ("--max-layers 1", "2 layers are more than 1"),
    ] {
        work.run_with(&format!("load new {limit}"), &archive).fails(1, &[said]);
        let index = fs::read_to_string(work.path("new/index.json")).unwrap();
        assert!(!index.contains("python"), "{limit}: {index}");
    }
    work.run_with("load new --max-size 1M --max-entries 50 --max-layers 2", &archive).ok();
}
