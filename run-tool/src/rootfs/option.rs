//! Mount options: `config.json`'s words to the kernel's flags, as runc reads them.

use crate::kernel::syscall::MountAttributes;

const MS_NOSYMFOLLOW: u64 = 256;

/// Name, whether it clears, and the `MS_*` flag.
const FLAGS: [(&str, bool, u64); 31] = [
    ("async", true, libc::MS_SYNCHRONOUS),
    ("atime", true, libc::MS_NOATIME),
    ("bind", false, libc::MS_BIND),
    ("defaults", false, 0),
    ("dev", true, libc::MS_NODEV),
    ("diratime", true, libc::MS_NODIRATIME),
    ("dirsync", false, libc::MS_DIRSYNC),
    ("exec", true, libc::MS_NOEXEC),
    ("iversion", false, libc::MS_I_VERSION),
    ("lazytime", false, libc::MS_LAZYTIME),
    ("loud", true, libc::MS_SILENT),
    ("mand", false, libc::MS_MANDLOCK),
    ("noatime", false, libc::MS_NOATIME),
    ("nodev", false, libc::MS_NODEV),
    ("nodiratime", false, libc::MS_NODIRATIME),
    ("noexec", false, libc::MS_NOEXEC),
    ("noiversion", true, libc::MS_I_VERSION),
    ("nolazytime", true, libc::MS_LAZYTIME),
    ("nomand", true, libc::MS_MANDLOCK),
    ("norelatime", true, libc::MS_RELATIME),
    ("nostrictatime", true, libc::MS_STRICTATIME),
    ("nosuid", false, libc::MS_NOSUID),
    ("nosymfollow", false, MS_NOSYMFOLLOW),
    ("rbind", false, libc::MS_BIND | libc::MS_REC),
    ("relatime", false, libc::MS_RELATIME),
    ("remount", false, libc::MS_REMOUNT),
    ("ro", false, libc::MS_RDONLY),
    ("rw", true, libc::MS_RDONLY),
    ("silent", false, libc::MS_SILENT),
    ("strictatime", false, libc::MS_STRICTATIME),
    ("suid", true, libc::MS_NOSUID),
];

const MORE_FLAGS: [(&str, bool, u64); 2] = [("sync", false, libc::MS_SYNCHRONOUS), ("symfollow", true, MS_NOSYMFOLLOW)];

const PROPAGATION: [(&str, u64); 8] = [
    ("private", libc::MS_PRIVATE),
    ("rprivate", libc::MS_PRIVATE | libc::MS_REC),
    ("slave", libc::MS_SLAVE),
    ("rslave", libc::MS_SLAVE | libc::MS_REC),
    ("shared", libc::MS_SHARED),
    ("rshared", libc::MS_SHARED | libc::MS_REC),
    ("unbindable", libc::MS_UNBINDABLE),
    ("runbindable", libc::MS_UNBINDABLE | libc::MS_REC),
];

const ATTR_RDONLY: u64 = 0x1;
const ATTR_NOSUID: u64 = 0x2;
const ATTR_NODEV: u64 = 0x4;
const ATTR_NOEXEC: u64 = 0x8;
const ATTR_ATIME: u64 = 0x70;
const ATTR_NOATIME: u64 = 0x10;
const ATTR_STRICTATIME: u64 = 0x20;
const ATTR_NODIRATIME: u64 = 0x80;
const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;
/// An id-mapped mount.
pub(crate) const ATTR_IDMAP: u64 = 0x10_0000;

/// Options that hold for the mounts below as well.
const RECURSIVE: [(&str, bool, u64); 18] = [
    ("rro", false, ATTR_RDONLY),
    ("rrw", true, ATTR_RDONLY),
    ("rnosuid", false, ATTR_NOSUID),
    ("rsuid", true, ATTR_NOSUID),
    ("rnodev", false, ATTR_NODEV),
    ("rdev", true, ATTR_NODEV),
    ("rnoexec", false, ATTR_NOEXEC),
    ("rexec", true, ATTR_NOEXEC),
    ("rnodiratime", false, ATTR_NODIRATIME),
    ("rdiratime", true, ATTR_NODIRATIME),
    // MOUNT_ATTR_RELATIME is zero: the absence of the other two.
    ("rrelatime", false, 0),
    ("rnorelatime", true, 0),
    ("rnoatime", false, ATTR_NOATIME),
    ("ratime", true, ATTR_NOATIME),
    ("rstrictatime", false, ATTR_STRICTATIME),
    ("rnostrictatime", true, ATTR_STRICTATIME),
    ("rnosymfollow", false, ATTR_NOSYMFOLLOW),
    ("rsymfollow", true, ATTR_NOSYMFOLLOW),
];

