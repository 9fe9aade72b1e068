//! Images written as EROFS, as the kernel shows them: the same trees as unpacked ones. Without root, or where the kernel cannot mount
//! them, nothing can be tested.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use image_tool::address::digest::{self, Digest};
use image_tool::beneath::{Root, Time};
use image_tool::layer::apply::Options;
use image_tool::layer::cache::{Source, apply_all};
use image_tool::layer::entry::{Entry, Kind, Writer};
use image_tool::layer::merge;
use image_tool::layer::mount::{self, Mount};
use oci_spec::image::{Descriptor, MediaType};
use proptest::prelude::*;

/// An entry of a layer and its data.
type Item = (Entry, Vec<u8>);

struct Stack {
    folder: tempfile::TempDir,
    archives: Vec<(Digest, File, u64)>,
}

impl Stack {
    fn new(layers: &[Vec<Item>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archives = layers.iter().map(|items| {
            let mut writer = Writer::new(Vec::new());
            for (entry, data) in items {
                writer.entry(entry).unwrap();
                writer.write_all(data).unwrap();
            }
            let bytes = writer.finish().unwrap();
            let mut file = tempfile::tempfile_in(folder.path()).unwrap();
            file.write_all(&bytes).unwrap();
            (digest::sha256(&bytes), file, bytes.len() as u64)
        });
        let archives = archives.collect();
        Self { folder, archives }
    }

    fn unpack(&self) -> Result<PathBuf, String> {
        let sources = self.archives.iter().map(|(digest, file, size)| {
            let descriptor = Descriptor::new(MediaType::ImageLayer, *size, digest.clone());
            Source { blob: file.try_clone().unwrap(), descriptor, diff_id: digest.clone() }
        });
        let path = self.folder.path().join("unpacked");
        fs::create_dir(&path).unwrap();
        let done = apply_all(&sources.collect::<Vec<_>>(), Root::open(&path).unwrap(), Options::tree());
        done.map(|_| path).map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)))
    }

    fn index(&self) -> Result<File, String> {
        let parts: Vec<merge::Archive<'_>> =
            self.archives.iter().map(|(diff_id, file, size)| merge::Archive { diff_id, file, size: *size }).collect();
        let write = || {
            let mut file = tempfile::tempfile_in(self.folder.path()).unwrap();
            let size = merge::index(&parts, [7; 16], &file, &merge::Options::default());
            let size = size.map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)))?;
            assert_eq!(file.metadata().unwrap().len(), size);
            file.rewind().unwrap();
            Ok::<_, String>(file)
        };
        let (mut one, mut two) = (write()?, write()?);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        one.read_to_end(&mut first).unwrap();
        two.read_to_end(&mut second).unwrap();
        assert!(first == second, "equal input gives equal bytes");
        // For fsck.erofs(1), which is tried by hand.
        if let Some(path) = std::env::var_os("EROFS_KEEP") {
            fs::write(path, &first).unwrap();
        }
        Ok(one)
    }

    fn mount(&self) -> Result<Mount, String> {
        let devices: Vec<File> = self.archives.iter().map(|(_, file, _)| file.try_clone().unwrap()).collect();
        Ok(Mount::new(Path::new("image"), &self.index()?, &devices).unwrap())
    }

    /// Both trees, or none if the layers cannot be applied.
    fn both(&self) -> Option<(BTreeMap<String, String>, BTreeMap<String, String>)> {
        match (self.unpack(), self.mount()) {
            (Ok(unpacked), Ok(mount)) => {
                let mounted = PathBuf::from(format!("/proc/self/fd/{}/", mount.as_fd().as_raw_fd()));
                Some((describe(&unpacked), describe(&mounted)))
            }
            (Err(_), Err(_)) => None,
            (unpacked, mounted) => panic!("{unpacked:?} {mounted:?}"),
        }
    }
}

/// Whether this process can mount what it writes.
fn can_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    mount::probe(folder.path()).is_ok()
}

