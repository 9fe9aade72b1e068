//! Hostile layers and documents: nothing outside is touched, nothing hangs, nothing panics.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use image_tool::beneath::Root;
use image_tool::layer::apply::{Applier, Error, Marks, Options, Target};
use image_tool::layer::cache::{self, Cache, Source};
use image_tool::layer::entry::{Entry, Kind, Writer};
use image_tool::layer::limit::Limits;
use image_tool::layer::stream::{self, Stream};
use image_tool::layout::{Layout, MANIFEST_LIMIT};
use image_tool::verify::Verification;
use image_tool::{address::digest, archive};
use oci_spec::image::{Descriptor, MediaType};
use serde_json::json;

fn archive_of(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for entry in entries {
        if entry.kind == Kind::File {
            writer.file(entry, b"harm").unwrap();
        } else {
            writer.entry(entry).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn file(path: &str) -> Entry {
    Entry::new(path, Kind::File, 0o666)
}

fn directory(path: &str) -> Entry {
    Entry::new(path, Kind::Directory, 0o777)
}

fn symlink(path: &str, target: impl AsRef<Path>) -> Entry {
    Entry::new(path, Kind::Symlink(target.as_ref().into()), 0o777)
}

fn hard(path: &str, target: impl AsRef<Path>) -> Entry {
    Entry::new(path, Kind::HardLink(target.as_ref().into()), 0o644)
}

#[test]
fn no_entry_reaches_out_of_the_root() {
    let work = tempfile::tempdir().unwrap();
    let outside = work.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    let up = "../outside";
    let deep = "../../../../../../../../../..".to_owned() + outside.to_str().unwrap();
    let attacks: Vec<(&str, Vec<Entry>)> = vec![
        ("dot-dot", vec![file("../outside/file")]),
        ("deep dot-dot", vec![directory("a"), file("a/../../outside/file")]),
        ("dot-dot as a directory", vec![directory("../outside")]),
        ("only dot-dot", vec![directory("..")]),
        ("absolute", vec![file(outside.join("file").to_str().unwrap())]),
        ("through a link", vec![symlink("l", up), file("l/file")]),
        ("through an absolute link", vec![symlink("l", &outside), file("l/file")]),
        ("through a long way up", vec![symlink("l", &deep), file("l/file")]),
        ("through two links", vec![symlink("a", ".."), symlink("b", "a/outside"), file("b/file")]),
        ("through procfs", vec![symlink("l", "/proc/self/root"), file("l/tmp/oci-escape")]),
        ("onto a link", vec![symlink("l", outside.join("file")), file("l")]),
        ("directory onto a link", vec![symlink("l", &outside), directory("l"), file("l/file")]),
        ("mode through a link", vec![symlink("l", outside.join("file")), hard("m", "l"), file("m")]),
        ("hard link up", vec![hard("l", "../outside/file"), file("l")]),
        ("absolute hard link", vec![hard("l", outside.join("file")), file("l")]),
        ("hard link through a link", vec![symlink("d", &outside), hard("l", "d/file"), file("l")]),
        ("hard link into a link", vec![file("x"), symlink("d", &outside), hard("d/file", "x")]),
        ("whiteout up", vec![file("../outside/.wh.file")]),
        ("whiteout through a link", vec![symlink("d", &outside), file("d/.wh.file")]),
        ("opaque through a link", vec![symlink("d", &outside), file("d/.wh..wh..opq")]),
        ("whiteout of dot-dot", vec![directory("a"), file("a/.wh...")]),
        ("whiteout of dot", vec![directory("a"), file("a/.wh..")]),
        ("whiteout of a link", vec![symlink("l", &outside), file(".wh.l")]),
        ("looping links", vec![symlink("a", "b"), symlink("b", "a"), file("a/file")]),
        ("a link to itself", vec![symlink("a", "a"), file("a/b/c")]),
        ("root as a link", vec![symlink("./", &outside), file("file")]),
        ("root as a file", vec![file(".")]),
        ("hard link to the root", vec![hard("l", ".")]),
        ("hard link to itself", vec![hard("l", "l")]),
        ("a circle of hard links", vec![hard("a", "b"), hard("b", "a")]),
        (
            "a link swapped below a directory",
            vec![directory("d"), file("d/x"), file(".wh.d"), symlink("d", &outside), file("d/file")],
        ),
        ("directory swapped for a link", vec![directory("d"), file("d/x"), symlink("d", &outside), file("d/file")]),
        ("implied directory over a link", vec![symlink("d", "/nowhere/at/all"), file("d/e/f/file")]),
        ("fifo then file", vec![Entry::new("p", Kind::Fifo, 0o666), file("p")]),
    ];
    for (attack, entries) in attacks {
        for target in [Options::tree(), Options::lower()] {
            let folder = work.path().join("root");
            fs::create_dir(&folder).unwrap();
            let mut applier = Applier::new(Root::open(&folder).unwrap(), target.clone());
            // Rejected or made harmless: both are fine.
            let _ = applier.layer(&archive_of(&entries)[..]).and_then(|()| applier.finish());
            let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, ["file"], "{attack}");
            assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched", "{attack}");
            assert!(!Path::new("/tmp/oci-escape").exists(), "{attack}");
            let beside: Vec<_> = fs::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(beside.len(), 2, "{attack}: {beside:?}");
            Root::open(work.path()).unwrap().remove("root").unwrap();
        }
    }
}

#[test]
fn too_many_entries_and_too_much_data_end_early() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { entries: 10, ..Options::tree() };
    let many: Vec<Entry> = (0..11).map(|n| file(&n.to_string())).collect();
    let mut applier = Applier::new(Root::open(folder.path()).unwrap(), options);
    assert!(matches!(applier.layer(&archive_of(&many)[..]), Err(Error::TooMany { limit: 10 })));
}

/// An endless reader of zeros.
struct Zeros(u64);

impl Read for Zeros {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
        buffer[..count].fill(0);
        self.0 -= count as u64;
        Ok(count)
    }
}

