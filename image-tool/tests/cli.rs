//! The command line: what each subcommand prints, its exit status and its errors.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image_tool::address::digest;
use image_tool::layer::entry::{Entry, Kind, Writer};
use image_tool::layer::pack::Gzip;
use image_tool::layout::Layout;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Value, json};

/// A folder in which image-tool runs, with a layout `images` in it.
struct Work(tempfile::TempDir);

/// What a run gave.
struct Run {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Work {
    /// Two images: `python:3.8` of two layers and `busybox` of one of them.
    fn new() -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        let base = tar(&[("bin/", ""), ("bin/sh", "#!"), ("etc/", ""), ("etc/motd", "hello\n")]);
        let top = tar(&[("bin/python", "python"), ("etc/.wh.motd", "")]);
        work.image("python:3.8", &[&base, &top], MediaType::ImageLayerGzip);
        work.image("busybox", &[&base], MediaType::ImageLayer);
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn layout(&self) -> Layout {
        Layout::create(&self.path("images")).unwrap()
    }

    fn image(&self, name: &str, layers: &[&[u8]], media_type: MediaType) -> Descriptor {
        let writer = self.layout().writer().unwrap();
        let blobs: Vec<Descriptor> = layers
            .iter()
            .map(|layer| {
                let bytes = if media_type == MediaType::ImageLayerGzip { gzip(layer) } else { layer.to_vec() };
                writer.put(media_type.clone(), &bytes).unwrap()
            })
            .collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest::sha256(layer).to_string()).collect();
        let config = json!({
            "created": "2020-01-02T03:04:05Z", "architecture": "amd64", "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Healthcheck": {"Test": ["NONE"]}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": "2020-01-02T03:04:05Z", "created_by": "ADD base"}, {"created_by": "CMD sh", "empty_layer": true}],
        });
        let config = writer.put(MediaType::ImageConfig, config.to_string().as_bytes()).unwrap();
        let manifest = json!({"schemaVersion": 2, "mediaType": MediaType::ImageManifest.to_string(), "config": config, "layers": blobs});
        let manifest = writer.put(MediaType::ImageManifest, manifest.to_string().as_bytes()).unwrap();
        writer.publish(&name.parse().unwrap(), manifest.clone()).unwrap();
        manifest
    }

    fn run(&self, words: &str) -> Run {
        self.run_with(words, b"")
    }

    fn run_with(&self, words: &str, input: &[u8]) -> Run {
        let output = self.run_bytes(words, input);
        Run {
            status: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn run_bytes(&self, words: &str, input: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_image-tool"))
            .args(words.split_whitespace())
            .current_dir(self.0.path())
            .env("OCI_HOME", self.path("home"))
            .env_remove("OCI_LAYOUT")
            .env_remove("SOURCE_DATE_EPOCH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A program that ends early does not read to the end.
        let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap();
        output
    }
}

impl Run {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}", self.stderr);
        self.stdout
    }

    /// One line on standard error that holds all of these, and nothing on standard output.
    #[track_caller]
    fn fails(self, status: i32, words: &[&str]) {
        assert_eq!((self.status, self.stdout.as_str()), (status, ""), "{}", self.stderr);
        if status == 1 {
            assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
            assert!(self.stderr.starts_with("image-tool: "), "{}", self.stderr);
        }
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
    }
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, data) in files {
        match path.strip_suffix('/') {
            Some(path) => writer.entry(&Entry::new(path, Kind::Directory, 0o755)).unwrap(),
            None => writer.file(&Entry::new(*path, Kind::File, 0o644), data.as_bytes()).unwrap(),
        }
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Gzip::new(Vec::new());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// The address that a name means now, with its digest.
fn address(work: &Work, name: &str) -> String {
    let list = work.run("list images").ok();
    list.lines().find(|line| line.starts_with(&format!("images:{name}@"))).unwrap().to_owned()
}

fn blobs(work: &Work) -> usize {
    fs::read_dir(work.path("images/blobs/sha256")).unwrap().count()
}

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
    work.run("list images --format {{.Nope}}").fails(1, &["Nope", "Repository"]);
    work.run("list images --format {{.Tag").fails(2, &["{{"]);
    work.run("list images -f color=red").fails(2, &["reference=PATTERN"]);
}

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
    work.run("show images").fails(1, &["2 images fit", "images:python:3.8@", "images:busybox@"]);
    work.run("show images:nope").fails(1, &["images:nope: no such image (registry-tool pull nope images)"]);
    work.run("show images@sha256:123").fails(2, &["not a digest"]);
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
    // A history that tells of fewer layers than there are.
    assert_eq!(work.run("history images:python:3.8").ok().lines().count(), 4);
}

