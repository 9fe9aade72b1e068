//! Root filesystems compared file by file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Each entry below `root` by its path, with a line that holds its mode, owner, time, hard links, content, target or device, and
/// extended attributes.
pub fn describe(root: &Path) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    let mut links: BTreeMap<u64, String> = BTreeMap::new();
    walk(root, root, &mut entries, &mut links);
    entries
}

fn walk(root: &Path, path: &Path, entries: &mut BTreeMap<String, String>, links: &mut BTreeMap<u64, String>) {
    let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
    let metadata = fs::symlink_metadata(path).unwrap();
    let kind = metadata.file_type();
    let mut line = format!("{:o} {}:{}", metadata.mode(), metadata.uid(), metadata.gid());
    if !kind.is_dir() {
        // Runtimes create mount points, so a directory's time says what ran, not what was unpacked.
        let _ = write!(line, " {}", metadata.mtime());
        // Inode numbers differ between trees: a hard link is described by the first name of the same file.
        if metadata.nlink() > 1 {
            let first = links.entry(metadata.ino()).or_insert_with(|| name.clone());
            let _ = write!(line, " link of {first}");
        }
    }
    if kind.is_file() {
        let digest = Sha256::digest(fs::read(path).unwrap());
        let _ = write!(line, " {} ", metadata.len());
        for byte in &digest[..8] {
            let _ = write!(line, "{byte:02x}");
        }
    } else if kind.is_symlink() {
        let _ = write!(line, " -> {}", fs::read_link(path).unwrap().as_os_str().as_bytes().escape_ascii());
    } else if kind.is_block_device() || kind.is_char_device() {
        let _ = write!(line, " device {:x}", metadata.rdev());
    }
    for (key, value) in attributes(path) {
        let _ = write!(line, " {key}={value}");
    }
    entries.insert(name, line);
    if kind.is_dir() {
        let mut inside: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        inside.sort();
        for path in inside {
            walk(root, &path, entries, links);
        }
    }
}

/// The extended attributes that belong to the image, with their values escaped.
fn attributes(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0_u8; 4096];
    let Ok(length) = rustix::fs::llistxattr(path, names.as_mut_slice()) else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name).unwrap();
        if name == "security.selinux" || name.contains("overlay.") || name.starts_with("user.umoci") {
            continue;
        }
        let mut value = vec![0_u8; 65536];
        let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
        found.insert(name.to_owned(), value[..length].escape_ascii().to_string());
    }
    found
}

/// Asserts that two trees are equal except for the entries named in `except`; the message lists the first differences.
#[track_caller]
pub fn assert_equal(ours: &Path, theirs: &Path, except: &[&str]) {
    let keep = |entries: BTreeMap<String, String>| -> BTreeMap<String, String> {
        entries.into_iter().filter(|(name, _)| !except.contains(&name.as_str())).collect()
    };
    let (ours, theirs) = (keep(describe(ours)), keep(describe(theirs)));
    assert!(ours.len() > 1, "an empty tree proves nothing");
    let mut differences = Vec::new();
    for name in ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (our, their) = (ours.get(name), theirs.get(name));
        if our != their {
            differences.push(format!("{name:?}\n    ours   {our:?}\n    theirs {their:?}"));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences\n{}",
        differences.len(),
        differences[..differences.len().min(10)].join("\n")
    );
}