#[test]
fn a_zstd_bomb_ends_at_the_limit() {
    let bomb = zstd::encode_all(Zeros(4 << 30), 1).unwrap();
    let descriptor = Descriptor::new(MediaType::ImageLayerZstd, bomb.len() as u64, digest::sha256(&bomb));
    let start = Instant::now();
    let stream = Stream::open(io::Cursor::new(bomb), &descriptor, None, 64 << 20).unwrap();
    assert!(matches!(stream.finish(), Err(stream::Error::Read(_))));
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_deep_tree_is_made_or_refused_and_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let deep = vec!["d"; 1900].join("/");
    let mut applier = Applier::new(Root::open(folder.path()).unwrap(), Options::tree());
    let result = applier.layer(&archive_of(&[directory(&deep), file(&format!("{deep}/f"))])[..]);
    result.and_then(|()| applier.finish().map(drop)).unwrap();
    Root::open(folder.path()).unwrap().remove("d").unwrap();
    let mut applier = Applier::new(Root::open(folder.path()).unwrap(), Options::tree());
    let longer = vec!["d"; 5000].join("/");
    assert!(applier.layer(&archive_of(&[file(&longer)])[..]).is_err());
    Root::open(folder.path()).unwrap().remove("d").unwrap();
}

#[test]
fn documents_that_lie_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(&folder.path().join("images")).unwrap();
    let writer = layout.writer().unwrap();
    let config = |text: &str| writer.put(MediaType::ImageConfig, text.as_bytes()).unwrap();
    let good = config(r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#);
    let layer = writer.put(MediaType::ImageLayer, &archive_of(&[file("a")])).unwrap();
    let diff = layer.digest().to_string();
    let one = config(
        &json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff]}}).to_string(),
    );
    let absurd =
        config(r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["../../etc/passwd"]}}"#);
    let of = |descriptor: &Descriptor, media_type: &str| {
        let mut descriptor = descriptor.clone();
        descriptor.set_media_type(media_type.into());
        descriptor
    };
    let manifest = |config: &Descriptor, layers: serde_json::Value| json!({"schemaVersion": 2, "config": config, "layers": layers});
    let sized = |size: u64| Descriptor::new(MediaType::ImageLayer, size, layer.digest().clone());
    let cases = [
        ("null config", manifest(&config("null"), json!([])).to_string(), "config"),
        ("empty config", manifest(&config(""), json!([])).to_string(), "config"),
        ("array config", manifest(&config("[]"), json!([])).to_string(), "config"),
        ("no config", json!({"schemaVersion": 2, "layers": []}).to_string(), "config"),
        ("null layers", manifest(&good, json!(null)).to_string(), "expected a sequence"),
        ("null", "null".into(), "manifest"),
        ("nested arrays", "[".repeat(100_000), "manifest"),
        ("extra layer", manifest(&good, json!([layer])).to_string(), "1 layers, but its config has 0 diff IDs"),
        ("missing layer", manifest(&one, json!([])).to_string(), "0 layers, but its config has 1 diff IDs"),
        ("diff id that is none", manifest(&absurd, json!([layer])).to_string(), "diff id"),
        ("5,000 layers", manifest(&good, json!(vec![&layer; 5000])).to_string(), "5000 layers"),
        ("larger than it is", manifest(&one, json!([sized(layer.size() + 1)])).to_string(), "expected"),
        ("smaller than it is", manifest(&one, json!([sized(layer.size() - 1)])).to_string(), "expected"),
        ("exabytes", manifest(&one, json!([sized(u64::MAX / 2)])).to_string(), "expected"),
        (
            "negative size",
            json!({"schemaVersion": 2, "config": good, "layers": [{"mediaType": "x", "digest": diff, "size": -1}]})
                .to_string(),
            "manifest",
        ),
        (
            "gzip that is none",
            manifest(&one, json!([of(&layer, "application/vnd.oci.image.layer.v1.tar+gzip")])).to_string(),
            "gzip",
        ),
        // Sound, as an artifact; but nothing to unpack.
        ("unknown layer", manifest(&one, json!([of(&layer, "application/x-squashfs")])).to_string(), ""),
        (
            "manifest and index at once",
            json!({"schemaVersion": 2, "config": good, "layers": [], "manifests": [layer]}).to_string(),
            "CVE-2021-41190",
        ),
    ];
    for (name, text, expected) in cases {
        let descriptor = writer.put(MediaType::ImageManifest, text.as_bytes()).unwrap();
        let problems = Verification::new().verify(&layout, &descriptor);
        let told: Vec<String> = problems.iter().map(|problem| chain(problem)).collect();
        let is_told =
            if expected.is_empty() { told.is_empty() } else { told.iter().any(|line| line.contains(expected)) };
        assert!(is_told, "{name}: {told:?}");
        let cache = Cache::at(folder.path().join("layers"), Options::lower());
        let image = layout.image_of(&descriptor);
        let layers = image.map_err(cache::Error::from).and_then(|image| cache.image(&layout, &image));
        assert!(layers.is_err(), "{name}");
    }
    assert!(Cache::at(folder.path().join("layers"), Options::lower()).list().unwrap().is_empty());
}