/// Every name below `root` with all that can be known of it.
fn describe(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut first = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(path) = left.pop() {
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        let stat = fs::symlink_metadata(&path).unwrap();
        let kind = stat.file_type();
        let mut line =
            format!("{:o} {}:{} {}.{}", stat.mode(), stat.uid(), stat.gid(), stat.mtime(), stat.mtime_nsec());
        if kind.is_dir() {
            let mut names: Vec<PathBuf> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            // Deeper paths first, so that the first name of a file is always the same.
            names.sort_by(|a, b| b.cmp(a));
            line += &format!(" {} links", stat.nlink());
            left.extend(names);
        } else {
            line += &format!(" {} links of {}", stat.nlink(), first.entry(stat.ino()).or_insert_with(|| name.clone()));
        }
        if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            line += &format!(" {} {}", bytes.len(), digest::sha256(&bytes));
        } else if kind.is_symlink() {
            line += &format!(" -> {:?} {}", fs::read_link(&path).unwrap(), stat.size());
        } else if kind.is_char_device() || kind.is_block_device() {
            line += &format!(" {:x}", stat.rdev());
        }
        let (parent, own) = (path.parent().unwrap(), path.file_name());
        let own = if name.is_empty() { Path::new("") } else { Path::new(own.unwrap()) };
        let parent = if name.is_empty() { root } else { parent };
        let mut xattrs = Root::open(parent).unwrap().xattrs(own).unwrap();
        xattrs.sort();
        for (key, value) in xattrs {
            line += &format!(" {}={}", key.to_string_lossy(), value.escape_ascii());
        }
        found.insert(name, line);
    }
    found
}

#[track_caller]
fn assert_same(layers: &[Vec<Item>]) {
    if !can_mount() {
        return;
    }
    let Some((unpacked, mounted)) = Stack::new(layers).both() else { return };
    assert!(unpacked == mounted, "{}", difference(&unpacked, &mounted, layers));
}

/// The names that differ, and the layers.
fn difference(unpacked: &BTreeMap<String, String>, mounted: &BTreeMap<String, String>, layers: &[Vec<Item>]) -> String {
    let names: std::collections::BTreeSet<_> = unpacked.keys().chain(mounted.keys()).collect();
    let differ = names.into_iter().filter(|name| unpacked.get(*name) != mounted.get(*name));
    let differ = differ
        .map(|name| format!("{name:?}\n  unpacked {:?}\n  mounted  {:?}\n", unpacked.get(name), mounted.get(name)));
    let lines = layers.iter().enumerate().flat_map(|(layer, items)| items.iter().map(move |item| (layer, &item.0)));
    let lines = lines.map(|(layer, entry)| {
        format!("{layer}: {:?} {:?} {:o} {}\n", entry.path, entry.kind, entry.mode, entry.modified.seconds)
    });
    differ.chain(lines.take(50)).collect()
}

fn item(path: &str, kind: Kind, data: &[u8]) -> Item {
    let modified = Time { seconds: 1_234_567_890, nanoseconds: 123_456_789 };
    (Entry { size: data.len() as u64, modified, ..Entry::new(path, kind, 0o755) }, data.to_vec())
}

fn file(path: &str, data: &[u8]) -> Item {
    item(path, Kind::File, data)
}

