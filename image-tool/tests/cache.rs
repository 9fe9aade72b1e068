//! The cache of unpacked layers: created once, trusted while possible, removed when unused.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use image_tool::address::digest;
use image_tool::layer::apply::Options;
use image_tool::layer::cache::{Cache, Error, Source};
use image_tool::layer::entry::{Entry, Kind, Writer};
use image_tool::layer::limit::Limits;
use oci_spec::image::{Descriptor, MediaType};

struct Work {
    folder: tempfile::TempDir,
    cache: Cache,
}

impl Work {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("layers"), Options::lower());
        Self { folder, cache }
    }

    /// A layer with one file of this name.
    fn source(&self, name: &str) -> Source {
        let mut writer = Writer::new(Vec::new());
        writer.file(&Entry::new(name, Kind::File, 0o644), name.as_bytes()).unwrap();
        let bytes = writer.finish().unwrap();
        let path = self.folder.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let digest = digest::sha256(&bytes);
        let descriptor = Descriptor::new(MediaType::ImageLayer, bytes.len() as u64, digest.clone());
        Source { blob: fs::File::open(path).unwrap(), descriptor, diff_id: digest }
    }

    fn state(&self, source: &Source) -> std::path::PathBuf {
        self.folder.path().join(format!("layers/sha256/{}.state", source.diff_id.digest()))
    }
}

#[test]
fn only_what_is_within_limits_is_stored() {
    let work = Work::new();
    let source = work.source("a");
    let size = source.descriptor.size();
    let within = |limits: Limits| work.cache.clone().within(limits);
    let small = within(Limits { size: Some(size - 1), ..Limits::default() });
    let none = within(Limits { entries: Some(0), ..Limits::default() });
    for cache in [&small, &none] {
        let start = || source.start_within(cache.limits());
        assert!(cache.layer(&source).is_err() && cache.archive(&source.diff_id, start).is_err());
        assert!(cache.list().unwrap().is_empty() && cache.get(&source.diff_id).unwrap().is_none());
    }
    let right = within(Limits { size: Some(size), entries: Some(1), layers: None });
    right.archive(&source.diff_id, || source.start_within(right.limits())).unwrap();
    assert!(small.layer(&source).is_err(), "a stored archive is read within limits too");
    right.layer(&source).unwrap();
}

#[test]
fn layers_come_in_order_and_once() {
    let work = Work::new();
    let sources: Vec<Source> = ["c", "a", "b", "a", "c"].map(|name| work.source(name)).into();
    let layers = work.cache.layers(&sources).unwrap();
    for (layer, source) in layers.iter().zip(&sources) {
        assert_eq!(layer.diff_id(), &source.diff_id);
        assert!(layer.path().ends_with(Path::new("layers/sha256").join(source.diff_id.digest())));
    }
    assert_eq!(fs::read_to_string(layers[1].path().join("a")).unwrap(), "a");
    assert_eq!(work.cache.list().unwrap().len(), 3);
    let made = fs::metadata(layers[0].path()).unwrap().modified().unwrap();
    drop(layers);
    let again = work.cache.layer(&sources[0]).unwrap();
    assert_eq!(fs::metadata(again.path()).unwrap().modified().unwrap(), made, "it was not unpacked again");
}

