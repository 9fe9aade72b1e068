//! A walk along a path without openat2, which kernels before Linux 5.6 lack and some seccomp profiles forbid.
//!
//! Each component is opened with O_PATH and O_NOFOLLOW, and it is the opened file that is looked at: a symlink's text is read from
//! its own descriptor and resolved here, below the root. `..` goes back to the descriptor of the directory before, never above the
//! root. So a path that someone changes meanwhile leads to another file below the root at most.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

/// What a walk may pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Whether a symlink ends the walk with ELOOP.
    pub(super) refuse_symlinks: bool,
    /// The only mount that the walk may touch; another one ends it with EXDEV.
    pub(super) mount: Option<u64>,
}

impl Rules {
    fn check(self, fd: &OwnedFd) -> Result<(), Errno> {
        match self.mount {
            Some(mount) if mount_id(fd.as_fd())? != mount => Err(Errno::XDEV),
            _ => Ok(()),
        }
    }
}

/// Opens a path as if `root` were `/`. As with openat2, the last component is not followed if `flags` has NOFOLLOW.
pub(super) fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, rules: Rules) -> Result<OwnedFd, Errno> {
    const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    let mut parents = vec![rustix::fs::openat(root, ".", STEP, Mode::empty())?];
    let mut rest = components(path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            if parents.len() > 1 {
                parents.pop();
            }
            continue;
        }
        let parent = parents.last().expect("the root is never removed");
        let step = rustix::fs::openat(parent, &name, STEP, Mode::empty())?;
        rules.check(&step)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&step)?.st_mode);
        if kind == FileType::Symlink {
            if rest.is_empty() && flags.contains(OFlags::NOFOLLOW) {
                return if flags.contains(OFlags::PATH) { Ok(step) } else { Err(Errno::LOOP) };
            }
            links += 1;
            if rules.refuse_symlinks || links > 40 {
                return Err(Errno::LOOP);
            }
            let target = rustix::fs::readlinkat(&step, "", Vec::new())?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            if target.is_absolute() {
                parents.truncate(1);
            }
            for name in components(&target).into_iter().rev() {
                rest.push_front(name);
            }
        } else if rest.is_empty() {
            return arrive(parent.as_fd(), &name, step, kind, flags, rules);
        } else if kind == FileType::Directory {
            parents.push(step);
        } else {
            return Err(Errno::NOTDIR);
        }
    }
    let last = parents.last().expect("the root is never removed");
    rustix::fs::openat(last, ".", flags | OFlags::CLOEXEC, Mode::empty())
}

/// Opens the last file of a walk, of which `step` is an O_PATH descriptor.
fn arrive(
    parent: BorrowedFd<'_>,
    name: &OsString,
    step: OwnedFd,
    kind: FileType,
    flags: OFlags,
    rules: Rules,
) -> Result<OwnedFd, Errno> {
    if flags.contains(OFlags::DIRECTORY) && kind != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    if flags.contains(OFlags::PATH) {
        return Ok(step);
    }
    let opened = rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    rules.check(&opened)?;
    let (seen, found) = (rustix::fs::fstat(&step)?, rustix::fs::fstat(&opened)?);
    // Exchanged since it was looked at. The caller tries again.
    if (seen.st_dev, seen.st_ino) == (found.st_dev, found.st_ino) { Ok(opened) } else { Err(Errno::AGAIN) }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| component.as_os_str().to_owned())
        .collect()
}

/// The kernel's number of the mount that a file was opened on. statx tells it since Linux 5.8, and `/proc` before that.
pub(super) fn mount_id(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let found = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID);
    if let Ok(found) = found
        && found.stx_mask & StatxFlags::MNT_ID.bits() != 0
    {
        return Ok(found.stx_mnt_id);
    }
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).map_err(|_| Errno::NOSYS)?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/file"), "inside").unwrap();
        symlink("/a", folder.path().join("absolute")).unwrap();
        symlink("../../../../a/file", folder.path().join("a/b/up")).unwrap();
        symlink("loop", folder.path().join("loop")).unwrap();
        let fd = rustix::fs::open(folder.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (folder, fd)
    }

    /// The same answers as the kernel's: the descriptor's file, or the error.
    #[test]
    fn a_walk_ends_where_openat2_does() {
        use rustix::fs::ResolveFlags;
        let (_folder, root) = folder();
        let place = |fd: Result<OwnedFd, Errno>| fd.map(|fd| rustix::fs::fstat(fd).unwrap().st_ino);
        let path_only = OFlags::PATH | OFlags::CLOEXEC;
        for path in [
            "",
            "/",
            ".",
            "a",
            "a/b",
            "a/b/..",
            "../a",
            "a/../../../a/b",
            "a/file",
            "a/file/x",
            "absolute/b",
            "absolute",
            "a/b/up",
            "loop",
            "loop/x",
            "missing",
            "missing/x",
            "a/missing",
            "absolute/../a/b/up",
        ] {
            for flags in [path_only, path_only | OFlags::NOFOLLOW, path_only | OFlags::DIRECTORY, OFlags::RDONLY] {
                for refuse in [false, true] {
                    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                    resolve.set(ResolveFlags::NO_SYMLINKS, refuse);
                    let text = if path.is_empty() { "." } else { path };
                    let kernel = rustix::fs::openat2(&root, text, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
                    let ours = open(
                        root.as_fd(),
                        Path::new(path),
                        flags,
                        Rules { refuse_symlinks: refuse, ..Rules::default() },
                    );
                    assert_eq!(place(ours), place(kernel), "{path:?} {flags:?} {refuse}");
                }
            }
        }
    }

    #[test]
    fn another_mount_ends_a_walk_that_must_stay_on_one() {
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let own = Rules { mount: Some(mount_id(root.as_fd()).unwrap()), ..Rules::default() };
        assert_eq!(open(root.as_fd(), Path::new("proc/self"), OFlags::PATH, own).unwrap_err(), Errno::XDEV);
        open(root.as_fd(), Path::new("/"), OFlags::PATH, own).unwrap();
    }
}