#[test]
fn every_type_and_size_is_shown_as_it_was_unpacked() {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n / 3) as u8).collect();
    let mut items = vec![item("./", Kind::Directory, b"")];
    items[0].0.mode = 0o1751;
    for size in [0, 1, 511, 512, 513, 4095, 4096, 4097, 65_536, 1_000_000, 3_000_000] {
        items.push(file(&format!("files/{size}"), &bytes[..size]));
    }
    for length in [1, 59, 300, 400, 420, 448, 449, 511, 512, 513, 1000, 4000, 4095] {
        let target = "x/".repeat(2048)[..length].to_owned();
        items.push(item(&format!("links/{length}"), Kind::Symlink(target.into()), b""));
    }
    for (name, kind) in [
        ("null", Kind::Character(1, 3)),
        ("big", Kind::Block(4095, 1_048_575)),
        ("fifo", Kind::Fifo),
        ("again", Kind::HardLink("devices/null".into())),
        ("link", Kind::HardLink("links/59".into())),
    ] {
        items.push(item(&format!("devices/{name}"), kind, b""));
    }
    for count in [1, 8, 9, 30, 31, 200, 3000] {
        for number in 0..count {
            items.push(file(&format!("folders/{count}/{number:0width$}", width = number % 250 + 1), b"x"));
        }
    }
    for (number, time) in [(i64::from(i32::MIN), 0), (-1, 999_999_999), (0, 1), (8_000_000_000, 5)].iter().enumerate() {
        let mut item = file(&format!("times/{number}"), b"");
        item.0.modified = Time { seconds: time.0, nanoseconds: time.1 };
        items.push(item);
    }
    let mut owned = file("owner", b"x");
    (owned.0.uid, owned.0.gid, owned.0.mode) = (4_000_000_000, 70_000, 0o6755);
    items.push(owned);
    assert_same(&[items]);
}

#[test]
fn attributes_are_inline_or_shared() {
    let mut items = Vec::new();
    for number in 0..40usize {
        let kind = match number % 5 {
            0 => Kind::Directory,
            1 => Kind::Symlink("target".into()),
            2 => Kind::Fifo,
            _ => Kind::File,
        };
        let mut item = item(&format!("{number}"), kind, b"");
        let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        item.0.xattrs = vec![
            ("security.capability".into(), capability),
            ("trusted.shared".into(), vec![7; number % 3 * 100]),
            (format!("trusted.own.{number}").into(), vec![number as u8; number * 30]),
            ("user.only.files".into(), b"".to_vec()),
            ("user.overlay.opaque".into(), b"y".to_vec()),
            ("trusted.overlay.opaque".into(), b"y".to_vec()),
            ("unknown.name".into(), b"x".to_vec()),
        ];
        if number % 7 == 0 {
            item.0.xattrs.clear();
        }
        items.push(item);
    }
    assert_same(&[items]);
}

#[test]
fn sparse_files_have_their_holes_back() {
    let maps: &[(u64, &[(u64, u64)])] = &[
        (1 << 20, &[(0, 4096), (8192, 512), (1 << 19, 1000)]),
        (10_000, &[(1, 3), (700, 20), (9_999, 1)]),
        (4096, &[]),
        (1 << 30, &[(1 << 29, 4096), (1 << 30, 0)]),
        (5_000, &[(0, 5_000)]),
        (8192, &[(512, 100), (4096, 4096)]),
    ];
    let mut items = Vec::new();
    for (number, (size, map)) in maps.iter().enumerate() {
        let stored: u64 = map.iter().map(|(_, length)| length).sum();
        let mut item = file(&number.to_string(), &vec![b'a' + number as u8; stored as usize]);
        (item.0.size, item.0.sparse) = (*size, Some(map.to_vec()));
        items.push(item);
    }
    assert_same(&[items]);
}

#[test]
fn a_hundred_and_fifty_archives_are_devices() {
    let layers: Vec<Vec<Item>> = (0..150)
        .map(|number| {
            vec![file(&format!("only/{number}"), format!("{number}").as_bytes()), file("all", &[number; 700])]
        })
        .collect();
    assert_same(&layers);
}

