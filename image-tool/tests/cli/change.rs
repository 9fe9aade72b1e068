//! index, config and compare: what is changed of images, and what differs between them.

use oci_spec::image::MediaType;
use serde_json::{Value, json};

use crate::work::{Work, tar};

fn shown(work: &Work, words: &str) -> Value {
    serde_json::from_str(&work.run(&format!("show {words}")).ok()).unwrap()
}

fn platforms(work: &Work, name: &str) -> Vec<String> {
    let index = shown(work, name);
    let entries = index["manifests"].as_array().unwrap();
    entries.iter().map(|entry| entry["platform"]["architecture"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_index_is_changed_entry_by_entry() {
    let work = Work::new();
    for architecture in ["arm64", "s390x"] {
        let words = format!("config --set-platform linux/{architecture} --ref {architecture} images:busybox");
        work.run(&words).ok();
    }
    assert!(work.run("index create images:multi images:busybox images:arm64").ok().starts_with("images:multi@"));
    work.run("index add images:multi images:s390x images:python:3.8").ok();
    assert_eq!(platforms(&work, "images:multi"), ["arm64", "s390x", "amd64"], "python is for busybox's platform");
    work.run("index remove --ref less images:multi linux/arm64").ok();
    assert_eq!(platforms(&work, "images:less"), ["s390x", "amd64"]);
    assert_eq!(platforms(&work, "images:multi").len(), 3, "the old one is left alone");
    let digest = shown(&work, "images:less")["manifests"][1]["digest"].as_str().unwrap().to_owned();
    work.run(&format!("index remove images:less {digest}")).ok();
    assert_eq!(platforms(&work, "images:less"), ["s390x"]);
    work.run("index remove images:less riscv64")
        .fails(1, &["images:less", "no entry for linux/riscv64 (it has linux/s390x)"]);
    work.run("index add images:busybox images:arm64").fails(1, &["images:busybox", "not an index"]);
    work.run("index remove images:less a/b/c/d").fails(2, &["neither a platform nor a digest"]);
    work.run("index annotate -a version=3 --annotation x=y images:multi").ok();
    work.run("index annotate --unset-annotation x images:multi").ok();
    work.run("index annotate -a tested=yes --set-platform linux/arm64/v9 images:multi arm64").ok();
    let index = shown(&work, "images:multi");
    assert_eq!(index["annotations"], json!({"version": "3"}));
    assert_eq!(index["manifests"][0]["annotations"], json!({"tested": "yes"}));
    assert_eq!(index["manifests"][0]["platform"], json!({"os": "linux", "architecture": "arm64", "variant": "v9"}));
    work.run("index annotate images:multi arm64").fails(2, &["--annotation"]);
    work.run("index annotate --set-platform linux/arm64 images:multi").fails(2, &["PLATFORM|DIGEST"]);
    work.run("verify images").ok();
}

#[test]
fn every_field_of_a_config_can_be_set_and_removed() {
    let work = Work::new();
    let config = |name: &str| shown(&work, &format!("--config images:{name}"));
    work.run("config --expose 80 --expose 53/udp --volume /a --volume /b --label x=1 images:busybox").ok();
    work.run("config --unset-expose 80/tcp --unset-volume /b images:busybox").ok();
    let section = config("busybox")["config"].clone();
    assert_eq!((&section["ExposedPorts"], &section["Volumes"]), (&json!({"53/udp": {}}), &json!({"/a": {}})));
    work.run("config --clear expose --clear volume --clear label --clear env --env A=1 images:busybox").ok();
    let section = config("busybox")["config"].clone();
    assert_eq!(section["Env"], json!(["A=1"]));
    for gone in ["ExposedPorts", "Volumes", "Labels"] {
        assert!(section.get(gone).is_none(), "{gone}");
    }
    work.run("config --created 2026-01-31T12:00:00Z --created-by test --message why images:busybox").ok();
    let whole = config("busybox");
    assert_eq!(whole["created"], "2026-01-31T12:00:00Z");
    let step = whole["history"].as_array().unwrap().last().unwrap();
    let expected =
        json!({"created": "2026-01-31T12:00:00Z", "created_by": "test", "comment": "why", "empty_layer": true});
    assert_eq!(*step, expected);
    work.run("config --created 86400 images:busybox").ok();
    assert_eq!(config("busybox")["created"], "1970-01-02T00:00:00Z");
    work.run("config --created soon images:busybox").fails(2, &["not a valid time"]);
    work.run("config -a a=b --annotation c=d images:busybox").ok();
    work.run("config --unset-annotation a images:busybox").ok();
    assert_eq!(shown(&work, "images:busybox")["annotations"], json!({"c": "d"}));
}

#[test]
fn two_images_are_compared_by_files_and_packages() {
    let work = Work::new();
    let status = |version: &str| format!("Package: libc\nStatus: install ok installed\nVersion: {version}\n\n");
    let (old, new) = (status("1"), status("2"));
    let old = tar(&[("same", "1"), ("etc/", ""), ("etc/gone", "x"), ("other", "1"), ("var/lib/dpkg/status", &old)]);
    let top = tar(&[("etc/.wh.gone", ""), ("other", "22"), ("new", "333"), ("var/lib/dpkg/status", &new)]);
    work.image("old", &[&old], MediaType::ImageLayerGzip);
    work.image("new", &[&old, &top], MediaType::ImageLayer);
    let json: Value = serde_json::from_str(&work.run("compare --json images:old images:new").ok()).unwrap();
    let file = |change: &str, path: &str, old: Option<u64>, new: Option<u64>| json!({"change": change, "path": path, "old": old, "new": new});
    let size = status("1").len() as u64;
    let expected = json!([
        file("deleted", "/etc/gone", Some(1), None),
        file("added", "/new", None, Some(3)),
        file("changed", "/other", Some(1), Some(2)),
        file("changed", "/var/lib/dpkg/status", Some(size), Some(size)),
    ]);
    assert_eq!(json["files"], expected);
    assert_eq!(json["packages"], json!([{"change": "changed", "name": "libc", "old": "1", "new": "2"}]));
    assert_eq!(json["new"].as_u64().unwrap() - json["old"].as_u64().unwrap(), 3);
    let text = work.run("compare images:old images:new").ok();
    assert!(text.contains("changed") && text.contains("libc") && text.contains("/etc/gone"), "{text}");
    let same = work.run("compare images:old images:old").ok();
    assert_eq!(same.lines().count(), 1, "{same}");
    work.run("compare images:old images:none").fails(1, &["images:none: no such image"]);
}