/// What the options of a mount ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `MS_*` to set.
    pub(crate) flags: u64,
    /// `MS_*` that were asked to be off.
    pub(crate) cleared: u64,
    /// Changes of propagation, in order.
    pub(crate) propagation: Vec<u64>,
    /// Attributes for the whole tree.
    pub(crate) recursive: Option<MountAttributes>,
    /// What the file system itself is told.
    pub(crate) data: String,
    /// A tmpfs that starts with what it covers.
    pub(crate) copy_up: bool,
    /// `idmap`, or `ridmap` (true).
    pub(crate) idmap: Option<bool>,
}

/// Reads the options of a mount.
pub(crate) fn parse(options: &[String]) -> Options {
    let mut parsed = Options::default();
    let mut data = Vec::new();
    for option in options {
        let known = FLAGS.iter().chain(&MORE_FLAGS).find(|(name, ..)| name == option);
        if let Some((_, clear, flag)) = known {
            if *clear {
                parsed.flags &= !flag;
                parsed.cleared |= flag;
            } else {
                parsed.flags |= flag;
                parsed.cleared &= !flag;
            }
        } else if let Some((_, flag)) = PROPAGATION.iter().find(|(name, _)| name == option) {
            parsed.propagation.push(*flag);
        } else if let Some((name, clear, flag)) = RECURSIVE.iter().find(|(name, ..)| name == option) {
            let attributes = parsed.recursive.get_or_insert_default();
            if *clear {
                attributes.clear |= flag;
                attributes.set &= !flag;
            } else {
                attributes.set |= flag;
                attributes.clear &= !flag;
            }
            // The kinds of atime are a number in one field, which is only set after it was cleared.
            if flag & ATTR_ATIME != 0 || name.ends_with("relatime") {
                attributes.clear |= ATTR_ATIME;
            }
        } else {
            match option.as_str() {
                "tmpcopyup" => parsed.copy_up = true,
                "idmap" => parsed.idmap = Some(false),
                "ridmap" => parsed.idmap = Some(true),
                _ => data.push(option.as_str()),
            }
        }
    }
    parsed.data = data.join(",");
    parsed
}

/// What a file system is told, one by one. A comma may be part of what is quoted, and before a digit of a list of memory nodes.
pub(crate) fn split(data: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.char_indices().find(|(index, character)| {
            quoted ^= *character == '"';
            *character == ',' && !quoted && !text[index + 1..].starts_with(|next: char| next.is_ascii_digit())
        });
        let (option, after) = match end {
            Some((index, _)) => (&text[..index], Some(&text[index + 1..])),
            None => (text, None),
        };
        rest = after;
        Some(option)
    })
    .filter(|option| !option.is_empty())
}

