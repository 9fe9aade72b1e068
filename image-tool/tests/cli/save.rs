//! save and load.

use std::fs;
use std::io::{Read as _, Write as _};

use image_tool::address::digest;
use image_tool::layer::entry::{Entry, Kind, Reader, Writer};
use oci_spec::image::MediaType;
use serde_json::json;

use crate::work::{Work, address, gzip, tar};

#[test]
fn archives_go_out_and_come_back() {
    let work = Work::new();
    for (format, names) in
        [("docker-archive", ["python:3.8", "busybox:latest"]), ("oci-archive", ["python:3.8", "busybox:latest"])]
    {
        let saved = work.run_bytes(&format!("save --format {format} images:python:3.8 images:busybox"), b"");
        assert!(saved.status.success());
        assert_eq!(
            saved.stdout,
            work.run_bytes(&format!("save --format {format} images:python:3.8 images:busybox"), b"").stdout
        );
        let run = work.run_with(&format!("load {format}"), &saved.stdout);
        assert_eq!(run.stderr, names.map(|name| format!("Loaded image: {name}\n")).concat());
        let printed = run.ok();
        assert_eq!(work.run_with("verify -", printed.as_bytes()).ok(), printed);
        let digest = |address: String| address.split_once('@').unwrap().1.to_owned();
        let line = printed.lines().next().unwrap();
        assert_eq!(digest(line.to_owned()), digest(address(&work, "python:3.8")), "the same image, not one like it");
        assert!(line.starts_with(&format!("{format}:python:3.8@")));
    }
    for compress in ["gzip", "zstd"] {
        assert_eq!(work.run(&format!("save --compress {compress} -o {compress}.tar images:python:3.8")).ok(), "");
        assert!(
            work.run(&format!("load --quiet -i {compress}.tar home/images:"))
                .ok()
                .starts_with("home/images:python:3.8@")
        );
    }
    work.run("load -i gzip.tar").ok();
    assert!(work.run("list").ok().starts_with(":python:3.8@sha256:"), "the default layout");
    work.run("save images:nope").fails(1, &["images:nope: no such image"]);
    work.run("load -i nowhere.tar x").fails(1, &["nowhere.tar", "No such file"]);
    work.run_with("load x", b"no tar at all").fails(1, &["standard input", "middle of an entry"]);
    work.run_with("load x", &tar(&[("a", "b")])).fails(1, &["no image in the archive", "manifest.json"]);
    work.run_with("load x:name", b"").fails(1, &["name the layout only"]);
}

#[test]
fn an_archive_that_was_cut_leaves_nothing() {
    let work = Work::new();
    let saved = work.run_bytes("save images:python:3.8", b"").stdout;
    for length in [saved.len() - 1024, saved.len() / 2, 600] {
        let run = work.run_with("load cut", &saved[..length]);
        if length < saved.len() - 1024 {
            run.fails(1, &["standard input"]);
            assert_eq!(fs::read_dir(work.path("cut/blobs/sha256")).unwrap().count(), 0, "{length}");
            assert_eq!(work.run("list cut").ok(), "");
        } else {
            run.ok();
            work.run("verify cut").ok();
            fs::remove_dir_all(work.path("cut")).unwrap();
        }
    }
    let mut changed = saved;
    let place = changed.windows(8).rposition(|bytes| bytes == b"\x1f\x8b\x08\0\0\0\0\0").unwrap() + 20;
    changed[place] ^= 1;
    work.run_with("load changed", &changed).fails(1, &["standard input", "expected sha256:"]);
    assert_eq!(work.run("list changed").ok(), "");
}

#[test]
fn docker_archives_of_all_ages_are_read() {
    let work = Work::new();
    let layer = tar(&[("a", "a")]);
    let diff_id = digest::sha256(&layer).to_string();
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id, diff_id]}})
            .to_string();
    let build = |layers: &[(&str, &[u8])], extra: &[(&str, String)], links: &[(&str, &str)]| {
        let mut writer = Writer::new(Vec::new());
        for (path, data) in layers {
            writer.file(&Entry::new(*path, Kind::File, 0o644), data).unwrap();
        }
        for (path, target) in links {
            writer.entry(&Entry::new(*path, Kind::Symlink((*target).into()), 0o777)).unwrap();
        }
        for (path, text) in extra {
            writer.file(&Entry::new(*path, Kind::File, 0o644), text.as_bytes()).unwrap();
        }
        writer.finish().unwrap()
    };
    // docker 1.10 to 24: manifest.json comes last, and equal layers are links. podman and old skopeo compress layers.
    let manifest = json!([{"Config": "c.json", "RepoTags": ["docker.io/library/old:1", "also:2"], "Layers": ["x/layer.tar", "y/layer.tar"]}]).to_string();
    let documents = [("c.json", config), ("manifest.json", manifest)];
    for layer in [layer.clone(), gzip(&layer), zstd::encode_all(&layer[..], 3).unwrap()] {
        let archive = build(&[("x/layer.tar", &layer)], &documents, &[("y/layer.tar", "../x/layer.tar")]);
        let printed = work.run_with("load old", &archive).ok();
        assert!(printed.starts_with("old:old:1@sha256:") && printed.lines().count() == 2, "{printed}");
        work.run("verify old").ok();
    }
    let wrong = build(&[("x/layer.tar", &tar(&[("b", "b")]))], &documents, &[("y/layer.tar", "../x/layer.tar")]);
    work.run_with("load wrong", &wrong).fails(1, &["x/layer.tar", "diff id: expected", &diff_id]);
    let lost = build(&[("x/layer.tar", &layer)], &documents, &[("y/layer.tar", "../../../../etc/passwd")]);
    work.run_with("load wrong", &lost).fails(1, &["y/layer.tar", "not in the archive"]);
    let circle = build(&[], &documents, &[("x/layer.tar", "../y/layer.tar"), ("y/layer.tar", "../x/layer.tar")]);
    work.run_with("load wrong", &circle).fails(1, &["layer.tar", "not in the archive"]);
    // Before 1.10: repositories and a chain of layers.
    let ancient = [
        (
            "top/json",
            json!({"id": "top", "parent": "base", "config": {"Cmd": ["sh"]}, "architecture": "amd64", "os": "linux"})
                .to_string(),
        ),
        ("base/json", json!({"id": "base"}).to_string()),
        ("base/VERSION", "1.0".to_owned()),
        ("repositories", json!({"ancient": {"latest": "top"}}).to_string()),
    ];
    let archive = build(&[("top/layer.tar", &layer), ("base/layer.tar", &layer)], &ancient, &[]);
    assert!(work.run_with("load ancient", &archive).ok().starts_with("ancient:ancient:latest@sha256:"));
    work.run("verify ancient").ok();
    assert_eq!(work.run("inspect ancient -f {{.Config.Cmd}}").ok(), "[sh]\n");
}

