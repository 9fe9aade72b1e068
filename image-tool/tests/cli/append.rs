//! append, config, squash, diff, export, import and index: creating images.

use std::fs;

use serde_json::{Value, json};

use crate::work::{Work, address, gzip, tar};

#[test]
fn append_makes_a_new_image_of_equal_bytes() {
    let work = Work::new();
    let layer = tar(&[("new", "new")]);
    let before = address(&work, "busybox");
    let first = work.run_with("append images:busybox - --ref mine", &layer).ok();
    assert!(first.starts_with("images:mine@sha256:"), "{first}");
    assert_eq!(work.run_with("append images:busybox - --ref mine", &layer).ok(), first);
    assert_eq!(
        work.run_with("append images:busybox - --ref mine", &gzip(&layer)).ok(),
        first,
        "compressed as we would"
    );
    assert_eq!(address(&work, "busybox"), before);
    let moved = work.run_with("append images:busybox -", &layer).ok();
    assert_eq!(moved, first.replace("mine", "busybox"));
    work.run("unpack images:busybox out").ok();
    assert_eq!(fs::read_to_string(work.path("out/new")).unwrap(), "new");
    let config: Value = serde_json::from_str(&work.run("show --config images:busybox").ok()).unwrap();
    assert_eq!(config["config"]["Healthcheck"]["Test"], json!(["NONE"]), "unknown fields stay");
    assert_eq!(config["history"].as_array().unwrap().len(), 3);
    work.run("verify images").ok();
    work.run("append images:busybox -").fails(1, &["standard input", "empty"]);
    work.run_with("append images:busybox -", b"no tar").fails(1, &["standard input", "middle of an entry"]);
    work.run("append images:busybox nowhere.tar").fails(1, &["nowhere.tar"]);
    assert_eq!(
        work.run_with("append images:busybox -", &[0; 1024]).ok().lines().count(),
        1,
        "a tar of nothing is a layer"
    );
}

#[test]
fn images_are_made_of_images_trees_and_words() {
    let work = Work::new();
    let env = |address: &str| work.run(&format!("inspect -f {{{{.Config.Env}}}} {address}")).ok();
    let printed = work
        .run("config images:python:3.8 --ref mine -e A=1 -e PATH=/sbin --cmd [\"a\",\"b\"] -l k=v --expose 80")
        .ok();
    assert!(printed.starts_with("images:mine@sha256:"), "{printed}");
    assert_eq!((env("images:mine"), env("images:python:3.8")), ("[PATH=/sbin A=1]\n".into(), "[PATH=/bin]\n".into()));
    assert_eq!(
        work.run("config images:python:3.8 --ref mine -e A=1 -e PATH=/sbin --cmd [\"a\",\"b\"] -l k=v --expose 80")
            .ok(),
        printed
    );
    work.run("config images:mine -e nonsense").fails(2, &["nonsense", "--env", "missing name or '='"]);
    work.run("config images:mine --expose 70000").fails(2, &["53/udp"]);

    work.run("squash images:python:3.8 --ref flat").ok();
    let manifest: Value = serde_json::from_str(&work.run("show images:flat").ok()).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    for name in ["python:3.8", "flat"] {
        work.run(&format!("unpack images:{name} {name}")).ok();
        assert!(work.path(name).join("bin/python").exists() && !work.path(name).join("etc/motd").exists(), "{name}");
    }
    assert_eq!(work.run_bytes("diff flat python:3.8", b"").stdout.len(), 1024, "a tar of nothing");

    let tree = work.run_bytes("export images:python:3.8", b"").stdout;
    let printed = work.run_with("import - other:tree -u nobody --entrypoint sh", &tree).ok();
    assert!(printed.starts_with("other:tree@sha256:"), "{printed}");
    assert_eq!(work.run("inspect -f {{.Config.User}}{{.Config.Entrypoint}} other:tree").ok(), "nobody[sh]\n");
    fs::write(work.path("python:3.8/new"), "new").unwrap();
    fs::remove_file(work.path("python:3.8/bin/sh")).unwrap();
    let change = work.run_bytes("diff flat python:3.8 --exclude nothing", b"").stdout;
    work.run_with("append other:tree -", &change).ok();
    work.run("unpack other:tree changed").ok();
    assert!(work.path("changed/new").exists() && !work.path("changed/bin/sh").exists());

    work.run("config images:busybox --ref arm --set-platform linux/arm64").ok();
    let index = work.run("index other:multi images:busybox images:arm").ok();
    let document: Value = serde_json::from_str(&work.run("show other:multi").ok()).unwrap();
    assert_eq!(document["manifests"][1]["platform"], json!({"architecture": "arm64", "os": "linux"}));
    assert_eq!(work.run("verify other:multi").ok(), index);
    assert_eq!(work.run("inspect --platform arm64 -f {{.Architecture}} other:multi").ok(), "arm64\n");
    work.run("show --platform linux/s390x other:multi")
        .fails(1, &["no image for linux/s390x", "linux/amd64, linux/arm64"]);
    let saved = work.run_bytes("save --format oci-archive other:multi", b"").stdout;
    work.run_with("load whole", &saved).ok();
    assert_eq!(work.run("show whole:multi").ok(), work.run("show other:multi").ok(), "with all platforms");
    for layout in ["images", "other", "whole"] {
        work.run(&format!("verify {layout}")).ok();
    }
}
