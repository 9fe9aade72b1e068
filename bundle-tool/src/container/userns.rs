//! The ids of a container in a user namespace of its own (`--userns`), which are others on this host.
//!
//! The image's layers are mounted with mapped ids. What the container writes, in its writable layer and in volumes, belongs to the ids outside,
//! as in docker with `--userns-remap`.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use image_tool::address::home::Home;
use image_tool::beneath::{self, Root};
use image_tool::error::During as _;
use image_tool::layer::owner::{IdMap, Owners};
use serde_json::Value;

use super::Error;
use crate::bundle::{Bundle, annotation};
use crate::config::{IdMaps, IdRange};
use crate::option::Refused;
use crate::rootfs;
use crate::rootfs::mapping::Mapping;

/// The id that the kernel shows for those that a user namespace lacks.
const NOBODY: u32 = 65534;

/// The ids of a container on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    maps: IdMaps,
}

impl Ids {
    /// Those that `--userns` names: `FIRST:COUNT`, or the ranges that /etc/subuid and /etc/subgid give to `USER` or `USER:GROUP`. `None` for the
    /// ids of the host.
    pub fn parse(text: &str) -> Result<Option<Self>, Refused> {
        if ["", "host"].contains(&text) {
            return Ok(None);
        }
        let (first, rest) = text.split_once(':').map_or((text, None), |(first, rest)| (first, Some(rest)));
        if let (Ok(first), Some(Ok(count))) = (first.parse::<u32>(), rest.map(str::parse::<u32>)) {
            return match range(first, count) {
                Some(range) => Ok(Some(Self { maps: (vec![range], vec![range]) })),
                None => Err(refused(format!("{text}: not a range of ids of this host"))),
            };
        }
        let user = if first == "default" { "dockremap" } else { first };
        let given = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            subordinate(&text, name)
                .ok_or_else(|| refused(format!("{name}: {file} gives it no ids (usermod, or FIRST:COUNT)")))
        };
        Ok(Some(Self { maps: (given("/etc/subuid", user)?, given("/etc/subgid", rest.unwrap_or(user))?) }))
    }

    /// Those of a bundle that was made with `--userns`.
    pub fn of(bundle: &Bundle) -> Option<Self> {
        bundle.annotation(annotation::USERNS)?;
        let ranges = |key: &str| -> Option<Vec<IdRange>> {
            let number = |range: &Value, key: &str| u32::try_from(range.get(key)?.as_u64()?).ok();
            let range =
                |range: &Value| Some((number(range, "containerID")?, number(range, "hostID")?, number(range, "size")?));
            bundle.config().get("linux")?.get(key)?.as_array()?.iter().map(range).collect()
        };
        let maps = (ranges("uidMappings")?, ranges("gidMappings")?);
        // Someone may have edited config.json; the runtime says what is wrong with it.
        [&maps.0, &maps.1].iter().all(|ranges| IdMap::parse(&lines(ranges)).is_some()).then_some(Self { maps })
    }

    /// The ranges of users and groups.
    pub fn maps(&self) -> &IdMaps {
        &self.maps
    }

    /// The container's root.
    pub(super) fn root(&self) -> (u32, u32) {
        let first = |ranges: &[IdRange]| ranges.iter().find(|range| range.0 == 0).map_or(0, |range| range.1);
        (first(&self.maps.0), first(&self.maps.1))
    }

    /// How owners in the container are owners on this host.
    pub(super) fn owners(&self) -> Owners {
        let map = |ranges: &[IdRange]| IdMap::parse(&lines(ranges)).expect("ranges are a map");
        Owners::Mapped { users: map(&self.maps.0), groups: map(&self.maps.1) }
    }

    /// An owner on this host as one in the container, where those of others, such as the host's root, are nobody.
    pub(super) fn inside(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        self.owners().in_layer(uid, gid).unwrap_or((NOBODY, NOBODY))
    }

    /// A user namespace of these ids.
    pub(super) fn mapping(&self) -> Result<Mapping, rootfs::Error> {
        Mapping::new(&lines(&self.maps.0), &lines(&self.maps.1))
    }

    /// Lets the container's root pass to the bundle, and nobody else: its files may be programs with the rights of others (CVE-2021-41091).
    /// Fails if it cannot, since a folder above that is not ours is closed.
    pub(super) fn open_way(&self, home: &Home, bundle: &Path) -> Result<(), Error> {
        let mode =
            |path: &Path, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode)).during("chmod", path);
        std::os::unix::fs::chown(bundle, None, Some(self.root().1)).during("chown", bundle)?;
        mode(bundle, 0o710)?;
        if bundle.parent() == Some(&*std::path::absolute(home.bundles()).during("find", home.bundles())?) {
            mode(&home.bundles(), 0o711)?;
        }
        for above in bundle.ancestors().skip(1) {
            if fs::metadata(above).during("stat", above)?.mode() & 0o001 == 0 {
                let reason =
                    format!("{}: closed to the container's users (chmod o+x, or another OCI_HOME)", above.display());
                return Err(refused(reason).into());
            }
        }
        Ok(())
    }

    /// Gives a file that this program has made to the container's root.
    pub(super) fn adopt(&self, root: &Root, path: &Path) -> beneath::Result<()> {
        let (uid, gid) = self.root();
        match root.lstat(path)? {
            // Nothing of the image belongs to the host's root.
            Some(stat) if (stat.st_uid, stat.st_gid) == (0, 0) => root.set_owner(path, uid, gid),
            _ => Ok(()),
        }
    }
}

