//! Names of deletions (image-spec layer.md, "Whiteouts").
//!
//! `.wh.NAME` says that NAME of the layers below is gone, `.wh..wh..opq` that all of them in its directory are.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What every whiteout starts with.
pub const PREFIX: &str = ".wh.";
/// The name that makes its directory opaque.
pub const OPAQUE: &str = ".wh..wh..opq";

/// What a name in a layer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteout<'a> {
    /// This sibling is deleted.
    Of(&'a OsStr),
    /// Everything that lower layers have in this directory is deleted.
    Opaque,
    /// Bookkeeping of aufs (`.wh..wh.plnk`, `.wh..wh.aufs`) that old images carry; it means nothing.
    Bookkeeping,
    /// A whiteout of nothing, of `.` or of `..`: no tool writes it, and taken at its word it would delete the
    /// directory around it.
    Invalid,
}

/// Reads a file name as a whiteout; `None` if it is an ordinary name.
#[must_use]
pub fn parse(name: &OsStr) -> Option<Whiteout<'_>> {
    let target = name.as_bytes().strip_prefix(PREFIX.as_bytes())?;
    Some(match target {
        b"" | b"." | b".." => Whiteout::Invalid,
        b".wh..opq" => Whiteout::Opaque,
        _ if target.starts_with(PREFIX.as_bytes()) => Whiteout::Bookkeeping,
        _ => Whiteout::Of(OsStr::from_bytes(target)),
    })
}

/// The whiteout of `name`, or nothing where `name` itself would read as one and so cannot be expressed.
#[must_use]
pub fn of(name: &OsStr) -> Option<OsString> {
    if name.as_bytes().starts_with(PREFIX.as_bytes()) {
        return None;
    }
    let mut whiteout = OsString::from(PREFIX);
    whiteout.push(name);
    Some(whiteout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_whiteouts() {
        for (name, expected) in [
            ("file", None),
            (".wh", None),
            (".whx", None),
            (".wh.file", Some(Whiteout::Of(OsStr::new("file")))),
            (".wh..file", Some(Whiteout::Of(OsStr::new(".file")))),
            (".wh....", Some(Whiteout::Of(OsStr::new("...")))),
            (".wh..wh..opq", Some(Whiteout::Opaque)),
            (".wh..wh.plnk", Some(Whiteout::Bookkeeping)),
            (".wh.", Some(Whiteout::Invalid)),
            (".wh..", Some(Whiteout::Invalid)),
            (".wh...", Some(Whiteout::Invalid)),
        ] {
            assert_eq!(parse(OsStr::new(name)), expected, "{name}");
        }
        assert_eq!(of(OsStr::new("a")).unwrap(), ".wh.a");
        assert_eq!(of(OsStr::new(".wh.a")), None);
    }
}
