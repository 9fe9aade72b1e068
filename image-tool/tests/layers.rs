//! Applying and packing layers according to the image-spec.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use image_tool::beneath::{Root, Time};
use image_tool::layer::apply::{Applier, Error, Marks, Options, Skipped, Target};
use image_tool::layer::diff;
use image_tool::layer::entry::{self, Entry, Kind, Writer};
use image_tool::layer::owner::Owners;
use tempfile::TempDir;

/// Entries as an archive.
fn archive(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        if entry.kind == Kind::File {
            writer.file(entry, data).unwrap();
        } else {
            writer.entry(entry).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn file<'a>(path: &str, data: &'a str) -> (Entry, &'a [u8]) {
    (Entry { modified: time(5), ..Entry::new(path, Kind::File, 0o644) }, data.as_bytes())
}

fn directory<'a>(path: &str) -> (Entry, &'a [u8]) {
    (Entry { modified: time(7), ..Entry::new(path, Kind::Directory, 0o755) }, b"")
}

fn link<'a>(path: &str, target: &str) -> (Entry, &'a [u8]) {
    (Entry::new(path, Kind::Symlink(target.into()), 0o777), b"")
}

fn hard<'a>(path: &str, target: &str) -> (Entry, &'a [u8]) {
    (Entry::new(path, Kind::HardLink(target.into()), 0o644), b"")
}

fn time(seconds: i64) -> Time {
    Time { seconds, nanoseconds: 0 }
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn tree() -> Options {
    Options { owners: if root() { Owners::Kept } else { Owners::Caller }, ..Options::tree() }
}

fn lower() -> Options {
    let marks = if root() { Marks::Trusted } else { Marks::User };
    Options { target: Target::Lower(marks), ..tree() }
}

fn apply(folder: &Path, options: &Options, layers: &[Vec<u8>]) -> Result<Skipped, Error> {
    let mut applier = Applier::new(Root::open(folder).unwrap(), options.clone());
    for layer in layers {
        applier.layer(&layer[..])?;
    }
    applier.finish()
}

fn applied(layers: &[Vec<u8>]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    apply(folder.path(), &tree(), layers).unwrap();
    folder
}

/// All paths in a folder, sorted; those of directories end in a slash.
fn paths(folder: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        paths.push(if entry.file_type().is_dir() { path + "/" } else { path });
    }
    paths
}

#[test]
fn a_whiteout_deletes_what_lower_layers_brought() {
    let base = archive(&[directory("a/"), file("a/1", ""), directory("a/b/"), file("a/b/2", ""), file("3", "")]);
    let folder = applied(&[base.clone(), archive(&[file("a/.wh.b", ""), file(".wh.3", ""), file(".wh.nothing", "")])]);
    assert_eq!(paths(folder.path()), ["a/", "a/1"]);
    let folder = applied(&[base, archive(&[file("x/y/.wh.z", "")])]);
    assert!(!folder.path().join("x").exists(), "a deletion makes no directory");
}

#[test]
fn a_whiteout_spares_what_its_own_layer_brings_in_either_order() {
    let base = archive(&[directory("a/"), file("a/old", ""), directory("a/b/"), file("a/b/old", "")]);
    let parts = [file("a/b/new", "new"), file("a/.wh.b", ""), file("a/.wh..wh..opq", "")];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
        let layer = archive(&order.map(|index| parts[index].clone()));
        let folder = applied(&[base.clone(), layer]);
        assert_eq!(paths(folder.path()), ["a/", "a/b/", "a/b/new"], "{order:?}");
    }
}

