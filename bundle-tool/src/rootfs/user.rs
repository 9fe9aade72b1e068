//! Users and groups, looked up in the image's /etc/passwd and /etc/group.
//!
//! The files are not trusted. They are opened beneath the root file system, so that symbolic links cannot lead out, only if they are
//! regular files, since a FIFO would hang the tool, and are read up to a limit.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use image_tool::error::During as _;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

/// Why a user or group cannot be resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// /etc/passwd lists no user of that name.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// /etc/group lists no group of that name.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// The id exceeds 32 bits, or is the value that means "no id".
    #[error("{0} is not a valid id (at most 4294967294)")]
    OutOfRange(String),
    /// docker's containers have no such id, not even one that the image's /etc/passwd lists.
    #[error("uids and gids must be in range 0-2147483647")]
    TooLarge,
    /// The file exists but cannot be used.
    #[error("the image's {path}: {reason}")]
    Unusable {
        /// The absolute path in the image.
        path: &'static str,
        /// Why it cannot be used.
        reason: &'static str,
    },
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// The user that a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The numeric user id.
    pub uid: u32,
    /// The numeric id of the primary group.
    pub gid: u32,
    /// The ids of supplementary groups, among them the primary one, sorted.
    pub groups: Vec<u32>,
    /// The home directory from /etc/passwd, else `/`.
    pub home: String,
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
const READ: &str = "read the image's";
const LIMIT: u64 = 16 << 20;

/// The largest id that docker gives to a container's processes.
const LARGEST: u32 = i32::MAX as u32;

/// Resolves `USER[:GROUP]`, names or numbers, as docker does. Without a group, the user has its groups from /etc/passwd and /etc/group;
/// with one, only that. `more` are the groups of `--group-add`.
pub fn resolve(root: BorrowedFd<'_>, specification: &str, more: &[String]) -> Result<Identity, Error> {
    let passwd = read(root, PASSWD)?;
    let group = read(root, GROUP)?;
    let found = resolve_in(&passwd, &group, specification, more)?;
    let is_small = [found.uid, found.gid].iter().chain(&found.groups).all(|id| *id <= LARGEST);
    if is_small { Ok(found) } else { Err(Error::TooLarge) }
}

/// Resolves like [`resolve`] in the text of the two files, for a root file system that is not on disk. A missing file is an empty text.
pub fn resolve_in(passwd: &str, group: &str, specification: &str, more: &[String]) -> Result<Identity, Error> {
    let (user, own_group) = match specification.split_once(':') {
        Some((user, own_group)) => (user, Some(own_group).filter(|name| !name.is_empty())),
        None => (specification, None),
    };
    let number = id(user)?;
    // Names take precedence over numbers, and the first line over later ones, as for getpwnam(3).
    let entry = users(passwd).find(|each| if user.is_empty() { each.uid == 0 } else { each.name == user });
    let entry = entry.or_else(|| number.and_then(|number| users(passwd).find(|each| each.uid == number)));
    let (uid, mut gid, home, name) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home, Some(entry.name)),
        (None, Some(number)) => (number, 0, "/", None),
        (None, None) if user.is_empty() => (0, 0, "/", None),
        (None, None) => return Err(Error::NoUser(user.into())),
    };
    let mut all = Vec::new();
    match own_group {
        Some(own) => gid = group_id(group, own)?,
        None => {
            let member =
                |each: &Group<'_>| name.is_some_and(|name| each.members.split(',').any(|member| member == name));
            all.extend(groups(group).filter(member).map(|each| each.gid));
        }
    }
    for each in more {
        all.push(group_id(group, each)?);
    }
    // A process whose supplementary groups lack its primary one could gain access where that group has none (CVE-2022-36109).
    all.push(gid);
    all.sort_unstable();
    all.dedup();
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity { uid, gid, groups: all, home: home.into() })
}

fn group_id(group: &str, name: &str) -> Result<u32, Error> {
    let number = id(name)?;
    let entry = groups(group).find(|each| each.name == name).map(|each| each.gid);
    entry.or(number).ok_or_else(|| Error::NoGroup(name.into()))
}

/// Parses a decimal id; `None` if the text is not a number.
fn id(text: &str) -> Result<Option<u32>, Error> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        // For setuid(2) the largest value means no change.
        Ok(number) if number != u32::MAX => Ok(Some(number)),
        _ => Err(Error::OutOfRange(text.into())),
    }
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// The valid lines of /etc/passwd: name, password, uid, gid, comment, home, shell.
fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let &[name, _, uid, gid, ref rest @ ..] = fields.as_slice() else { return None };
        Some(User { name, uid: id(uid).ok()??, gid: id(gid).ok()??, home: rest.get(1).copied().unwrap_or("") })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// The valid lines of /etc/group: name, password, gid, members.
fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let &[name, _, gid, ref rest @ ..] = fields.as_slice() else { return None };
        Some(Group { name, gid: id(gid).ok()??, members: rest.first().copied().unwrap_or("") })
    })
}