#[test]
fn names_come_and_go_and_blobs_with_gc() {
    let work = Work::new();
    let old = address(&work, "busybox");
    let printed = work.run("tag images:busybox images:mine:1").ok();
    assert_eq!(printed, old.replace("busybox", "mine:1") + "\n");
    work.run("tag images:busybox other:copy").ok();
    assert!(work.run("verify other:copy").ok().starts_with("other:copy@sha256:"));
    let run = work.run("rm images:docker.io/library/busybox:latest");
    assert_eq!((run.status, run.stdout.as_str(), run.stderr.as_str()), (0, "", "Untagged: busybox:latest\n"));
    let id = work.run("list images:mine -q").ok().trim().to_owned();
    work.run("tag images:mine:1 images:again").ok();
    work.run(&format!("rm images:{id}")).fails(1, &["2 names mean this image", "mine:1 again", "--force"]);
    let run = work.run(&format!("rm --force images:{id}"));
    assert_eq!(run.stderr.lines().collect::<Vec<_>>()[..2], ["Untagged: mine:1", "Untagged: again:latest"]);
    assert!(run.stderr.lines().nth(2).unwrap().starts_with("Deleted: sha256:"), "{}", run.stderr);
    let before = blobs(&work);
    let would = work.run("gc --dry-run images").ok();
    assert_eq!((would.lines().count(), blobs(&work)), (3, before), "manifest, config and the plain layer");
    assert_eq!(work.run("gc --older-than 1h images").ok(), "");
    let run = work.run("gc images");
    assert_eq!((run.stdout, blobs(&work)), (would, before - 3));
    assert!(run.stderr.starts_with("Total reclaimed space: "), "{}", run.stderr);
    work.run("verify images").ok();
    work.run("rm images:nope").fails(1, &["images:nope: no such image"]);
    work.run("rm --force images:nope").ok();
    work.run("tag images:python:3.8 images").fails(1, &["no name to give"]);
    work.run("gc images --older-than soon").fails(2, &["90s, 30m, 12h or 7d"]);
}

#[test]
fn gc_does_nothing_while_somebody_writes() {
    let work = Work::new();
    let writer = work.layout().writer().unwrap();
    writer.put(MediaType::ImageLayer, b"not in the index yet").unwrap();
    work.run("gc images").fails(1, &["images: nothing removed: images: in use by another process"]);
    drop(writer);
    assert_eq!(work.run("gc images").ok().lines().count(), 1);
}

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
    work.run_with("load x", &tar(&[("a", "b")])).fails(1, &["no image in it", "manifest.json"]);
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
    // docker 1.10 to 24: manifest.json at the end, equal layers linked. podman and old skopeo compress layers.
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
    // Before 1.10: repositories, and a chain of layers.
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
    work.run("unpack --uid-map x images:busybox d").fails(1, &["x: not an id map"]);
    let names: Vec<_> = fs::read_dir(work.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{names:?}");
}

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
    work.run("config images:mine -e nonsense").fails(2, &["KEY=VALUE"]);
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

#[test]
fn tree_tells_what_is_wasted() {
    let work = Work::new();
    let base = tar(&[
        ("keep", "12345"),
        ("dir/", ""),
        ("dir/old", "123"),
        ("replaced", "1234567"),
        ("was-dir/", ""),
        ("was-dir/x", "1"),
    ]);
    let top = tar(&[
        ("dir/.wh..wh..opq", ""),
        ("dir/new", "12"),
        ("replaced", "1"),
        ("was-dir", "now a file"),
        (".wh.nothing", ""),
    ]);
    work.image("waste", &[&base, &top], MediaType::ImageLayerGzip);
    let tree: Value = serde_json::from_str(&work.run("tree --json images:waste").ok()).unwrap();
    let sizes = |field: &str| [0, 1].map(|layer: usize| tree["layers"][layer][field].as_u64().unwrap());
    assert_eq!((sizes("size"), sizes("wasted")), ([16, 13], [11, 0]), "{tree}");
    let waste: Vec<&str> =
        tree["waste"].as_array().unwrap().iter().map(|waste| waste["path"].as_str().unwrap()).collect();
    assert_eq!(waste, ["replaced", "dir/old", "was-dir/x"]);
    assert_eq!(tree["root"]["size"], 18);
    assert_eq!(tree["root"]["children"]["dir"]["children"].as_object().unwrap().len(), 1);
    let text = work.run("tree images:waste").ok();
    assert!(text.contains("29B in 2 layers, 11B (37.9%) wasted") && text.contains("/dir"), "{text}");
    let page = work.run("tree --html images:waste").ok();
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.contains("<title>/keep 5B</title>") && !page.contains("<script"),
        "{page}"
    );
    work.run("tree images:nope").fails(1, &["no such image"]);
}

#[test]
fn a_command_line_that_is_wrong_exits_with_2() {
    let work = Work::new();
    for words in ["", "frobnicate", "tag images:busybox", "show", "save", "list --nope", "unpack images:x"] {
        let run = work.run(words);
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{words}: {}", run.stderr);
    }
    assert!(work.run("--help").ok().contains("Usage: image-tool"));
    assert!(work.run("man").ok().contains(".TH image-tool"));
    assert!(work.run("completions bash").ok().contains("complete -F"));
}

#[test]
fn a_reader_that_closes_early_is_no_error() {
    let work = Work::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_image-tool"))
        .args(["save", "images:python:3.8"])
        .current_dir(work.0.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(Path::new("/dev/full").exists());
    let full = Command::new(env!("CARGO_BIN_EXE_image-tool"))
        .args(["show", "images:python:3.8"])
        .current_dir(work.0.path())
        .stdout(fs::File::create("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(String::from_utf8(full.stderr).unwrap().contains("No space left"));
}