/// The owners of a container's files, as its image would have them.
pub fn owners(bundle: &Bundle) -> Owners {
    Ids::of(bundle).map_or_else(Owners::here, |ids| ids.owners())
}

/// Ids from 0 inside.
fn range(first: u32, count: u32) -> Option<IdRange> {
    // The last id of all means "none".
    (count > 0 && first.checked_add(count).is_some()).then_some((0, first, count))
}

/// The ranges that a table such as /etc/subuid gives to a name, one after another from 0 inside.
fn subordinate(table: &str, name: &str) -> Option<Vec<IdRange>> {
    let (mut ranges, mut next) = (Vec::new(), 0_u32);
    for line in table.lines() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [owner, first, count] = fields[..] else { continue };
        if owner == name {
            let (_, first, count) = range(first.parse().ok()?, count.parse().ok()?)?;
            ranges.push((next, first, count));
            next = next.checked_add(count)?;
        }
    }
    (!ranges.is_empty()).then_some(ranges)
}

/// The form of /proc/PID/uid_map.
fn lines(ranges: &[IdRange]) -> String {
    ranges.iter().fold(String::new(), |mut text, (inside, outside, count)| {
        let _ = writeln!(text, "{inside} {outside} {count}");
        text
    })
}

fn refused(reason: String) -> Refused {
    Refused::new("--userns", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_wrong_ones_refused() {
        assert_eq!(Ids::parse("host"), Ok(None));
        let ids = Ids::parse("100000:65536").unwrap().unwrap();
        assert_eq!(ids.maps(), &(vec![(0, 100_000, 65536)], vec![(0, 100_000, 65536)]));
        assert_eq!(ids.root(), (100_000, 100_000));
        assert_eq!(ids.owners().on_disk(33, 0), Ok(Some((100_033, 100_000))));
        for text in ["1:0", "4294967295:2", "no such user", "5", ":"] {
            assert!(Ids::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn several_ranges_of_a_user_follow_each_other() {
        let table = "# comment\nme:1000:10\nother:5:5\nme:5000:20\n";
        assert_eq!(subordinate(table, "me"), Some(vec![(0, 1000, 10), (10, 5000, 20)]));
        assert_eq!(subordinate(table, "nobody"), None);
        assert_eq!(subordinate("me:x:10\n", "me"), None);
    }
}