/// Reads a file beneath `root`; a missing one is empty.
fn read(root: BorrowedFd<'_>, path: &'static str) -> Result<String, Error> {
    use rustix::io::Errno;
    // Without NONBLOCK, opening a FIFO would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::openat2(
        root,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    ) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(Errno::LOOP) => return Err(Error::Unusable { path, reason: "too many symbolic links" }),
        Err(errno) => Err(errno).during(READ, path)?,
    };
    let found = rustix::fs::fstat(file.as_fd()).during(READ, path)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Error::Unusable { path, reason: "not a regular file" });
    }
    let mut bytes = Vec::new();
    File::from(file).take(LIMIT + 1).read_to_end(&mut bytes).during(READ, path)?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::Unusable { path, reason: "larger than 16 MiB" });
    }
    // Comments may have any encoding; only names are compared.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\n\nbroken\n7:x:1007:1008::/seven:\nbig:x:99999999999:0::/:\n";
    const GROUPS: &str = "root:x:0:\nadm:x:4:root,www-data\nwww-data:x:33:\nvideo:x:44:www-data\n";

    #[test]
    fn users_and_groups_resolve_as_in_docker() {
        type Case = (&'static str, &'static [&'static str], (u32, u32, &'static [u32], &'static str));
        let cases: &[Case] = &[
            ("", &[], (0, 0, &[0, 4], "/root")),
            ("root", &[], (0, 0, &[0, 4], "/root")),
            ("www-data", &[], (33, 33, &[4, 33, 44], "/var/www")),
            ("33", &[], (33, 33, &[4, 33, 44], "/var/www")),
            ("www-data:video", &[], (33, 44, &[44], "/var/www")),
            ("www-data:12", &["adm", "12"], (33, 12, &[4, 12], "/var/www")),
            ("1000", &[], (1000, 0, &[0], "/")),
            ("1000:1000", &[], (1000, 1000, &[1000], "/")),
            (":video", &[], (0, 44, &[44], "/root")),
            ("www-data:", &[], (33, 33, &[4, 33, 44], "/var/www")),
            ("7", &[], (1007, 1008, &[1008], "/seven")),
        ];
        for (specification, more, (uid, gid, groups, home)) in cases {
            let more: Vec<String> = more.iter().map(|each| (*each).to_owned()).collect();
            let found = resolve_in(USERS, GROUPS, specification, &more).unwrap();
            assert_eq!(
                (found.uid, found.gid, found.groups.as_slice(), found.home.as_str()),
                (*uid, *gid, *groups, *home),
                "{specification}"
            );
        }
    }

    #[test]
    fn a_wrong_user_or_group_is_named() {
        let cases = [
            ("nobody", "unable to find user nobody: no matching entries in passwd file"),
            ("root:nogroup", "unable to find group nogroup: no matching entries in group file"),
            ("4294967295", "4294967295 is not a valid id (at most 4294967294)"),
            ("-1", "unable to find user -1: no matching entries in passwd file"),
            ("big", "unable to find user big: no matching entries in passwd file"),
        ];
        for (specification, message) in cases {
            assert_eq!(resolve_in(USERS, GROUPS, specification, &[]).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn an_image_without_files_has_root_and_numbers() {
        assert_eq!(resolve_in("", "", "", &[]).unwrap().home, "/", "as runc's default");
        assert_eq!(resolve_in("", "", "5:6", &[]).unwrap().gid, 6);
        assert!(resolve_in("", "", "root", &[]).is_err());
    }

    #[test]
    fn links_stay_beneath_the_root_and_odd_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let root = File::open(folder.path()).unwrap();

        fs::write(folder.path().join("own"), "me:x:5:6::/me:\n").unwrap();
        symlink("/own", etc.join("passwd")).unwrap();
        assert_eq!(resolve(root.as_fd(), "me", &[]).unwrap().uid, 5, "an absolute link is read inside the root");

        fs::remove_file(etc.join("passwd")).unwrap();
        symlink("../../../../etc/passwd", etc.join("passwd")).unwrap();
        let outcome = resolve(root.as_fd(), "root", &[]);
        assert!(matches!(outcome, Err(Error::Unusable { reason: "too many symbolic links", .. })), "{outcome:?}");

        fs::remove_file(etc.join("passwd")).unwrap();
        rustix::fs::mknodat(&root, "etc/passwd", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let outcome = resolve(root.as_fd(), "root", &[]);
        assert!(matches!(outcome, Err(Error::Unusable { reason: "not a regular file", .. })), "{outcome:?}");
    }

    proptest! {
        #[test]
        fn no_file_and_no_option_make_it_panic(passwd in "[a:0-9,\n]{0,60}", group in "[a:0-9,\n]{0,60}", specification in "[a0-9:]{0,8}") {
            let _ = resolve_in(&passwd, &group, &specification, &[]);
        }
    }
}
