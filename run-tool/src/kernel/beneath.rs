//! Paths of a container's root file system, resolved beneath a descriptor. No symlink in it leads outside.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::lacks;
use super::walk::{self, Rules};

/// Makes a path absolute and removes `.`, `..` and repeated slashes, without looking at the disk. `..` stops at the root.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::Normal(name) => cleaned.push(name),
            _ => {}
        }
    }
    cleaned
}

/// Opens a path as if `root` were `/`.
pub(crate) fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let rules = Rules { refuse_symlinks: resolve.contains(ResolveFlags::NO_SYMLINKS), ..Rules::default() };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | resolve;
    // EAGAIN: something was renamed during the walk. The tries are limited in case someone renames all the time.
    for _ in 0..128 {
        let opened = match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(error) if lacks(error) => walk::open(root, path, flags, rules),
            result => result,
        };
        match opened {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens a directory with O_PATH. It and its parents are created with mode 0755 if they are missing.
pub(crate) fn make_directories(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
    match open(root, path, DIRECTORY, ResolveFlags::empty()) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    let mut links = 0;
    let mut walked = PathBuf::from("/");
    let mut current = open(root, &walked, DIRECTORY, ResolveFlags::empty())?;
    let mut rest: VecDeque<OsString> = clean(path).iter().skip(1).map(OsString::from).collect();
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            walked.pop();
            current = open(root, &walked, DIRECTORY, ResolveFlags::empty())?;
            continue;
        }
        if name == "." {
            continue;
        }
        let next = walked.join(&name);
        match open(root, &next, DIRECTORY, ResolveFlags::empty()) {
            Ok(found) => {
                (current, walked) = (found, next);
                continue;
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        match rustix::fs::mkdirat(&current, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                // Someone else created it meanwhile, or it is a dangling symlink: then its target is created.
                if let Ok(target) = rustix::fs::readlinkat(&current, &name, Vec::new()) {
                    links += 1;
                    if links > 40 {
                        return Err(Errno::LOOP);
                    }
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    if target.is_absolute() {
                        walked = PathBuf::from("/");
                        current = open(root, &walked, DIRECTORY, ResolveFlags::empty())?;
                    }
                    for component in target.components().rev() {
                        if let Component::Normal(_) | Component::ParentDir = component {
                            rest.push_front(component.as_os_str().to_owned());
                        }
                    }
                    continue;
                }
            }
            Err(error) => return Err(error),
        }
        // Relative to the parent, so that it is the directory just created whatever happens to its parents.
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        current = open(current.as_fd(), Path::new(&name), flags, ResolveFlags::NO_SYMLINKS)?;
        walked = next;
    }
    Ok(current)
}

/// Opens the parent of a path, which is created if it is missing. Returns it with the last name of the path.
pub(crate) fn make_parent(root: BorrowedFd<'_>, path: &Path) -> Result<(OwnedFd, OsString), Errno> {
    let path = clean(path);
    let name = path.file_name().ok_or(Errno::ISDIR)?.to_owned();
    let parent = make_directories(root, path.parent().unwrap_or(Path::new("/")))?;
    Ok((parent, name))
}

/// Creates an empty file to mount on, with its parents, and opens it with O_PATH. If it is a dangling symlink, as
/// `/etc/resolv.conf` is in some images, its target is created inside the root.
pub(crate) fn make_file(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        let (parent, name) = make_parent(root, &path)?;
        let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK;
        match rustix::fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o644)) {
            Err(Errno::LOOP) => {
                let target = rustix::fs::readlinkat(&parent, &name, Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                path = path.parent().unwrap_or(Path::new("/")).join(target);
            }
            Err(error) => return Err(error),
            Ok(_) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW;
                return open(parent.as_fd(), Path::new(&name), flags, ResolveFlags::NO_SYMLINKS);
            }
        }
    }
    Err(Errno::LOOP)
}

/// Removes a file or symlink. It is no error if it is missing.
pub(crate) fn remove(root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let (parent, name) = make_parent(root, path)?;
    match rustix::fs::unlinkat(&parent, &name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let directory = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(directory.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (directory, fd)
    }

    #[test]
    fn links_of_a_stranger_are_resolved_as_the_table_says() {
        let rows =
            include_str!("../../../image-tool/src/beneath/hostile.tsv").lines().filter(|line| !line.starts_with('#'));
        for row in rows {
            let (folder, root) = root();
            let outside = tempfile::tempdir().unwrap();
            let place = |text: &str| text.replace('@', outside.path().to_str().unwrap());
            let [links, path, made] = row.split('\t').collect::<Vec<_>>().try_into().unwrap();
            for link in links.split(' ') {
                let (name, target) = link.split_once('=').unwrap();
                fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
                symlink(place(target), folder.path().join(name)).unwrap();
            }
            let result = make_directories(root.as_fd(), Path::new(path));
            if made == "-" {
                assert!(result.is_err(), "{row}");
            } else {
                assert!(result.is_ok(), "{row}: {result:?}");
                let inside = folder.path().join(place(made).trim_start_matches('/'));
                assert!(inside.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()), "{row}");
            }
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{row}");
            assert!(!Path::new("/etc/made").exists() && !Path::new("/made").exists(), "{row}");
        }
    }

    #[test]
    fn a_file_behind_a_symlink_is_created_inside_the_root() {
        let (directory, fd) = root();
        symlink("/run-tool-test/../outside", directory.path().join("link")).unwrap();
        make_file(fd.as_fd(), Path::new("/link")).unwrap();
        assert!(directory.path().join("outside").is_file());
        assert!(!Path::new("/outside").exists());
    }

    #[test]
    fn paths_are_cleaned_without_the_disk() {
        assert_eq!(clean(Path::new("/a/../../b/./c//")), Path::new("/b/c"));
        assert_eq!(clean(Path::new("relative/x")), Path::new("/relative/x"));
    }
}