#[test]
fn an_opaque_whiteout_keeps_entries_of_its_own_layer() {
    let base = archive(&[directory("a/"), file("a/old", ""), directory("a/sub/"), file("a/sub/old", "")]);
    for layer in [
        archive(&[
            directory("a/"),
            file("a/.wh..wh..opq", ""),
            file("a/new", ""),
            directory("a/sub/"),
            file("a/sub/new", ""),
        ]),
        archive(&[
            directory("a/"),
            file("a/new", ""),
            directory("a/sub/"),
            file("a/sub/new", ""),
            file("a/.wh..wh..opq", ""),
        ]),
    ] {
        assert_eq!(paths(applied(&[base.clone(), layer]).path()), ["a/", "a/new", "a/sub/", "a/sub/new"]);
    }
}

#[test]
fn aufs_bookkeeping_means_nothing_and_a_nameless_whiteout_is_refused() {
    let folder = applied(&[archive(&[file(".wh..wh.aufs", ""), directory(".wh..wh.plnk/"), file("a", "")])]);
    assert_eq!(paths(folder.path()), ["a"]);
    for name in [".wh.", ".wh..", ".wh..."] {
        let folder = tempfile::tempdir().unwrap();
        let base = archive(&[directory("a/"), file("a/1", "")]);
        let layer = archive(&[file(&format!("a/{name}"), "")]);
        assert!(matches!(apply(folder.path(), &tree(), &[base, layer]), Err(Error::Whiteout { .. })), "{name}");
        assert!(folder.path().join("a/1").exists(), "{name}");
    }
}

