//! append, config, squash, diff, export, import and index: creating images.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use image_tool::layer::entry::{Entry, Kind, Reader, Writer};
use oci_spec::image::MediaType;
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
fn an_image_is_put_onto_another_base() {
    let work = Work::new();
    work.image("base:1", &[&tar(&[("a", "1"), ("b", "1")])], MediaType::ImageLayerGzip);
    work.image("base:2", &[&tar(&[("a", "2")]), &tar(&[("c", "2")])], MediaType::ImageLayerGzip);
    work.run_with("append images:base:1 - --ref app:1", &tar(&[("app", "own")])).ok();
    let rebase = "rebase --old-base images:base:1 --new-base images:base:2";
    let made = work.run(&format!("{rebase} --ref app:2 images:app:1")).ok();
    assert!(made.starts_with("images:app:2@sha256:"), "{made}");
    assert_eq!(work.run(&format!("{rebase} --ref app:2 images:app:1")).ok(), made);
    work.run("verify images").ok();
    work.run("unpack images:app:2 out").ok();
    let read = |name: &str| fs::read_to_string(work.path("out").join(name)).ok();
    assert_eq!(["a", "b", "c", "app"].map(read), [Some("2".into()), None, Some("2".into()), Some("own".into())]);
    work.run(&format!("{rebase} images:base:2")).fails(1, &["images:base:2", "layer 1 is not that of the old base"]);
    work.run("rebase --old-base images:app:1 --new-base images:base:2 images:base:1").fails(1, &["layer 2", "none"]);
    // The config is the image's own, the history that of both.
    work.run_with("append images:busybox - --ref mine", &tar(&[("app", "own")])).ok();
    let config = |name: &str| -> Value {
        serde_json::from_str(&work.run(&format!("show --config images:{name}")).ok()).unwrap()
    };
    let before = config("mine");
    work.run("rebase --old-base images:busybox --new-base images:base:1 images:mine").ok();
    let (after, base) = (config("mine"), config("base:1"));
    assert_eq!(after["config"], before["config"]);
    let history = |config: &Value| config["history"].as_array().unwrap().clone();
    assert_eq!(history(&after)[..history(&base).len()], history(&base)[..]);
    assert_eq!(history(&after).last(), history(&before).last());
    assert_eq!(history(&after).len(), history(&base).len() + 1);
    // A base may be in another layout.
    let archive = work.run_bytes("save images:base:2", b"").stdout;
    work.run_with("load others", &archive).ok();
    let again = work.run("rebase --old-base images:base:1 --new-base others:base:2 --ref app:2 images:app:1").ok();
    assert_eq!(again, made);
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
    work.run("import http://127.0.0.1:1/x.tar other:x").fails(1, &["a URL is not fetched here (curl -fL URL | "]);
    fs::write(work.path("python:3.8/new"), "new").unwrap();
    fs::remove_file(work.path("python:3.8/bin/sh")).unwrap();
    let change = work.run_bytes("diff flat python:3.8 --exclude nothing", b"").stdout;
    work.run_with("append other:tree -", &change).ok();
    work.run("unpack other:tree changed").ok();
    assert!(work.path("changed/new").exists() && !work.path("changed/bin/sh").exists());

    work.run("config images:busybox --ref arm --set-platform linux/arm64").ok();
    let index = work.run("index create other:multi images:busybox images:arm").ok();
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

#[test]
fn export_and_squash_need_no_rights_and_no_disk_and_give_equal_bytes() {
    let work = Work::new();
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    let mut writer = Writer::new(Vec::new());
    writer.entry(&Entry { mode: 0o700, ..Entry::new("./", Kind::Directory, 0) }).unwrap();
    writer.entry(&Entry::new("dev/null", Kind::Character(1, 3), 0o666)).unwrap();
    let ping = Entry {
        uid: 7,
        xattrs: vec![("security.capability".into(), capability)],
        ..Entry::new("ping", Kind::File, 0o755)
    };
    writer.file(&ping, b"p").unwrap();
    writer.file(&Entry::new("shut", Kind::File, 0), b"s").unwrap();
    let hole = Entry { size: 1 << 40, sparse: Some(vec![(1 << 39, 1)]), ..Entry::new("hole", Kind::File, 0o600) };
    writer.entry(&hole).unwrap();
    writer.write_all(b"x").unwrap();
    let layer = writer.finish().unwrap();
    work.image("all", &[&layer, &tar(&[(".wh.ping2", "")])], MediaType::ImageLayerGzip);
    let read = |archive: &[u8]| {
        let mut reader = Reader::new(archive);
        let mut found = std::collections::BTreeMap::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let mut data = String::new();
            reader.read_to_string(&mut data).unwrap();
            found.insert(entry.path.clone(), (entry, data));
        }
        found
    };
    // As somebody else where that is possible, and with no folder to write to.
    let export = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_image-tool"));
        command.args(["export", "images:all"]).current_dir(work.0.path()).env("TMPDIR", "/nowhere");
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(work.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
            command.uid(65534).gid(65534);
        }
        command.output().unwrap()
    };
    let exported = export();
    assert!(exported.status.success() && exported.stderr.is_empty(), "{}", String::from_utf8_lossy(&exported.stderr));
    let (expected, found) = (read(&layer), read(&exported.stdout));
    for (path, entry) in &expected {
        assert_eq!(found.get(path), Some(entry), "{path:?}");
    }
    assert_eq!(found.len(), expected.len() + 1, "and the folder that no entry names");
    assert_eq!(exported.stdout, export().stdout);
    work.run("squash images:all --ref flat").ok();
    work.run("squash images:all --ref flat2").ok();
    assert_eq!(work.run("show images:flat").ok(), work.run("show images:flat2").ok());
    assert_eq!(work.run_bytes("export images:flat", b"").stdout, exported.stdout);
}

#[test]
fn a_hole_does_not_become_data() {
    let work = Work::new();
    for folder in ["old", "new"] {
        fs::create_dir(work.path(folder)).unwrap();
    }
    let file = fs::File::create(work.path("new/hole")).unwrap();
    file.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", 1 << 30).unwrap();
    let layer = work.run_bytes("diff old new", b"").stdout;
    assert!(layer.len() < 200_000, "{}", layer.len());
    work.run_with("append images:busybox --ref sparse -", &layer).ok();
    work.run("unpack images:sparse out").ok();
    let metadata = fs::metadata(work.path("out/hole")).unwrap();
    assert_eq!(metadata.len(), (1 << 30) + 3);
    assert!(metadata.blocks() * 512 < 1 << 20, "{}", metadata.blocks());
}
