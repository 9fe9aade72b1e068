//! Who owns what a layer holds: the users it names, others by a map, or the caller alone.

use std::fs;

/// What becomes of the users and groups in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owners {
    /// They stay as they are: the caller is root.
    Kept,
    /// They are shifted, as into the range of a user namespace.
    Mapped {
        /// Users.
        users: IdMap,
        /// Groups.
        groups: IdMap,
    },
    /// All belongs to the caller, who has no right to give files away.
    Caller,
}

/// A user or group that the map leaves out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {id} is not in the ID map")]
pub struct Unmapped {
    /// `user` or `group`.
    pub kind: &'static str,
    /// The number in the layer.
    pub id: u32,
}

impl Owners {
    /// What this process can do: keep owners as root, of the host or of a user namespace with more than one user;
    /// else own everything.
    #[must_use]
    pub fn here() -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").ok().and_then(|text| IdMap::parse(&text));
        let several = map.is_none_or(|map| map.0.iter().map(|range| u64::from(range.count)).sum::<u64>() > 1);
        if rustix::process::geteuid().is_root() && several { Self::Kept } else { Self::Caller }
    }

    /// The owner on disk of something that in a layer belongs to `uid` and `gid`; `None` where the caller keeps it.
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

    /// The owner in a layer of something that on disk belongs to `uid` and `gid`: the way back. What belongs to the
    /// caller belongs to root in the layer.
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

/// The attribute in which an unprivileged caller keeps the owner that a file should have: a protocol buffer of user and
/// group by rootlesscontaine.rs, which umoci and PRoot read too.
pub const ROOTLESS: &str = "user.rootlesscontainers";

/// "Not set" in that buffer.
const UNSET: u32 = u32::MAX;

/// The value of [`ROOTLESS`] for an owner other than root.
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

/// The owner in a value of [`ROOTLESS`]; root where it is not set or makes no sense.
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

/// Whether this process is in a user namespace other than the host's.
#[must_use]
pub fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|text| text.split_ascii_whitespace().ne(["0", "0", "4294967295"]))
}

/// Ranges of ids, as /proc/PID/uid_map has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap(Vec<Range>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

impl IdMap {
    /// Lines of `INSIDE OUTSIDE COUNT`, or the same with `:` between, as umoci has it; `None` if they are not that.
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

    /// The id outside the namespace of an id inside.
    #[must_use]
    pub fn outside(&self, id: u32) -> Option<u32> {
        self.0
            .iter()
            .find(|range| id >= range.inside && id - range.inside < range.count)
            .map(|range| id - range.inside + range.outside)
    }

    /// The id inside the namespace of an id outside.
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
