//! Mount options: the words in config.json translated to the kernel's flags, as in runc.

use crate::kernel::syscall::MountAttributes;

const MS_NOSYMFOLLOW: u64 = 256;

/// The option, whether it clears the flag, and the `MS_*` flag.
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
/// Makes a mount id-mapped.
pub(crate) const ATTR_IDMAP: u64 = 0x10_0000;

/// Options that also apply to the mounts below.
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
    // MOUNT_ATTR_RELATIME is zero: neither of the other two is set.
    ("rrelatime", false, 0),
    ("rnorelatime", true, 0),
    ("rnoatime", false, ATTR_NOATIME),
    ("ratime", true, ATTR_NOATIME),
    ("rstrictatime", false, ATTR_STRICTATIME),
    ("rnostrictatime", true, ATTR_STRICTATIME),
    ("rnosymfollow", false, ATTR_NOSYMFOLLOW),
    ("rsymfollow", true, ATTR_NOSYMFOLLOW),
];

/// The parsed options of a mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The `MS_*` flags to set.
    pub(crate) flags: u64,
    /// The `MS_*` flags that an option explicitly clears.
    pub(crate) cleared: u64,
    /// The propagation flags, in the order given.
    pub(crate) propagation: Vec<u64>,
    /// Attributes for the whole tree of mounts; `None` without such an option.
    pub(crate) recursive: Option<MountAttributes>,
    /// The options for the file system itself, separated by commas.
    pub(crate) data: String,
    /// `tmpcopyup`: a tmpfs starts with a copy of what it covers.
    pub(crate) copy_up: bool,
    /// `Some(false)` for `idmap`, `Some(true)` for the recursive `ridmap`.
    pub(crate) idmap: Option<bool>,
}

/// Parses the options of a mount.
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
            // The atime modes share one field of the attributes, which must be cleared before it is set.
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

/// Splits the options for a file system. A comma does not separate options in a quoted value, nor before a digit: a list of memory
/// nodes (`mpol=bind:0,2`).
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

/// The attributes of a bind mount for `mount_setattr`. `None`: the options change nothing. If they name any flag, all others are
/// cleared, as in `mount --bind -o`, unless `keep` preserves those of the source.
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
        // nosymfollow is the only one of these flags that another user namespace cannot lock.
        let clears = options.cleared & flag != 0 || !keep || flag == MS_NOSYMFOLLOW;
        if options.flags & flag != 0 {
            attributes.set |= attribute;
        } else if clears {
            attributes.clear |= attribute;
        }
    }
    // As in mount(2), any flag for access times replaces all of them. Options that only clear such a flag change nothing.
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

/// The flags of mount(2) for a remount of a bind mount whose flags are `before` (those of statfs(2)), with the changes of
/// `mount_setattr`. Without any for access times, the mount keeps what it has.
pub(crate) fn remount_flags(before: u64, changes: &MountAttributes) -> u64 {
    const ST_NOSYMFOLLOW: u64 = 8192;
    const ST_NODIRATIME: u64 = 2048;
    let mut flags = 0;
    for (attribute, stored, flag) in [
        (ATTR_RDONLY, libc::MS_RDONLY, libc::MS_RDONLY),
        (ATTR_NOSUID, libc::MS_NOSUID, libc::MS_NOSUID),
        (ATTR_NODEV, libc::MS_NODEV, libc::MS_NODEV),
        (ATTR_NOEXEC, libc::MS_NOEXEC, libc::MS_NOEXEC),
        (ATTR_NOSYMFOLLOW, ST_NOSYMFOLLOW, MS_NOSYMFOLLOW),
    ] {
        if changes.set & attribute != 0 || (before & stored != 0 && changes.clear & attribute == 0) {
            flags |= flag;
        }
    }
    if (changes.set | changes.clear) & (ATTR_ATIME | ATTR_NODIRATIME) != 0 {
        flags |= match changes.set & ATTR_ATIME {
            ATTR_NOATIME => libc::MS_NOATIME,
            ATTR_STRICTATIME => libc::MS_STRICTATIME,
            _ => libc::MS_RELATIME,
        };
        if changes.set & ATTR_NODIRATIME != 0 || (before & ST_NODIRATIME != 0 && changes.clear & ATTR_NODIRATIME == 0) {
            flags |= libc::MS_NODIRATIME;
        }
    }
    flags
}

/// The flags among `flags` that a mount from another user namespace can have locked, by the kernel's names.
pub(crate) fn lockable(flags: u64) -> String {
    let names = [
        (libc::MS_RDONLY, "MS_RDONLY"),
        (libc::MS_NOSUID, "MS_NOSUID"),
        (libc::MS_NODEV, "MS_NODEV"),
        (libc::MS_NOEXEC, "MS_NOEXEC"),
    ];
    names.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect::<Vec<_>>().join("|")
}

/// The flags for access times that a mount has whose flags are `before` (those of statfs(2)), by the kernel's names.
pub(crate) fn access_times(before: u64) -> String {
    const ST_RELATIME: u64 = 4096;
    let names =
        [(libc::MS_NOATIME, "MS_NOATIME"), (libc::MS_NODIRATIME, "MS_NODIRATIME"), (ST_RELATIME, "MS_RELATIME")];
    let found: Vec<_> = names.iter().filter(|(flag, _)| before & flag != 0).map(|(_, name)| *name).collect();
    if found.is_empty() { "MS_STRICTATIME".to_owned() } else { found.join("|") }
}

/// The flags for a value of `linux.rootfsPropagation`. `None`: unknown.
pub(crate) fn propagation(name: &str) -> Option<u64> {
    PROPAGATION.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag)
}

/// All options that run-tool interprets itself, sorted, for `features`.
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
    fn options_are_split_as_in_the_kernel() {
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
    fn the_last_option_wins_and_unknown_ones_are_data() {
        let options = parse_all("ro,rw,nosuid,mode=755,size=1k,rslave,tmpcopyup");
        assert_eq!(options.flags, libc::MS_NOSUID);
        assert_eq!(options.cleared, libc::MS_RDONLY);
        assert_eq!(options.data, "mode=755,size=1k");
        assert_eq!(options.propagation, [libc::MS_SLAVE | libc::MS_REC]);
        assert!(options.copy_up);
    }

    #[test]
    fn a_remount_keeps_what_the_changes_do_not_name() {
        let change = |text: &str, keep: bool| bind_attributes(&parse_all(text), keep).unwrap();
        let before = libc::MS_NOSUID | libc::MS_NOEXEC | 4096;
        assert_eq!(
            remount_flags(before, &change("bind,ro", true)),
            libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NOEXEC
        );
        assert_eq!(remount_flags(before, &change("bind,ro", false)), libc::MS_RDONLY);
        assert_eq!(
            remount_flags(before, &change("bind,nodev,noatime,nodiratime", false)),
            libc::MS_NODEV | libc::MS_NOATIME | libc::MS_NODIRATIME
        );
        assert_eq!(lockable(before), "MS_NOSUID|MS_NOEXEC");
    }

    #[test]
    fn recursive_atime_is_replaced_as_a_whole() {
        let attributes = parse_all("rnoatime,rro").recursive.unwrap();
        assert_eq!((attributes.set, attributes.clear), (ATTR_NOATIME | ATTR_RDONLY, ATTR_ATIME));
    }

    #[test]
    fn a_plain_bind_changes_nothing_and_ro_clears_other_flags() {
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
