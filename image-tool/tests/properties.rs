//! Properties of layers: applying a difference gives the other tree, and equal input gives equal bytes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use image_tool::beneath::{Root, Time};
use image_tool::layer::apply::{Applier, Options};
use image_tool::layer::diff;
use proptest::prelude::*;

/// A file in a tree.
#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>, u32),
    Link(String),
    Fifo,
    Directory(u32),
    /// A hard link to the first file.
    Same,
}

type Tree = BTreeMap<String, (Node, i64)>;

fn any_tree() -> impl Strategy<Value = Tree> {
    let node = prop_oneof![
        4 => (proptest::collection::vec(any::<u8>(), 0..5), prop_oneof![Just(0o644u32), Just(0o4755), Just(0o600)]).prop_map(|(data, mode)| Node::File(data, mode)),
        1 => "[a-c/.]{1,4}".prop_map(Node::Link),
        1 => Just(Node::Fifo),
        3 => prop_oneof![Just(0o755u32), Just(0o1777), Just(0o2750)].prop_map(Node::Directory),
        1 => Just(Node::Same),
    ];
    proptest::collection::btree_map("[a-c](/[a-c]){0,3}", (node, 0i64..4), 0..14)
}

/// Creates the tree. If a file is in the way of a path, it becomes a directory.
fn make(tree: &Tree) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    let mut first: Option<String> = None;
    for (path, (node, _)) in tree {
        if tree.keys().any(|other| other.starts_with(&format!("{path}/"))) {
            root.create_directories(path, 0o755).unwrap();
            continue;
        }
        if let Some(above) = Path::new(path).parent() {
            root.create_directories(above, 0o755).unwrap();
        }
        match node {
            Node::File(data, mode) => {
                root.write(path, data, *mode).unwrap();
                first.get_or_insert_with(|| path.clone());
            }
            Node::Link(target) => root.symlink(target, path).unwrap(),
            Node::Fifo => {
                let (parent, name) = root.parent(path).unwrap();
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                rustix::fs::mknodat(&parent, &name, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            }
            Node::Directory(mode) => {
                root.create_directories(path, 0o755).unwrap();
                root.set_mode(path, *mode).unwrap();
            }
            Node::Same => match &first {
                Some(first) => root.hard_link(first, path).unwrap(),
                None => root.write(path, b"", 0o644).unwrap(),
            },
        }
    }
    let mut all: Vec<PathBuf> = walkdir::WalkDir::new(folder.path())
        .contents_first(true)
        .into_iter()
        .map(|entry| entry.unwrap().path().to_path_buf())
        .collect();
    all.pop();
    for path in all {
        let path = path.strip_prefix(folder.path()).unwrap();
        let seconds = tree.get(path.to_str().unwrap()).map_or(0, |(_, seconds)| *seconds);
        root.set_modified(path, Time { seconds, nanoseconds: 0 }).unwrap();
    }
    root.set_modified("", Time::default()).unwrap();
    folder
}

/// Everything that a layer stores, by path.
fn describe(folder: &Path) -> BTreeMap<String, String> {
    let mut links: BTreeMap<u64, String> = BTreeMap::new();
    let mut described = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(folder).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        let metadata = entry.path().symlink_metadata().unwrap();
        let mut text = format!("{:o} {}:{} {}", metadata.mode(), metadata.uid(), metadata.gid(), metadata.mtime());
        if metadata.is_file() {
            text += &format!(" {:?}", std::fs::read(entry.path()).unwrap());
        } else if metadata.is_symlink() {
            text += &format!(" {:?}", std::fs::read_link(entry.path()).unwrap());
        }
        if !metadata.is_dir() {
            text += &format!(" {}", links.entry(metadata.ino()).or_insert_with(|| path.clone()));
        }
        described.insert(path, text);
    }
    described
}

fn apply(folder: &Path, layer: &[u8]) {
    let mut applier = Applier::new(Root::open(folder).unwrap(), Options::tree());
    applier.layer(layer).unwrap();
    applier.finish().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_difference_applied_is_the_other_tree(a in any_tree(), b in any_tree()) {
        let (a, b) = (make(&a), make(&b));
        let open = |folder: &tempfile::TempDir| Root::open(folder.path()).unwrap();
        let layer = diff::trees(&open(&a), &open(&b), Vec::new(), &diff::Options::default()).unwrap();
        prop_assert_eq!(&layer, &diff::trees(&open(&a), &open(&b), Vec::new(), &diff::Options::default()).unwrap());
        apply(a.path(), &layer);
        prop_assert_eq!(describe(a.path()), describe(b.path()));
        let nothing = diff::trees(&open(&a), &open(&b), Vec::new(), &diff::Options::default()).unwrap();
        prop_assert_eq!(nothing.len(), 1024, "nothing is left to change");
    }

    #[test]
    fn a_whole_tree_comes_back(a in any_tree()) {
        let a = make(&a);
        let layer = diff::tree(&Root::open(a.path()).unwrap(), Vec::new(), &diff::Options::default()).unwrap();
        let b = tempfile::tempdir().unwrap();
        apply(b.path(), &layer);
        prop_assert_eq!(describe(a.path()), describe(b.path()));
        prop_assert_eq!(layer, diff::tree(&Root::open(b.path()).unwrap(), Vec::new(), &diff::Options::default()).unwrap());
    }
}
