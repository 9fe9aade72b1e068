//! The owners of files in a layer: kept, mapped, or replaced by the caller.

use std::fs;
use std::sync::LazyLock;

/// What happens to the owners in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owners {
    /// They are kept: the caller is root.
    Kept,
    /// They are mapped, as in a user namespace.
    Mapped {
        /// The map of user IDs.
        users: IdMap,
        /// The map of group IDs.
        groups: IdMap,
    },
    /// All files belong to the caller, who may not give them away.
    Caller,
}

/// A user or group that the map does not contain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {id} is not in the ID map")]
pub struct Unmapped {
    /// `user` or `group`.
    pub kind: &'static str,
    /// The ID in the layer.
    pub id: u32,
}

impl Owners {
    /// The choice for this process: root of the host, or of a user namespace with more than one user, keeps owners;
    /// everybody else owns all files.
    #[must_use]
    pub fn here() -> Self {
        static SEVERAL: LazyLock<bool> = LazyLock::new(|| {
            let map = fs::read_to_string("/proc/self/uid_map").ok().and_then(|text| IdMap::parse(&text));
            map.is_none_or(|map| map.0.iter().map(|range| u64::from(range.count)).sum::<u64>() > 1)
        });
        if rustix::process::geteuid().is_root() && *SEVERAL { Self::Kept } else { Self::Caller }
    }

    /// The owner on disk for an owner in a layer; `None` if it is the caller.
    ///
    /// # Errors
    /// [`Unmapped`].
    pub fn on_disk(&self, uid: u32, gid: u32) -> Result<Option<(u32, u32)>, Unmapped> {
        match self {
            Self::Kept => Ok(Some((uid, gid))),
            Self::Caller => Ok(None),
            Self::Mapped { users, groups } => Ok(Some((
                users.outside(uid).ok_or(Unmapped { kind: "user", id: uid })?,
                groups.outside(gid).ok_or(Unmapped { kind: "group", id: gid })?,
            ))),
        }
    }

    /// The owner in a layer for an owner on disk. Files of the caller belong to root in the layer.
    ///
    /// # Errors
    /// [`Unmapped`].
    pub fn in_layer(&self, uid: u32, gid: u32) -> Result<(u32, u32), Unmapped> {
        match self {
            Self::Kept => Ok((uid, gid)),
            Self::Caller => Ok((0, 0)),
            Self::Mapped { users, groups } => Ok((
                users.inside(uid).ok_or(Unmapped { kind: "user", id: uid })?,
                groups.inside(gid).ok_or(Unmapped { kind: "group", id: gid })?,
            )),
        }
    }
}

/// The attribute in which an unprivileged caller records the intended owner of a file: a protocol buffer with user and
/// group, defined by rootlesscontaine.rs and also read by umoci and PRoot.
pub const ROOTLESS: &str = "user.rootlesscontainers";

/// "Not set" in this buffer.
const UNSET: u32 = u32::MAX;

/// The value of [`ROOTLESS`] for an owner; `None` for root.
#[must_use]
pub fn to_rootless(uid: u32, gid: u32) -> Option<Vec<u8>> {
    if (uid, gid) == (0, 0) {
        return None;
    }
    let mut bytes = Vec::new();
    for (tag, id) in [(0x08, uid), (0x10, gid)] {
        bytes.push(tag);
        let mut rest = if id == 0 { UNSET } else { id };
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    Some(bytes)
}

/// The owner in a value of [`ROOTLESS`]; root if it is not set or invalid.
#[must_use]
pub fn of_rootless(bytes: &[u8]) -> (u32, u32) {
    let (mut owner, mut rest) = ((0, 0), bytes);
    while let [tag @ (0x08 | 0x10), after @ ..] = rest {
        let (mut id, mut shift, mut bytes) = (0u64, 0, after);
        loop {
            let [byte, after @ ..] = bytes else { return owner };
            bytes = after;
            id |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 28 {
                return owner;
            }
        }
        let id = u32::try_from(id).ok().filter(|id| *id != UNSET).unwrap_or(0);
        *(if *tag == 0x08 { &mut owner.0 } else { &mut owner.1 }) = id;
        rest = bytes;
    }
    owner
}

/// Whether this process is in a user namespace other than the initial one, which maps every id to itself. None of the tools enters one
/// but by starting a program.
#[must_use]
pub fn in_user_namespace() -> bool {
    static ANSWER: LazyLock<bool> = LazyLock::new(|| {
        fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|text| text.split_ascii_whitespace().ne(["0", "0", "4294967295"]))
    });
    *ANSWER
}

/// Ranges of IDs, as in /proc/PID/uid_map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap(Vec<Range>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

impl IdMap {
    /// Parses lines of `INSIDE OUTSIDE COUNT`, or with `:` in between, as in umoci; `None` if the text is invalid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut ranges = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let mut numbers = line.split(|c: char| c == ':' || c.is_ascii_whitespace()).filter(|part| !part.is_empty());
            let mut number = || numbers.next()?.parse::<u32>().ok();
            let (inside, outside, count) = (number()?, number()?, number()?);
            let fits = inside.checked_add(count).is_some() && outside.checked_add(count).is_some();
            if count == 0 || !fits || numbers.next().is_some() {
                return None;
            }
            ranges.push(Range { inside, outside, count });
        }
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// The ID outside the namespace for an ID inside.
    #[must_use]
    pub fn outside(&self, id: u32) -> Option<u32> {
        self.0
            .iter()
            .find(|range| id >= range.inside && id - range.inside < range.count)
            .map(|range| id - range.inside + range.outside)
    }

    /// The ID inside the namespace for an ID outside.
    #[must_use]
    pub fn inside(&self, id: u32) -> Option<u32> {
        self.0
            .iter()
            .find(|range| id >= range.outside && id - range.outside < range.count)
            .map(|range| id - range.outside + range.inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rootless_owner_is_written_as_by_umoci() {
        assert_eq!(to_rootless(42, 0).unwrap(), b"\x08*\x10\xff\xff\xff\xff\x0f");
        assert_eq!(to_rootless(0, 0), None);
        for owner in [(42, 0), (0, 8), (65534, 65534), (1, u32::MAX - 1), (128, 127)] {
            assert_eq!(of_rootless(&to_rootless(owner.0, owner.1).unwrap()), owner);
        }
        for bad in [&b""[..], b"\x08", b"\x08\xff", b"\x09\x01", b"\x08\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(of_rootless(bad), (0, 0), "{bad:?}");
        }
    }

    #[test]
    fn ids_go_out_and_come_back() {
        let map = IdMap::parse("0 1000 1\n1 100000 65535\n").unwrap();
        for (inside, outside) in [(0, Some(1000)), (1, Some(100_000)), (65535, Some(165_534)), (65536, None)] {
            assert_eq!(map.outside(inside), outside, "{inside}");
            assert_eq!(outside.and_then(|id| map.inside(id)), outside.map(|_| inside));
        }
        assert_eq!(IdMap::parse("0:1000:1").unwrap().outside(0), Some(1000));
        for bad in ["", "0", "0 0 0", "0 0 -1", "1 2 3 4", "4294967295 0 2", "x y z"] {
            assert_eq!(IdMap::parse(bad), None, "{bad:?}");
        }
    }
}
