//! Malicious layouts, given to every tool that reads one: no file outside the target changes, and the error is one line.

use serde_json::{Value, json};
use tar::EntryType::{Directory, Link, Regular, Symlink};
use tests::Workdir;
use tests::layout::{Builder, Tar};

/// Creates a folder beside the target, whose file must stay as it is.
fn outside(work: &Workdir) {
    work.write("outside/file", "untouched\n");
}

fn untouched(work: &Workdir, attack: &str) {
    assert_eq!(
        work.sh("cat outside/file && ls outside && ls -A /tmp | grep -c oci-tools-escape").stdout,
        "untouched\nfile\n0\n",
        "{attack}"
    );
}

#[test]
fn paths_never_leave_the_root() {
    let work = Workdir::new();
    outside(&work);
    let home = work.path("").to_str().unwrap().to_owned();
    let absolute = format!("{home}outside/file");
    let attacks: Vec<(&str, Vec<u8>)> = vec![
        ("dot-dot", Tar::new().file("../outside/file", "harm").bytes()),
        ("deep dot-dot", Tar::new().folder("a/").file("a/../../outside/file", "harm").bytes()),
        ("absolute", Tar::new().file("/tmp/oci-tools-escape", "harm").bytes()),
        ("through a symlink", Tar::new().symlink("link", "../outside").file("link/file", "harm").bytes()),
        (
            "through an absolute symlink",
            Tar::new().symlink("link", &format!("{home}outside")).file("link/file", "harm").bytes(),
        ),
        ("over a symlink", Tar::new().symlink("link", &absolute).file("link", "harm").bytes()),
        ("hard link out", Tar::new().link("link", "../outside/file").file("link", "harm").bytes()),
        (
            "hard link through a symlink",
            Tar::new().symlink("dir", &format!("{home}outside")).link("link", "dir/file").file("link", "harm").bytes(),
        ),
        (
            "hard link to a symlink",
            Tar::new().symlink("s", &absolute).link("link", "s").entry(Regular, "link", "", 0o777, 0, b"harm").bytes(),
        ),
        ("whiteout out", Tar::new().file("../outside/.wh.file", "").bytes()),
        (
            "whiteout through a symlink",
            Tar::new().symlink("link", &format!("{home}outside")).file("link/.wh.file", "").bytes(),
        ),
        ("whiteout of dot-dot", Tar::new().folder("a/").file("a/.wh..", "").file("a/.wh...", "").bytes()),
        (
            "opaque through a symlink",
            Tar::new().symlink("link", &format!("{home}outside")).file("link/.wh..wh..opq", "").bytes(),
        ),
        (
            "folder over a symlink",
            Tar::new()
                .symlink("link", &format!("{home}outside"))
                .entry(Directory, "link/", "", 0o700, 7, b"")
                .file("link/file", "harm")
                .bytes(),
        ),
        ("looping symlinks", Tar::new().symlink("a", "b").symlink("b", "a").file("a/file", "harm").bytes()),
        (
            "root as a symlink",
            Tar::new().entry(Symlink, "./", &format!("{home}outside"), 0o777, 0, b"").file("file", "harm").bytes(),
        ),
        ("hard link to itself", Tar::new().entry(Link, "a", "a", 0o644, 0, b"").bytes()),
    ];
    for (attack, tar) in &attacks {
        let folder = work.path("hostile");
        Builder::new(&folder).layer(tar).image("x", json!({ "Cmd": ["/x"] }));
        for text in [
            "image-tool unpack hostile:x out",
            "bundle-tool create --network none --bundle b hostile:x",
            "bundle-tool create --copy --network none --bundle b hostile:x",
        ] {
            let output = work.sh(text);
            untouched(&work, attack);
            if output.status != 0 {
                assert_eq!(output.stderr.lines().count(), 1, "{attack}: {output}");
                assert!(output.stderr.contains("hostile:x"), "{attack}: {output}");
            }
            work.sh("[ ! -e b ] || bundle-tool delete b; rm -rf out").ok();
            untouched(&work, attack);
        }
        work.sh("rm -rf hostile $OCI_HOME").ok();
    }
}

#[test]
fn a_name_in_the_image_is_looked_up_inside_it() {
    let work = Workdir::new();
    let tar = Tar::new().symlink("etc", "/etc").folder("bin/").file("bin/sh", "").bytes();
    Builder::new(&work.path("hostile")).layer(&tar).image("x", json!({ "Cmd": ["/bin/sh"], "User": "root:shadow" }));
    work.sh("bundle-tool create --network none --bundle b hostile:x").fails_saying(1, &["shadow"]);
    // Nor may a pipe or a device in the place of /etc/passwd block the tool.
    let tar = Tar::new().folder("etc/").entry(tar::EntryType::Fifo, "etc/passwd", "", 0o644, 0, b"").bytes();
    Builder::new(&work.path("pipe")).layer(&tar).image("x", json!({ "Cmd": ["/bin/sh"], "User": "someone" }));
    let output = work.sh("timeout 10 bundle-tool create --network none --bundle b pipe:x");
    assert_eq!(output.status, 1, "{output}");
}