#[test]
fn a_lower_directory_holds_overlayfs_marks() {
    let layer = archive(&[
        directory("a/"),
        file("a/.wh..wh..opq", ""),
        file("a/new", ""),
        file(".wh.gone", ""),
        file(".wh.replaced", ""),
        directory("replaced/"),
        directory("kept/"),
        file(".wh.kept", ""),
        file(".wh.file", ""),
        file("file", ""),
    ]);
    let folder = tempfile::tempdir().unwrap();
    apply(folder.path(), &lower(), &[layer]).unwrap();
    let opaque = if root() { Marks::Trusted } else { Marks::User }.opaque();
    let is_opaque = |path: &str| {
        let xattrs = Root::open(folder.path()).unwrap().xattrs(path).unwrap();
        xattrs.iter().any(|(key, value)| key == opaque && value == b"y")
    };
    let gone = fs::symlink_metadata(folder.path().join("gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert!(is_opaque("a") && is_opaque("replaced") && is_opaque("kept"));
    // Without it, a directory that no other layer has would show the whiteout.
    let marked = Root::open(folder.path()).unwrap().xattrs(".").unwrap();
    assert!(marked.iter().any(|(key, value)| key.to_str().unwrap().ends_with(".overlay.origin") && value.is_empty()));
    assert!(folder.path().join("file").is_file());
    assert_eq!(paths(folder.path()), ["a/", "a/new", "file", "gone", "kept/", "replaced/"]);
}

#[test]
fn what_comes_later_replaces_what_came_before() {
    let base = archive(&[directory("d/"), file("d/1", ""), file("f", "old"), link("l", "f"), link("dir", "d")]);
    let folder =
        applied(&[base, archive(&[file("d", "now a file"), directory("f/"), file("l", "new"), directory("dir/")])]);
    assert_eq!(paths(folder.path()), ["d", "dir/", "f/", "l"]);
    assert!(folder.path().join("l").symlink_metadata().unwrap().is_file(), "the link was not written through");
    let folder = applied(&[archive(&[file("f", "first"), file("f", "second")])]);
    assert_eq!(fs::read_to_string(folder.path().join("f")).unwrap(), "second");
}

#[test]
fn links_to_directories_are_followed_inside_the_root() {
    let base = archive(&[directory("usr/"), directory("usr/lib/"), link("lib", "usr/lib"), link("var", "/run")]);
    let folder = applied(&[base, archive(&[file("lib/x", "x"), file("var/y/z", "z")])]);
    assert_eq!(fs::read_to_string(folder.path().join("usr/lib/x")).unwrap(), "x");
    assert_eq!(fs::read_to_string(folder.path().join("run/y/z")).unwrap(), "z");
    assert!(folder.path().join("lib").is_symlink() && folder.path().join("var").is_symlink());
}

#[test]
fn hard_links_wait_for_their_target() {
    let folder = applied(&[archive(&[hard("second", "first"), hard("third", "second"), file("first", "data")])]);
    let inode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().ino();
    assert_eq!((inode("first"), inode("first")), (inode("second"), inode("third")));
    let base = archive(&[file("base", "data"), link("link", "base")]);
    let folder = applied(&[base, archive(&[hard("again", "base"), hard("linked", "link"), hard("base", "base")])]);
    assert_eq!(fs::metadata(folder.path().join("base")).unwrap().nlink(), 2);
    assert!(folder.path().join("linked").is_symlink());
    let folder = tempfile::tempdir().unwrap();
    let missing = apply(folder.path(), &tree(), &[archive(&[hard("a", "nothing")])]);
    assert!(matches!(missing, Err(Error::Link { .. })), "{missing:?}");
}

#[test]
fn times_of_directories_are_what_the_layer_says_and_others_stay() {
    let base = archive(&[directory("a/"), directory("a/b/"), file("a/b/1", "")]);
    let folder = applied(&[base, archive(&[file("a/b/2", ""), file("a/.wh.nothing", ""), file("c/d/3", "")])]);
    for (path, expected) in [("a", 7), ("a/b", 7), ("a/b/2", 5), ("c", 5), ("c/d", 5)] {
        assert_eq!(fs::metadata(folder.path().join(path)).unwrap().mtime(), expected, "{path}");
    }
}

#[test]
fn directories_made_for_a_dangling_link_do_not_depend_on_the_clock() {
    let link = |target: &str| (Entry::new("a", Kind::Symlink(target.into()), 0o777), b"".as_slice());
    // The link leads elsewhere when the times are set.
    let folder = applied(&[archive(&[link("b"), file("a/c/f", "")]), archive(&[link("/elsewhere")])]);
    for path in ["b", "b/c"] {
        assert_eq!(fs::metadata(folder.path().join(path)).unwrap().mtime(), 5, "{path}");
    }
}

#[test]
fn a_directory_that_is_named_again_has_the_last_attributes_only() {
    let named = |xattrs: &[(&str, &str)]| {
        let xattrs = xattrs.iter().map(|(key, value)| ((*key).into(), value.as_bytes().to_vec())).collect();
        (Entry { xattrs, ..Entry::new("d/", Kind::Directory, 0o755) }, b"".as_slice())
    };
    let folder =
        applied(&[archive(&[named(&[("user.a", "1"), ("user.b", "2")])]), archive(&[named(&[("user.b", "3")])])]);
    assert_eq!(Root::open(folder.path()).unwrap().xattrs("d").unwrap(), [("user.b".into(), b"3".to_vec())]);
}

#[test]
fn a_device_of_overlayfs_deletes_and_a_loop_holds_nothing_to_delete() {
    let whiteout = (Entry::new("a", Kind::Character(0, 0), 0), b"".as_slice());
    let folder = applied(&[archive(&[file("a", "")]), archive(&[whiteout])]);
    assert!(!folder.path().join("a").exists());
    let link = (Entry::new("l", Kind::Symlink("l".into()), 0o777), b"".as_slice());
    applied(&[archive(&[link]), archive(&[file("l/.wh.x", "")])]);
}

#[test]
fn modes_owners_and_attributes_are_kept() {
    let entry = |path: &str, kind, mode| Entry {
        uid: 100_000,
        gid: 70_000,
        xattrs: vec![
            ("user.note".into(), b"a\nb\0".to_vec()),
            ("trusted.overlay.opaque".into(), b"y".to_vec()),
            ("user.overlay.redirect".into(), b"/etc".to_vec()),
        ],
        ..Entry::new(path, kind, mode)
    };
    let layer = archive(&[
        (entry("closed/", Kind::Directory, 0o000), b"".as_slice()),
        (entry("closed/setuid", Kind::File, 0o6755), b"x"),
        (entry("sticky/", Kind::Directory, 0o3777), b""),
        file("sticky/f", ""),
    ]);
    for options in [tree(), Options { owners: Owners::Caller, ..tree() }] {
        let folder = tempfile::tempdir().unwrap();
        apply(folder.path(), &options, std::slice::from_ref(&layer)).unwrap();
        let closed = fs::metadata(folder.path().join("closed")).unwrap();
        assert_eq!(closed.mode() & 0o7777, 0);
        if root() {
            let setuid = fs::metadata(folder.path().join("closed/setuid")).unwrap();
            assert_eq!(setuid.mode() & 0o7777, 0o6755);
            let kept = options.owners == Owners::Kept;
            assert_eq!(
                (setuid.uid(), setuid.gid()),
                if kept { (100_000, 70_000) } else { (0, if kept { 70_000 } else { 0 }) }
            );
            assert_eq!(
                fs::metadata(folder.path().join("sticky/f")).unwrap().gid(),
                0,
                "not the group of the directory"
            );
            let mut xattrs = Root::open(folder.path()).unwrap().xattrs("closed/setuid").unwrap();
            assert_eq!(xattrs.iter().any(|(key, _)| key == "user.rootlesscontainers"), !kept);
            xattrs.retain(|(key, _)| key != "user.rootlesscontainers");
            xattrs.sort();
            let data = ("user.overlay.redirect".into(), b"/etc".to_vec());
            let expected = [("user.note".into(), b"a\nb\0".to_vec()), data];
            assert_eq!(xattrs, expected, "a mark of root's overlays is not content, that of others is");
        }
        // So that it can be removed.
        fs::set_permissions(folder.path().join("closed"), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_rootless_tree_packs_with_the_owners_of_its_layer() {
    let layer = archive(&[
        (Entry { uid: 7, gid: 8, ..Entry::new("d", Kind::Directory, 0o755) }, b"".as_slice()),
        (Entry { uid: 100, ..Entry::new("d/f", Kind::File, 0o640) }, b"x"),
    ]);
    let options = Options { owners: Owners::Caller, ..tree() };
    let folder = tempfile::tempdir().unwrap();
    apply(folder.path(), &options, &[layer]).unwrap();
    let options = diff::Options { owners: Owners::Caller, ..diff::Options::default() };
    let bytes = diff::tree(&Root::open(folder.path()).unwrap(), Vec::new(), &options).unwrap();
    let mut reader = entry::Reader::new(&bytes[..]);
    let mut owners = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        assert!(entry.xattrs.is_empty());
        owners.push((entry.uid, entry.gid));
    }
    assert_eq!(owners, [(0, 0), (7, 8), (100, 0)]);
}

#[test]
fn devices_pipes_and_long_names_are_made() {
    let long = ["d".repeat(120), "e".repeat(120), "f".repeat(200)].join("/");
    let layer = archive(&[
        (Entry::new("null", Kind::Character(1, 3), 0o666), b"".as_slice()),
        (Entry::new("disk", Kind::Block(8, 1), 0o660), b""),
        (Entry::new("pipe", Kind::Fifo, 0o622), b""),
        file(&long, "long"),
        link("link", &long),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let skipped = apply(folder.path(), &tree(), &[layer]).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("link")).unwrap(), "long");
    let pipe = fs::symlink_metadata(folder.path().join("pipe")).unwrap();
    assert!(pipe.file_type().is_fifo() && pipe.mode() & 0o777 == 0o622);
    if root() {
        let null = fs::symlink_metadata(folder.path().join("null")).unwrap();
        assert!(
            null.file_type().is_char_device()
                && null.rdev() == rustix::fs::makedev(1, 3)
                && null.mode() & 0o777 == 0o666
        );
        assert_eq!(fs::symlink_metadata(folder.path().join("disk")).unwrap().rdev(), rustix::fs::makedev(8, 1));
    } else {
        assert_eq!(skipped["device node"], 2);
    }
}

#[test]
fn a_sparse_file_keeps_its_holes() {
    let folder = tempfile::tempdir().unwrap();
    let source = fs::File::create(folder.path().join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&source, b"end", 50 << 20).unwrap();
    for format in ["gnu", "posix"] {
        let output = std::process::Command::new("tar")
            .args(["--sparse", &format!("--format={format}"), "-C"])
            .arg(folder.path())
            .args(["-c", "sparse"])
            .output()
            .unwrap();
        let made = applied(&[output.stdout]);
        let metadata = fs::metadata(made.path().join("sparse")).unwrap();
        assert_eq!(metadata.len(), (50 << 20) + 3, "{format}");
        assert!(metadata.blocks() < 1000, "{format}: {} blocks", metadata.blocks());
        assert!(fs::read(made.path().join("sparse")).unwrap().ends_with(b"\0end"));
    }
}

#[test]
fn global_headers_change_nothing() {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XGlobalHeader);
    let record = b"14 path=../x\n";
    header.set_size(record.len() as u64 - 1);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.write_all(record).unwrap();
    bytes.resize(1024, 0);
    bytes.extend(archive(&[file("a", "")]));
    assert_eq!(paths(applied(&[bytes]).path()), ["a"]);
}

#[test]
fn an_upper_directory_becomes_whiteouts() {
    if !root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let upper = Root::open(folder.path()).unwrap();
    upper.create_directories("dir/sub", 0o755).unwrap();
    upper.write("dir/sub/file", b"x", 0o644).unwrap();
    upper.hard_link("dir/sub/file", "dir/again").unwrap();
    upper.set_xattr("dir", "trusted.overlay.opaque".as_ref(), b"y").unwrap();
    upper.set_xattr("dir/sub", "trusted.overlay.origin".as_ref(), b"?").unwrap();
    rustix::fs::mknodat(&upper, "gone", rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let mut options = diff::Options::default();
    options.exclude.insert("dir/left-out".into());
    upper.write("dir/left-out", b"", 0o644).unwrap();
    let bytes = diff::upper(&upper, Vec::new(), &options).unwrap();
    assert_eq!(bytes, diff::upper(&upper, Vec::new(), &options).unwrap());
    let mut reader = entry::Reader::new(&bytes[..]);
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        assert!(entry.xattrs.is_empty(), "{entry:?}");
        names.push((entry.path.to_str().unwrap().to_owned(), matches!(entry.kind, Kind::HardLink(_))));
    }
    let expected = [
        (".wh.gone", false),
        ("dir/", false),
        ("dir/.wh..wh..opq", false),
        ("dir/again", false),
        ("dir/sub/", false),
        ("dir/sub/file", true),
    ];
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(sorted.iter().map(|(name, hard)| (name.as_str(), *hard)).collect::<Vec<_>>(), expected, "{names:?}");
    upper.write(".wh.real", b"", 0o644).unwrap();
    assert!(matches!(diff::upper(&upper, Vec::new(), &options), Err(diff::Error::Name { .. })));
}

#[test]
fn times_are_clamped_and_sockets_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Root::open(folder.path()).unwrap();
    tree.write("new", b"", 0o644).unwrap();
    tree.write("old", b"", 0o644).unwrap();
    tree.set_modified("old", time(3)).unwrap();
    let options = diff::Options { latest: Some(1000), ..diff::Options::default() };
    let bytes = diff::tree(&tree, Vec::new(), &options).unwrap();
    let mut reader = entry::Reader::new(&bytes[..]);
    let mut times = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        times.push((entry.path.to_str().unwrap().to_owned(), entry.modified.seconds));
    }
    assert_eq!(times, [("./".to_owned(), 1000), ("new".to_owned(), 1000), ("old".to_owned(), 3)]);
    symlink("x", folder.path().join("link")).unwrap();
}