fn chain(mut error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    while let Some(source) = error.source() {
        text += &format!(": {source}");
        error = source;
    }
    text
}

#[test]
fn a_manifest_of_64_mebibytes_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(&folder.path().join("images")).unwrap();
    let mut text = b"{\"schemaVersion\":2,\"annotations\":{\"a\":\"".to_vec();
    text.resize(64 << 20, b'x');
    let descriptor = layout.writer().unwrap().put(MediaType::ImageManifest, &text).unwrap();
    let error = layout.image_of(&descriptor).unwrap_err().to_string();
    assert!(error.contains(&format!("exceed the limit of {MANIFEST_LIMIT}")), "{error}");
}

#[test]
fn a_damaged_layer_never_enters_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("layers"), Options::lower());
    let bytes = archive_of(&[directory("bin"), file("bin/a"), file("bin/b")]);
    let path = folder.path().join("blob");
    fs::write(&path, &bytes).unwrap();
    let source = |size: u64, digest: &digest::Digest, diff_id: &digest::Digest| Source {
        blob: fs::File::open(&path).unwrap(),
        descriptor: Descriptor::new(MediaType::ImageLayer, size, digest.clone()),
        diff_id: diff_id.clone(),
    };
    let (size, right, wrong) = (bytes.len() as u64, digest::sha256(&bytes), digest::sha256(b"other"));
    for (size, digest, diff_id) in
        [(size, &wrong, &right), (size, &right, &wrong), (size + 1, &right, &right), (size - 1, &right, &right)]
    {
        assert!(matches!(cache.layer(&source(size, digest, diff_id)), Err(cache::Error::Blob { .. })));
        assert!(cache.list().unwrap().is_empty());
        assert_eq!(fs::read_dir(folder.path().join("layers/sha256")).unwrap().count(), 0);
    }
    let layer = cache.layer(&source(size, &right, &right)).unwrap();
    assert_eq!(fs::read_to_string(layer.path().join("bin/a")).unwrap(), "harm");
    assert_eq!(cache.list().unwrap(), [right]);
}