#[test]
fn many_at_once_unpack_a_layer_once() {
    let work = Work::new();
    let source = work.source("x");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let layer = work.cache.layer(&source).unwrap();
                    assert_eq!(fs::read_to_string(layer.path().join("x")).unwrap(), "x");
                    drop(layer);
                    work.cache.prune(|_| false).unwrap();
                }
            });
        }
    });
    let left: Vec<_> = fs::read_dir(work.folder.path().join("layers/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".unpack-")), "{left:?}");
}

#[test]
fn an_unpacked_layer_does_not_give_way_to_its_archive() {
    let work = Work::new();
    let source = work.source("x");
    let start = || source.start_within(work.cache.limits());
    drop(work.cache.archive(&source.diff_id, start).unwrap());
    let path = work.cache.layer(&source).unwrap().path().to_owned();
    // Nobody holds it, but an overlay may lie on it.
    assert!(matches!(work.cache.archive(&source.diff_id, start), Err(Error::Unpacked { .. })));
    assert_eq!(fs::read_to_string(path.join("x")).unwrap(), "x");
    // What a crash may have torn is nobody's.
    fs::write(work.state(&source), "boot 00000000-0000-0000-0000-000000000000\n").unwrap();
    assert!(work.cache.archive(&source.diff_id, start).unwrap().path().is_file());
}

#[test]
fn a_layer_of_an_earlier_boot_is_not_trusted_unless_it_is_durable() {
    let work = Work::new();
    let source = work.source("x");
    let file = work.cache.layer(&source).unwrap().path().join("x");
    let state = work.state(&source);
    assert!(fs::read_to_string(&state).unwrap().starts_with("boot "));
    for distrusted in ["boot 00000000-0000-0000-0000-000000000000\n", "", "durabl"] {
        fs::write(&file, "torn by a power cut").unwrap();
        fs::write(&state, distrusted).unwrap();
        assert!(work.cache.get(&source.diff_id).unwrap().is_none(), "{distrusted:?}");
        work.cache.layer(&source).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "x", "{distrusted:?}");
    }
    // After a minute, it becomes durable.
    let past = SystemTime::now() - Duration::from_secs(120);
    fs::File::options().write(true).open(&state).unwrap().set_modified(past).unwrap();
    assert!(work.cache.get(&source.diff_id).unwrap().is_some());
    assert_eq!(fs::read_to_string(&state).unwrap(), "durable\n");
}

#[test]
fn what_is_in_use_or_wanted_is_not_pruned() {
    let work = Work::new();
    let (used, wanted, idle) = (work.source("used"), work.source("wanted"), work.source("idle"));
    let held = work.cache.layer(&used).unwrap();
    work.cache.layers(&[work.source("wanted"), work.source("idle")]).unwrap();
    assert_eq!(work.cache.prune(|diff_id| *diff_id == wanted.diff_id).unwrap(), [idle.diff_id]);
    assert!(held.path().join("used").exists());
    drop(held);
    assert_eq!(work.cache.prune(|diff_id| *diff_id == wanted.diff_id).unwrap(), [used.diff_id]);
    assert_eq!(work.cache.list().unwrap(), [wanted.diff_id]);
}

#[test]
fn a_directory_is_adopted_as_a_layer() {
    let work = Work::new();
    let upper = work.folder.path().join("layers-upper");
    fs::create_dir(&upper).unwrap();
    fs::write(upper.join("made"), "by a build").unwrap();
    let diff_id = digest::sha256(b"its archive");
    let layer = work.cache.adopt(&diff_id, &upper).unwrap();
    assert_eq!(fs::read_to_string(layer.path().join("made")).unwrap(), "by a build");
    assert!(!upper.exists());
    fs::create_dir(&upper).unwrap();
    assert_eq!(work.cache.adopt(&diff_id, &upper).unwrap().path(), layer.path());
    assert!(upper.exists(), "the layer was there, the directory is left alone");
}

#[test]
fn what_a_killed_process_left_is_swept() {
    let work = Work::new();
    work.cache.layer(&work.source("x")).unwrap();
    let left = work.folder.path().join("layers/sha256/.unpack-abcdef");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("half"), "").unwrap();
    let file = fs::File::open(&left).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared).unwrap();
    work.cache.prune(|_| true).unwrap();
    assert!(left.exists(), "its owner lives");
    drop(file);
    work.cache.prune(|_| true).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_layer_that_another_made_and_keeps_is_not_waited_for() {
    let work = Work::new();
    let source = work.source("x");
    let shared = std::sync::Arc::new((work, source, std::sync::Barrier::new(8)));
    let (sender, receiver) = std::sync::mpsc::channel();
    for _ in 0..8 {
        let (shared, sender) = (std::sync::Arc::clone(&shared), sender.clone());
        std::thread::spawn(move || {
            let (work, source, all) = &*shared;
            all.wait();
            let layer = work.cache.layer(source).unwrap();
            sender.send(()).unwrap();
            // As stages of a build that wait for each other.
            all.wait();
            drop(layer);
        });
    }
    for _ in 0..8 {
        receiver.recv_timeout(Duration::from_secs(20)).expect("all have the layer at the same time");
    }
}