/// What becomes of a file of an archive, by its path and data; `None` leaves it out.
type Change<'a> = &'a dyn Fn(&str, Vec<u8>) -> Option<Vec<u8>>;

#[test]
fn archives_are_read_in_every_compression_and_without_what_is_not_needed() {
    let work = Work::new();
    let saved = work.run_bytes("save images:python:3.8", b"").stdout;
    let digest = address(&work, "python:3.8").split_once('@').unwrap().1.to_owned();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&saved).unwrap();
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    xz.write_all(&saved).unwrap();
    let padded = [gzip(&saved), vec![0; 10_000]].concat();
    for (name, archive) in [("bzip2", bzip2.finish().unwrap()), ("xz", xz.finish().unwrap()), ("padded", padded)] {
        assert_eq!(work.run_with(&format!("load {name}"), &archive).ok(), format!("{name}:python:3.8@{digest}\n"));
    }
    // docker 25 lists nothing in the index for an image that was saved by its ID; some write no oci-layout.
    let rewritten = |change: Change| {
        let (mut reader, mut writer) = (Reader::new(&saved[..]), Writer::new(Vec::new()));
        while let Some(entry) = reader.next_entry().unwrap() {
            let mut data = Vec::new();
            reader.read_to_end(&mut data).unwrap();
            if let Some(data) = change(entry.path.to_str().unwrap(), data) {
                writer.file(&Entry { size: 0, ..entry }, &data).unwrap();
            }
        }
        writer.finish().unwrap()
    };
    let by_id = rewritten(&|path, data| {
        Some(match path {
            "index.json" => json!({"schemaVersion": 2, "manifests": null}).to_string().into_bytes(),
            "manifest.json" => {
                let mut manifest: serde_json::Value = serde_json::from_slice(&data).unwrap();
                manifest[0]["RepoTags"] = json!(null);
                manifest.to_string().into_bytes()
            }
            _ => data,
        })
    });
    assert!(work.run_with("load by-id", &by_id).ok().starts_with("by-id@sha256:"));
    work.run("verify by-id").ok();
    let bare = rewritten(&|path, data| (path != "oci-layout").then_some(data));
    assert_eq!(work.run_with("load bare", &bare).ok(), format!("bare:python:3.8@{digest}\n"));
    let empty = rewritten(&|path, data| match path {
        "index.json" => Some(json!({"schemaVersion": 2, "manifests": []}).to_string().into_bytes()),
        "manifest.json" | "repositories" => None,
        _ => Some(data),
    });
    work.run_with("load empty", &empty).fails(1, &["no image in the archive", "index.json", "lists none"]);
}

/// An archive whose large files of zeros are holes.
fn with_holes(archive: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = (Reader::new(archive), Writer::new(Vec::new()));
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).unwrap();
        let end = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let sparse = (end + (1 << 20) < entry.size).then(|| vec![(0, end), (entry.size, 0)]);
        let entry = Entry { sparse, ..entry };
        writer.entry(&entry).unwrap();
        writer.write_all(&data[..entry.stored() as usize]).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn an_archive_with_holes_is_read() {
    let work = Work::new();
    let layer = {
        let mut writer = Writer::new(Vec::new());
        writer.file(&Entry::new("a", Kind::File, 0o644), &vec![0; 3 << 20]).unwrap();
        writer.finish().unwrap()
    };
    work.image("zeros", &[&layer], MediaType::ImageLayer);
    let sparse = with_holes(&work.run_bytes("save images:zeros", b"").stdout);
    assert!(sparse.len() < 1 << 20, "{}", sparse.len());
    let printed = work.run_with("load sparse", &sparse).ok();
    assert_eq!(work.run_with("verify -", printed.as_bytes()).ok(), printed);
    let mut writer = Writer::new(Vec::new());
    let bomb = Entry { size: 1 << 50, sparse: Some(vec![(1 << 50, 0)]), ..Entry::new("layer.tar", Kind::File, 0o644) };
    writer.entry(&bomb).unwrap();
    work.run_with("load sparse", &writer.finish().unwrap()).fails(1, &["layer.tar", "nearly all are holes"]);
}
