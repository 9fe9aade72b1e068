//! Extended attributes: behind the inode that has them, or once for all inodes that share them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::Error;
use crate::layer::apply::is_overlay_mark;
use crate::layer::entry::{Entry, Kind};

/// The size of the header before the attributes of an inode.
const HEADER: u64 = 12;
/// The most attributes that one inode can share with others.
const SHARED: usize = 255;
/// The largest body of attributes that an inode can have.
const BODY: u64 = HEADER + 4 * (u16::MAX as u64 - 1);

/// An attribute: the number of its namespace, the rest of its name, and its value.
type Attribute<'a> = (u8, &'a [u8], &'a [u8]);

/// The attributes of all inodes.
#[derive(Default)]
pub(super) struct Table<'a> {
    /// How many inodes have it.
    counts: HashMap<Attribute<'a>, u32>,
    /// Where it lies among the shared ones, in words.
    places: HashMap<Attribute<'a>, u32>,
    shared: Vec<u8>,
}

impl<'a> Table<'a> {
    /// Counts the attributes of an inode.
    pub(super) fn count(&mut self, attributes: &[Attribute<'a>]) {
        for attribute in attributes {
            *self.counts.entry(*attribute).or_default() += 1;
        }
    }

    /// Gives the attributes a place that more than one inode has; in the order of the calls, so that it is always the same.
    pub(super) fn share(&mut self, attributes: &[Attribute<'a>]) -> Result<(), Error> {
        for attribute in attributes {
            if self.counts.get(attribute).is_some_and(|count| *count > 1) && !self.places.contains_key(attribute) {
                let place = u32::try_from(self.shared.len() / 4);
                let place = place.map_err(|_| Error::TooMany { what: "extended attributes" })?;
                self.places.insert(*attribute, place);
                push(&mut self.shared, *attribute);
            }
        }
        Ok(())
    }

    /// The shared attributes on disk.
    pub(super) fn shared(&self) -> &[u8] {
        &self.shared
    }

    /// The attributes of an inode on disk; empty if there are none.
    pub(super) fn body(&self, attributes: &[Attribute<'a>]) -> Vec<u8> {
        if attributes.is_empty() {
            return Vec::new();
        }
        let (mut words, mut own) = (Vec::new(), Vec::new());
        for attribute in attributes {
            match self.places.get(attribute).filter(|_| words.len() < SHARED) {
                Some(place) => words.push(*place),
                None => push(&mut own, *attribute),
            }
        }
        let mut body = vec![0; HEADER as usize];
        body[4] = words.len() as u8;
        body.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        body.extend(own);
        body
    }
}

fn push(bytes: &mut Vec<u8>, (namespace, name, value): Attribute<'_>) {
    bytes.extend([name.len() as u8, namespace]);
    bytes.extend((value.len() as u16).to_le_bytes());
    bytes.extend(name);
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes of an entry that its file has, sorted. What a local file system would not keep is left out: namespaces that
/// Linux does not know, `user.*` of what is neither file nor directory (xattr(7)), and marks of overlayfs.
pub(super) fn of<'a>(entry: &'a Entry) -> Result<Vec<Attribute<'a>>, Error> {
    let mut found: Vec<Attribute<'a>> = Vec::new();
    // Of two with one name, the last counts.
    for (key, value) in entry.xattrs.iter().rev() {
        let Some((namespace, name)) = namespace(key, entry)? else { continue };
        if !found.iter().any(|(known, other, _)| (*known, *other) == (namespace, name)) {
            found.push((namespace, name, value));
        }
    }
    found.sort_unstable();
    let size: u64 = found.iter().map(|(_, name, value)| (4 + name.len() + value.len() + 3) as u64).sum();
    if size + HEADER > BODY {
        return Err(Error::TooMany { what: "extended attributes" });
    }
    Ok(found)
}

/// The number of an attribute's namespace and the rest of its name; `None` if it is left out.
fn namespace<'a>(key: &'a OsStr, entry: &'a Entry) -> Result<Option<(u8, &'a [u8])>, Error> {
    let unfit = |what| Error::Unfit { path: PathBuf::from(key), what };
    let bytes = key.as_bytes();
    if bytes.starts_with(b"system.posix_acl_") {
        // They change the mode when they are set, and files inherit them, so they are no mere values.
        return Err(unfit("an access control list"));
    }
    let parts = [(1, &b"user."[..]), (4, b"trusted."), (6, b"security.")];
    let found = parts.iter().find_map(|(number, prefix)| Some((*number, bytes.strip_prefix(*prefix)?)));
    let Some((number, name)) = found.filter(|_| !is_overlay_mark(key)) else { return Ok(None) };
    if number == 1 && !matches!(entry.kind, Kind::File | Kind::Directory) {
        return Ok(None);
    }
    if name.is_empty() || bytes.len() > 255 || bytes.contains(&0) {
        return Err(unfit("the name of this attribute"));
    }
    let value = entry.xattrs.iter().rev().find(|(other, _)| other == key).map(|(_, value)| value.as_slice());
    let value = value.unwrap_or_default();
    if value.len() > usize::from(u16::MAX) {
        return Err(unfit("the value of this attribute"));
    }
    if bytes == b"security.capability" && !is_capability(value) {
        return Err(unfit("a capability that is none"));
    }
    Ok(Some((number, name)))
}

/// Whether the kernel would take the value as a file's capabilities (struct vfs_ns_cap_data, revisions 2 and 3).
fn is_capability(value: &[u8]) -> bool {
    matches!((value.len(), value.get(3)), (20, Some(2)) | (24, Some(3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(xattrs: &[(&str, &[u8])], kind: Kind) -> Entry {
        let xattrs = xattrs.iter().map(|(key, value)| ((*key).into(), value.to_vec())).collect();
        Entry { xattrs, ..Entry::new("x", kind, 0o644) }
    }

    #[test]
    fn only_what_a_file_can_have_is_kept() {
        let all: &[(&str, &[u8])] = &[
            ("user.a", b"old"),
            ("security.x", b"2"),
            ("com.apple.y", b"3"),
            ("trusted.overlay.opaque", b"y"),
            ("trusted.z", b""),
            ("user.a", b"new"),
        ];
        let file = entry(all, Kind::File);
        assert_eq!(of(&file).unwrap(), [(1, &b"a"[..], &b"new"[..]), (4, b"z", b""), (6, b"x", b"2")]);
        let fifo = entry(all, Kind::Fifo);
        assert_eq!(of(&fifo).unwrap(), [(4, &b"z"[..], &b""[..]), (6, b"x", b"2")]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = "user.".to_owned() + &"x".repeat(251);
        let big = vec![0; 65536];
        for (key, value) in [
            ("user.", &b""[..]),
            (long.as_str(), b""),
            ("user.big", &big),
            ("security.capability", b"\0\0\0\x02too short"),
            ("system.posix_acl_access", b"\x02\0\0\0"),
        ] {
            assert!(matches!(of(&entry(&[(key, value)], Kind::File)), Err(Error::Unfit { .. })), "{key}");
        }
        let many: Vec<(String, Vec<u8>)> = (0..5).map(|n| (format!("user.{n}"), vec![n; 60_000])).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
        assert!(matches!(of(&entry(&many, Kind::File)), Err(Error::TooMany { .. })));
    }

    #[test]
    fn what_several_have_is_stored_once() {
        let (one, two) =
            (entry(&[("user.a", b"1")], Kind::File), entry(&[("user.a", b"1"), ("user.b", b"2")], Kind::File));
        let (one, two) = (of(&one).unwrap(), of(&two).unwrap());
        let mut table = Table::default();
        for attributes in [&one, &two] {
            table.count(attributes);
        }
        for attributes in [&one, &two] {
            table.share(attributes).unwrap();
        }
        assert_eq!(table.shared(), [1, 1, 1, 0, b'a', b'1', 0, 0]);
        assert_eq!(table.body(&one).len(), 16);
        assert_eq!(table.body(&two).len(), 24);
        assert!(table.body(&[]).is_empty());
    }
}