#[test]
fn what_cannot_be_expressed_is_refused() {
    let mut acl = file("f", b"");
    acl.0.xattrs = vec![("system.posix_acl_access".into(), b"\x02\0\0\0".to_vec())];
    let mut huge = file("f", b"");
    (huge.0.size, huge.0.sparse) = (1 << 50, Some(vec![(512, 0), (1 << 49, 0)]));
    let long = item("f", Kind::Symlink("x".repeat(4096).into()), b"");
    let device = item("f", Kind::Block(4096, 0), b"");
    for item in [acl, long, device, file(&"x".repeat(256), b"")] {
        let error = Stack::new(&[vec![item]]).index().unwrap_err();
        assert!(error.contains("does not fit"), "{error}");
    }
    // Holes without a piece between them are one.
    assert!(Stack::new(&[vec![huge]]).index().is_ok());
}

#[test]
fn a_link_cannot_take_the_place_of_the_folder_with_its_file() {
    let link = |target: &str| item("a", Kind::HardLink(target.into()), b"");
    for layers in [
        vec![vec![link("a/c"), file("a/c", b"x")]],
        vec![vec![file("a/c", b"x"), link("a/c")]],
        vec![vec![file("a/b/c", b"x")], vec![link("a/b/c")]],
        vec![vec![link("a/c"), file("a/c", b"x"), file("kept", b"x")]],
    ] {
        let stack = Stack::new(&layers);
        for refused in [stack.unpack().map(drop), stack.index().map(drop)] {
            let error = refused.unwrap_err();
            assert!(error.contains("Link {"), "{error}");
        }
    }
    // The folder may be another one, and the way to the file lead through a link.
    assert_same(&[vec![file("b/c", b"x"), file("a/d", b"x"), link("b/c")]]);
    assert_same(&[vec![file("b/c", b"x"), item("a", Kind::Symlink("b".into()), b"")], vec![link("a/c")]]);
}

/// A few names, so that layers meet.
fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c"), Just("a.b"), Just("!x")];
    proptest::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"))
}

fn any_item() -> impl Strategy<Value = Item> {
    let kind = prop_oneof![
        6 => Just(Kind::File),
        6 => Just(Kind::Directory),
        2 => path().prop_map(|path| Kind::Symlink(path.into())),
        1 => path().prop_map(|path| Kind::Symlink(format!("/{path}").into())),
        1 => path().prop_map(|path| Kind::Symlink(format!("../{path}").into())),
        3 => path().prop_map(|path| Kind::HardLink(path.into())),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Character(1, 3)),
        1 => Just(Kind::Character(0, 0)),
    ];
    let data = proptest::collection::vec(any::<u8>(), 0..1500);
    let xattrs = proptest::collection::btree_map("user\\.[ab]", proptest::collection::vec(any::<u8>(), 0..40), 0..2);
    let time = (0i64..2_000_000_000, 0u32..1_000_000_000);
    let whiteout = prop_oneof![8 => Just(""), 2 => Just(".wh."), 1 => Just("opaque")];
    (path(), kind, whiteout, data, 0u32..0o10000, 0u32..100_000, time, xattrs).prop_map(
        |(path, mut kind, whiteout, data, mode, owner, (seconds, nanoseconds), xattrs)| {
            let mut path = PathBuf::from(path);
            match whiteout {
                "" => {}
                "opaque" => (path, kind) = (path.join(".wh..wh..opq"), Kind::File),
                prefix => {
                    let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
                    (path, kind) = (path.with_file_name(name), Kind::File);
                }
            }
            let data = if kind == Kind::File && whiteout.is_empty() { data } else { Vec::new() };
            let modified = Time { seconds, nanoseconds };
            let xattrs = xattrs.into_iter().map(|(key, value)| (key.into(), value)).collect();
            let size = data.len() as u64;
            (Entry { mode, uid: owner, gid: owner / 2, modified, xattrs, size, ..Entry::new(path, kind, 0) }, data)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mounted_image_is_what_unpacking_makes(
        layers in proptest::collection::vec(proptest::collection::vec(any_item(), 0..12), 1..5)
    ) {
        if can_mount() && let Some((unpacked, mounted)) = Stack::new(&layers).both() {
            prop_assert!(unpacked == mounted, "{}", difference(&unpacked, &mounted, &layers));
        }
    }
}
