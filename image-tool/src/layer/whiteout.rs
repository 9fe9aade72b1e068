//! Whiteouts: names that mark deletions (image-spec layer.md).
//!
//! `.wh.NAME` deletes NAME from the layers below; `.wh..wh..opq` deletes everything in its directory.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The prefix of whiteouts.
pub const PREFIX: &str = ".wh.";
/// The name that makes its directory opaque.
pub const OPAQUE: &str = ".wh..wh..opq";

/// The meaning of a name in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteout<'a> {
    /// Deletes this file beside it.
    Of(&'a OsStr),
    /// Deletes everything in this directory from lower layers.
    Opaque,
    /// A bookkeeping file of aufs (`.wh..wh.plnk`, `.wh..wh.aufs`) in old images, without meaning.
    Bookkeeping,
    /// A whiteout without a name, or of `.` or `..`. No tool writes it, and taken literally it would delete the
    /// directory around it.
    Invalid,
}

/// Parses a file name as a whiteout; `None` if it is an ordinary name.
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

/// The whiteout of `name`; `None` if `name` looks like a whiteout and so cannot be deleted.
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