#[test]
fn archives_that_lie_load_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(&folder.path().join("images")).unwrap();
    let tar = |files: &[(&str, &str)]| {
        let mut writer = Writer::new(Vec::new());
        for (path, text) in files {
            writer.file(&Entry::new(*path, Kind::File, 0o644), text.as_bytes()).unwrap();
        }
        writer.finish().unwrap()
    };
    let zero = format!("sha256:{}", "0".repeat(64));
    let index = format!(
        r#"{{"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{zero}","size":2}}]}}"#
    );
    let blob = format!("blobs/sha256/{}", "0".repeat(64));
    let version = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    let cases: Vec<Vec<(&str, &str)>> = vec![
        vec![("manifest.json", "null")],
        vec![("manifest.json", "[]")],
        vec![("manifest.json", "[{}]")],
        vec![("manifest.json", r#"[{"Config":"../../etc/passwd","Layers":[]}]"#)],
        vec![("manifest.json", r#"[{"Config":"c","Layers":["x"]}]"#), ("c", "{}")],
        vec![
            ("manifest.json", r#"[{"Config":"c","Layers":["x"]}]"#),
            ("c", r#"{"rootfs":{"diff_ids":[null]}}"#),
            ("x", ""),
        ],
        vec![("repositories", r#"{"a":{"b":"c"}}"#)],
        vec![("repositories", r#"{"a":{"b":"c"}}"#), ("c/json", r#"{"parent":"c"}"#), ("c/layer.tar", "")],
        vec![version, ("index.json", "{}")],
        vec![version, ("index.json", &index)],
        vec![version, ("index.json", &index), (&blob, "{}")],
    ];
    for files in cases {
        let writer = layout.writer().unwrap();
        let result = archive::load::load(&tar(&files)[..], &writer, Limits::default());
        assert!(result.is_err(), "{files:?}");
        assert!(layout.index().unwrap().descriptors().unwrap().is_empty(), "{files:?}");
    }
}

/// How the marks begin that an overlay by this process obeys.
fn mark_prefix() -> &'static str {
    Marks::here().opaque().strip_suffix("opaque").unwrap()
}

#[test]
fn whiteouts_of_overlayfs_in_a_layer_do_not_widen_a_lower_directory() {
    let folder = tempfile::tempdir().unwrap();
    let mark = |name: &str| Entry {
        xattrs: vec![
            ("trusted.overlay.redirect".into(), b"/secret".to_vec()),
            ("user.overlay.opaque".into(), b"y".to_vec()),
        ],
        ..directory(name)
    };
    let options = Options::lower();
    assert!(matches!(options.target, Target::Lower(_)));
    let mut applier = Applier::new(Root::open(folder.path()).unwrap(), options);
    applier.layer(&archive_of(&[mark("./"), mark("d")])[..]).unwrap();
    applier.finish().unwrap();
    let root = Root::open(folder.path()).unwrap();
    let is_mark = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.starts_with(mark_prefix()));
    assert!(!root.xattrs("d").unwrap().iter().any(|(name, _)| is_mark(name)));
}