/// The flags of a bind mount as `mount_setattr` sets them. Without any there is nothing to change; with some, those not named
/// are cleared, as in `mount --bind -o`, unless `keep` leaves what the source has.
pub(crate) fn bind_attributes(options: &Options, keep: bool) -> Option<MountAttributes> {
    let meaningful = options.flags & !(libc::MS_BIND | libc::MS_REC | libc::MS_REMOUNT);
    if meaningful == 0 && options.cleared == 0 {
        return None;
    }
    let pairs = [
        (libc::MS_RDONLY, ATTR_RDONLY),
        (libc::MS_NOSUID, ATTR_NOSUID),
        (libc::MS_NODEV, ATTR_NODEV),
        (libc::MS_NOEXEC, ATTR_NOEXEC),
        (MS_NOSYMFOLLOW, ATTR_NOSYMFOLLOW),
    ];
    let mut attributes = MountAttributes::default();
    for (flag, attribute) in pairs {
        // Following symlinks is the one thing that another user namespace cannot lock.
        let clears = options.cleared & flag != 0 || !keep || flag == MS_NOSYMFOLLOW;
        if options.flags & flag != 0 {
            attributes.set |= attribute;
        } else if clears {
            attributes.clear |= attribute;
        }
    }
    // As mount(2) has it: what is said about access times replaces all of it, what is not said keeps it, and clearing alone says
    // nothing.
    if options.flags & (libc::MS_NOATIME | libc::MS_NODIRATIME | libc::MS_RELATIME | libc::MS_STRICTATIME) != 0 {
        attributes.clear |= ATTR_ATIME | ATTR_NODIRATIME;
        if options.flags & libc::MS_STRICTATIME != 0 {
            attributes.set |= ATTR_STRICTATIME;
        } else if options.flags & libc::MS_NOATIME != 0 {
            attributes.set |= ATTR_NOATIME;
        }
        if options.flags & libc::MS_NODIRATIME != 0 {
            attributes.set |= ATTR_NODIRATIME;
            attributes.clear &= !ATTR_NODIRATIME;
        }
    }
    Some(attributes)
}

/// The propagation that `linux.rootfsPropagation` names.
pub(crate) fn propagation(name: &str) -> Option<u64> {
    PROPAGATION.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag)
}

/// Every option that is not the file system's own, sorted: what `features` lists.
pub(crate) fn known() -> Vec<&'static str> {
    let mut names: Vec<_> = FLAGS
        .iter()
        .chain(&MORE_FLAGS)
        .map(|(name, ..)| *name)
        .chain(PROPAGATION.iter().map(|(name, _)| *name))
        .chain(RECURSIVE.iter().map(|(name, ..)| *name))
        .chain(["tmpcopyup", "idmap", "ridmap"])
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(text: &str) -> Options {
        parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_split_as_the_kernel_splits_them() {
        for (data, options) in [
            ("", &[][..]),
            ("mode=755,size=1k", &["mode=755", "size=1k"]),
            ("size=1k,context=\"u:r:t:s0:c1,c2\",noswap,", &["size=1k", "context=\"u:r:t:s0:c1,c2\"", "noswap"]),
            ("mpol=bind:0,2-3,huge=never", &["mpol=bind:0,2-3", "huge=never"]),
        ] {
            assert_eq!(split(data).collect::<Vec<_>>(), options);
        }
    }

    #[test]
    fn the_last_word_wins_and_the_rest_is_data() {
        let options = parse_all("ro,rw,nosuid,mode=755,size=1k,rslave,tmpcopyup");
        assert_eq!(options.flags, libc::MS_NOSUID);
        assert_eq!(options.cleared, libc::MS_RDONLY);
        assert_eq!(options.data, "mode=755,size=1k");
        assert_eq!(options.propagation, [libc::MS_SLAVE | libc::MS_REC]);
        assert!(options.copy_up);
    }

    #[test]
    fn recursive_atime_is_replaced_as_a_whole() {
        let attributes = parse_all("rnoatime,rro").recursive.unwrap();
        assert_eq!((attributes.set, attributes.clear), (ATTR_NOATIME | ATTR_RDONLY, ATTR_ATIME));
    }

    #[test]
    fn a_plain_bind_changes_nothing_and_ro_clears_the_rest() {
        assert_eq!(bind_attributes(&parse_all("rbind,rprivate"), false), None);
        let attributes = bind_attributes(&parse_all("bind,ro"), false).unwrap();
        assert_eq!(attributes.set, ATTR_RDONLY);
        assert_eq!(attributes.clear & ATTR_NOSUID, ATTR_NOSUID);
        let kept = bind_attributes(&parse_all("bind,ro"), true).unwrap();
        assert_eq!((kept.set, kept.clear), (ATTR_RDONLY, ATTR_NOSYMFOLLOW));
        let dated = bind_attributes(&parse_all("bind,nodiratime"), false).unwrap();
        assert_eq!(dated.set & ATTR_NODIRATIME, ATTR_NODIRATIME);
        assert_eq!(dated.clear & ATTR_ATIME, ATTR_ATIME, "nodiratime brings relatime");
    }
}
