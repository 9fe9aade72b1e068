//! The mounts of the own mount namespace, as `/proc/self/mountinfo` lists them (proc_pid_mountinfo(5)).
//!
//! The file is read as bytes: an ordinary user of the host may have mounted something at a path that is not UTF-8. Spaces are
//! written as `\040`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::Result;

use crate::kernel::error::Fails;

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// The directory of its file system that is mounted.
    pub(crate) root: PathBuf,
    /// The mount point.
    pub(crate) place: PathBuf,
    /// The type of the file system.
    pub(crate) kind: String,
    /// The file system's own options.
    pub(crate) options: String,
}

/// The mounts, in the order in which the kernel lists them: those of the boot come first. It writes as much of the table as is asked
/// for, so whoever has found what it looks for need not wait for the mounts of a thousand containers.
pub(crate) fn mounts() -> Result<impl Iterator<Item = Result<Mounted>>> {
    const TABLE: &str = "/proc/self/mountinfo";
    let table = File::open(TABLE).fails(|| format!("open {TABLE}"))?;
    let lines = BufReader::with_capacity(PIECE, table).split(b'\n');
    Ok(lines.filter_map(|line| match line.fails(|| format!("read {TABLE}")) {
        Ok(line) => parse(&line).map(Ok),
        Err(failure) => Some(Err(failure.into())),
    }))
}

/// All mounts.
pub(crate) fn read() -> Result<Vec<Mounted>> {
    mounts()?.collect()
}

/// How many bytes of the table are asked for at once.
const PIECE: usize = 4096;

/// Parses a line of the table; `None` if it is not valid.
fn parse(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    // Before these fields are the ids of the mount, its parent and the device; after them flags and tags, up to the dash.
    let (root, place) = (fields.nth(3)?, fields.next()?);
    fields.by_ref().find(|field| *field == b"-")?;
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
    Some(Mounted { root: path(root), place: path(place), kind: text(kind), options: text(options) })
}

/// The mounts of a whole table.
#[cfg(test)]
pub(crate) fn parse_table(table: &[u8]) -> Vec<Mounted> {
    table.split(|byte| *byte == b'\n').filter_map(parse).collect()
}

fn path(field: &[u8]) -> PathBuf {
    OsString::from_vec(unescape(field)).into()
}

/// Undoes the kernel's escapes for spaces, newlines and backslashes: a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        match digits {
            Some(digits) => {
                bytes.push(digits.iter().fold(0, |byte: u8, digit| byte.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_parsed_with_tags_escapes_and_paths_that_are_not_utf8() {
        let table = b"25 30 0:23 / /sys rw,nosuid shared:7 master:1 - sysfs sysfs rw\n\
            31 25 0:27 /a /mnt/with\\040blank\\134 rw - tmpfs none rw,size=4k\n\
            32 25 0:28 / /mnt/\xff rw unbindable - fuse.x none ro\n\
            not a mount\n";
        let found = parse_table(table);
        let line =
            |mount: &Mounted| format!("{} {:?} {} {}", mount.root.display(), mount.place, mount.kind, mount.options);
        assert_eq!(
            found.iter().map(line).collect::<Vec<_>>(),
            [r#"/ "/sys" sysfs rw"#, r#"/a "/mnt/with blank\\" tmpfs rw,size=4k"#, r#"/ "/mnt/\xFF" fuse.x ro"#]
        );
        assert!(read().unwrap().iter().any(|mount| mount.kind == "proc"));
    }
}
