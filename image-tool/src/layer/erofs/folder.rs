//! The blocks of a directory: in each, the numbers and types of some names, and then the names. The names ascend over all
//! blocks, because the kernel looks them up by bisection.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{BLOCK, Error};

/// The size of a name's number, place and type.
const ENTRY: usize = 12;
/// The longest name.
const NAME: usize = 255;

/// Which names a directory has in which block; its own name and that of its parent are among them.
pub(super) struct Folder<'a> {
    /// The names with the numbers of their nodes.
    names: Vec<(&'a [u8], usize)>,
    /// Where each block ends in the names.
    ends: Vec<usize>,
    /// The bytes that the last block has.
    last: usize,
}

impl<'a> Folder<'a> {
    /// Sorts the names of the node `number` into blocks.
    pub(super) fn new(number: usize, parent: usize, names: &[(&'a OsStr, usize)]) -> Result<Self, Error> {
        let mut all: Vec<(&'a [u8], usize)> = Vec::with_capacity(names.len() + 2);
        let mut own = [(&b"."[..], number), (&b".."[..], parent)].into_iter().peekable();
        let mut before: Option<&[u8]> = None;
        for (name, node) in names {
            let bytes = name.as_bytes();
            let is_bad = bytes.is_empty() || bytes.len() > NAME || bytes.iter().any(|byte| matches!(byte, 0 | b'/'));
            if is_bad || matches!(bytes, b"." | b"..") {
                return Err(Error::Unfit { path: PathBuf::from(name), what: "this name" });
            }
            if before.is_some_and(|before| before.cmp(bytes) != Ordering::Less) {
                return Err(Error::Tree { number, what: "names that do not ascend" });
            }
            before = Some(bytes);
            while let Some(first) = own.next_if(|(first, _)| *first < bytes) {
                all.push(first);
            }
            all.push((bytes, *node));
        }
        all.extend(own);
        let (mut ends, mut used) = (Vec::new(), 0);
        for (index, (name, _)) in all.iter().enumerate() {
            let size = ENTRY + name.len();
            if used + size > BLOCK as usize {
                ends.push(index);
                used = 0;
            }
            used += size;
        }
        ends.push(all.len());
        Ok(Self { names: all, ends, last: used })
    }

    /// The size of the directory in bytes.
    pub(super) fn size(&self) -> u64 {
        (self.ends.len() as u64 - 1) * BLOCK + self.last as u64
    }

    /// The bytes of all blocks; the last one is not filled up. `place` tells the number on disk and the type of a node.
    pub(super) fn bytes(&self, place: impl Fn(usize) -> (u64, u8)) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size() as usize);
        let mut start = 0;
        for end in &self.ends {
            bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
            let names = &self.names[start..*end];
            let mut offset = names.len() * ENTRY;
            for (name, node) in names {
                let (number, kind) = place(*node);
                bytes.extend(number.to_le_bytes());
                bytes.extend((offset as u16).to_le_bytes());
                bytes.extend([kind, 0]);
                offset += name.len();
            }
            bytes.extend(names.iter().flat_map(|(name, _)| name.iter().copied()));
            start = *end;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> Result<u64, Error> {
        let names: Vec<(&OsStr, usize)> = names.iter().map(|name| (OsStr::new(name), 1)).collect();
        Ok(Folder::new(0, 0, &names)?.size())
    }

    #[test]
    fn names_fill_blocks_in_order() {
        assert_eq!(folder(&[]).unwrap(), 27);
        let names = ["!first", "a", "b"].map(OsStr::new);
        let names: Vec<(&OsStr, usize)> = names.into_iter().zip(1..).collect();
        let folder = Folder::new(0, 0, &names).unwrap();
        let bytes = folder.bytes(|node| (node as u64 + 7, 2));
        assert_eq!(bytes.len() as u64, folder.size());
        assert_eq!(&bytes[..12], [8, 0, 0, 0, 0, 0, 0, 0, 60, 0, 2, 0]);
        assert_eq!(&bytes[60..], b"!first...ab");
        let many: Vec<String> = (0..500).map(|n| format!("{n:0250}")).collect();
        let many: Vec<(&OsStr, usize)> = many.iter().map(|name| (OsStr::new(name), 0)).collect();
        let folder = Folder::new(0, 0, &many).unwrap();
        assert_eq!(folder.bytes(|_| (0, 0)).len() as u64, folder.size());
    }

    #[test]
    fn names_that_the_kernel_could_not_find_are_refused() {
        let long = "x".repeat(256);
        for names in [&[""][..], &["a/b"], &["."], &[".."], &["a\0"], &[long.as_str()]] {
            assert!(matches!(folder(names), Err(Error::Unfit { .. })), "{names:?}");
        }
        assert!(folder(&["x".repeat(255).as_str()]).is_ok());
        for names in [&["b", "a"][..], &["a", "a"]] {
            assert!(matches!(folder(names), Err(Error::Tree { .. })), "{names:?}");
        }
    }
}