#[test]
fn descriptors_that_lie_are_found_out() {
    let tar = Tar::new().folder("bin/").file("bin/sh", "shell").bytes();
    type Lie = fn(&mut Value, &mut String);
    let lies: [(&str, Lie); 7] = [
        ("size too small", |layer, _| layer["size"] = json!(512)),
        ("size too large", |layer, _| layer["size"] = json!(1_u64 << 40)),
        ("size negative", |layer, _| layer["size"] = json!(-1)),
        ("digest of another", |layer, _| layer["digest"] = json!(format!("sha256:{}", "0".repeat(64)))),
        ("digest with a path", |layer, _| layer["digest"] = json!("sha256:../../oci-layout")),
        ("wrong diff id", |_, diff| *diff = format!("sha256:{}", "1".repeat(64))),
        ("gzip that is none", |layer, _| layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip")),
    ];
    for (lie, change) in lies {
        let work = Workdir::new();
        Builder::new(&work.path("hostile")).layer(&tar).change(change).image("x", json!({ "Cmd": ["/bin/sh"] }));
        for text in [
            "image-tool verify hostile:x",
            "image-tool unpack hostile:x out",
            "bundle-tool create --network none --bundle b hostile:x",
        ] {
            let output = work.sh(text);
            assert_eq!(output.status, 1, "{lie}: {output}");
            assert_eq!(output.stderr.lines().count(), 1, "{lie}: {output}");
        }
        assert!(!work.path("b").exists(), "{lie}");
    }
}

#[test]
fn documents_of_the_wrong_shape_are_refused() {
    let work = Workdir::new();
    let tar = Tar::new().folder("bin/").bytes();
    for (name, content) in [
        ("null", "null"),
        ("array", "[]"),
        ("text", "not json"),
        ("empty", ""),
        ("deep", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
        (
            "both",
            "{\"schemaVersion\":2,\"manifests\":[],\"layers\":[],\"config\":{\"mediaType\":\"a/b\",\"digest\":\"sha256:0\",\"size\":0}}",
        ),
    ] {
        for place in ["index", "manifest", "config"] {
            let folder = work.path("hostile");
            let mut builder = Builder::new(&folder);
            builder.layer(&tar).image("x", json!({}));
            match place {
                "index" => std::fs::write(folder.join("index.json"), content).unwrap(),
                "manifest" => {
                    let manifest = builder.blob("application/vnd.oci.image.manifest.v1+json", content.as_bytes());
                    Builder::new(&folder).entry("x", manifest);
                }
                _ => {
                    let config = builder.blob("application/vnd.oci.image.config.v1+json", content.as_bytes());
                    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [] }).to_string();
                    let manifest = builder.blob("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
                    Builder::new(&folder).entry("x", manifest);
                }
            }
            for text in [
                "image-tool verify hostile:x",
                "bundle-tool create --network none --bundle b hostile:x",
                "image-tool list --table hostile",
            ] {
                let output = work.sh(text);
                assert!(output.status == 1 || text.contains("list"), "{place} {name}: {output}");
                assert!(
                    output.stderr.lines().count() <= 1 && !output.stderr.contains("panicked"),
                    "{place} {name}: {output}"
                );
            }
            work.sh("rm -rf hostile").ok();
        }
    }
}

#[test]
fn blobs_that_are_no_files_do_not_hang() {
    let work = Workdir::new();
    let tar = Tar::new().folder("bin/").bytes();
    for (name, make) in [
        ("pipe", "mkfifo"),
        ("folder", "mkdir"),
        ("device", "ln -s /dev/zero"),
        ("link", "ln -s /etc/shadow"),
        ("loop", "ln -s loop"),
    ] {
        Builder::new(&work.path("hostile")).layer(&tar).image("x", json!({}));
        let blob = format!("hostile/blobs/sha256/{}", &tests::layout::digest(&tar)[7..]);
        work.sh(&format!("rm {blob} && {make} {blob}")).ok();
        for text in
            ["image-tool verify hostile:x", "image-tool unpack hostile:x out", "image-tool save -o x.tar hostile:x"]
        {
            let output = work.sh(&format!("timeout 20 {text}"));
            assert_eq!(output.status, 1, "{name}: {output}");
            assert_eq!(output.stderr.lines().count(), 1, "{name}: {output}");
        }
        work.sh("rm -rf hostile out").ok();
    }
}

#[test]
fn a_bomb_is_stopped_before_it_fills_the_disk() {
    let work = Workdir::new();
    // A gigabyte of zeros compresses to a megabyte. The diff id is false, so none of it may be kept.
    work.sh("mkdir root && truncate -s 1G root/zeros && tar -C root -c zeros | gzip -9 >bomb.tar.gz").ok();
    let bomb = std::fs::read(work.path("bomb.tar.gz")).unwrap();
    let mut builder = Builder::new(&work.path("hostile"));
    builder.layer(&bomb).change(|layer, diff| {
        layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip");
        *diff = format!("sha256:{}", "2".repeat(64));
    });
    builder.image("x", json!({}));
    let output = work.sh("image-tool unpack hostile:x out");
    assert_eq!(output.status, 1, "{output}");
    assert!(!work.path("out/zeros").exists(), "a layer that fails verification is not kept");
}

#[test]
fn text_in_an_image_cannot_drive_the_terminal() {
    let work = Workdir::new();
    let tar = Tar::new().folder("bin/").bytes();
    Builder::new(&work.path("hostile")).layer(&tar).image("x\u{1b}[2J\ny", json!({ "Cmd": ["\u{1b}]0;title\u{7}"] }));
    let output = work.sh("image-tool list hostile; image-tool list --table hostile; image-tool inspect hostile; image-tool history hostile");
    assert!(!output.stdout.contains('\u{1b}') && !output.stderr.contains('\u{1b}'), "{output:?}");
}
