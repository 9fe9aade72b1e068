//! What docker adds to an image's files before a container starts: the mount points that the image lacks, and a few files of its own.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use image_tool::beneath::{self, Root, Time};
use image_tool::error::During as _;
use oci_spec::runtime::Mount;
use rustix::fs::FileType;

use super::Error;

/// The file by which programs know that they are in a container.
const MARK: &str = ".dockerenv";

/// The list of mounts, as old programs know it, and what it leads to.
const MTAB: (&str, &str) = ("etc/mtab", "/proc/mounts");

/// The most links from one to the next, the kernel's MAXSYMLINKS.
const LINKS: usize = 40;

/// Creates missing mount points and returns their paths. The times of their parents are kept.
pub(super) fn make(root: &Root, mounts: &[Mount]) -> Result<Vec<PathBuf>, Error> {
    let mut made = Vec::new();
    let covered =
        |path: &Path| mounts.iter().any(|other| other.destination() != path && path.starts_with(other.destination()));
    for mount in mounts.iter().filter(|mount| !covered(mount.destination())) {
        let path = mount.destination();
        let inside = path.strip_prefix("/").unwrap_or(path);
        let failed = |source| Error::MountPoint { path: path.clone(), source };
        if inside.as_os_str().is_empty() || root.stat(inside).map_err(failed)?.is_some() {
            continue;
        }
        let bind = mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind");
        let file =
            bind && mount.source().as_ref().is_some_and(|source| source.metadata().is_ok_and(|found| !found.is_dir()));
        // A runtime follows links of the image when it mounts, so a link that leads nowhere gets what it wants.
        let place = destination(root, inside).map_err(failed)?;
        keeping_times(root, &place, path, || {
            if file {
                let parent = root.create_directories(place.parent().unwrap_or(Path::new("")), 0o755)?;
                Root::from(parent).create(place.file_name().unwrap_or_default(), 0o644).map(drop)
            } else {
                root.create_directories(&place, 0o755).map(drop)
            }
        })?;
        made.push(place);
    }
    Ok(made)
}

/// Creates docker's own files where the image has none, and returns their paths: /.dockerenv, and /etc/mtab as a link to /proc/mounts.
pub(super) fn furnish(root: &Root) -> Result<Vec<PathBuf>, Error> {
    let mut made = Vec::new();
    let missing = |path: &str| root.lstat(path).map(|found| found.is_none());
    if missing(MARK)? {
        keeping_times(root, Path::new(MARK), Path::new("/.dockerenv"), || root.create(MARK, 0o755).map(drop))?;
        made.push(MARK.into());
    }
    let (path, target) = MTAB;
    if missing(path)? && root.stat("etc")?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()) {
        keeping_times(root, Path::new(path), Path::new("/etc/mtab"), || root.symlink(target, path))?;
        made.push(path.into());
    }
    Ok(made)
}

/// Whether what was made at `path` of a plain tree is still as it was made: an empty file or folder, or docker's link.
pub(super) fn is_unchanged(root: &Root, path: &Path) -> bool {
    let Ok(Some(stat)) = root.lstat(path) else { return false };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => root.names(path).is_ok_and(|names| names.is_empty()),
        FileType::Symlink => path == Path::new(MTAB.0) && root.read_link(path).is_ok_and(|to| to == Path::new(MTAB.1)),
        _ => stat.st_size == 0,
    }
}

/// Makes something at `place` and sets the time of its lowest existing parent back. `shown` is the path for an error.
fn keeping_times(
    root: &Root,
    place: &Path,
    shown: &Path,
    make: impl FnOnce() -> beneath::Result<()>,
) -> Result<(), Error> {
    let failed = |source| Error::MountPoint { path: shown.to_owned(), source };
    let mut above = place.parent().unwrap_or(Path::new(""));
    while root.stat(above).map_err(failed)?.is_none() && !above.as_os_str().is_empty() {
        above = above.parent().unwrap_or(Path::new(""));
    }
    let stat = root.stat(above).map_err(failed)?;
    make().map_err(failed)?;
    if let Some(stat) = stat {
        let folder = root.directory(above).map_err(failed)?;
        let time = Time::modified(&stat);
        let stamp = rustix::fs::Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
        let stamps = rustix::fs::Timestamps { last_access: stamp, last_modification: stamp };
        rustix::fs::futimens(folder.as_fd(), &stamps).during("set time of", above)?;
    }
    Ok(())
}

/// The path without links that `path` leads to, whose last parts do not exist. Links are followed inside the root.
fn destination(root: &Root, path: &Path) -> beneath::Result<PathBuf> {
    // The parts that are still to be walked, the next one last.
    let mut rest: Vec<PathBuf> = path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect();
    let mut walked = PathBuf::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match part.as_os_str().to_str() {
            Some("." | "/") => continue,
            Some("..") => {
                walked.pop();
                continue;
            }
            _ => {}
        }
        let next = walked.join(&part);
        let link = root.lstat(&next)?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_symlink());
        if !link {
            walked = next;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(beneath::Error::Loop { path: path.to_path_buf() });
        }
        let target = root.read_link(&next)?;
        if target.is_absolute() {
            walked = PathBuf::new();
        }
        rest.extend(target.components().rev().map(|part| PathBuf::from(part.as_os_str())));
    }
    Ok(walked)
}

/// The mode of the folder at `path` in the image, following links; `None` if there is none.
pub(super) fn folder_mode(root: &Root, path: &Path) -> Result<Option<u32>, Error> {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let found = root.stat(inside).map_err(|source| Error::MountPoint { path: path.to_owned(), source })?;
    let folder = found.filter(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
    Ok(folder.map(|stat| stat.st_mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mount;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn a_link_that_leads_nowhere_gets_the_file_it_wants_inside_the_root() {
        let (folder, root) = root();
        let at = |path: &str| folder.path().join(path);
        symlink("/nowhere/x", at("dangling")).unwrap();
        symlink("../usr/share/zone", at("etc/localtime")).unwrap();
        symlink("dangling", at("second")).unwrap();
        symlink("../../../../../../escaped", at("etc/up")).unwrap();
        let binds =
            ["/dangling", "/etc/localtime", "/etc/up"].map(|target| mount(target, "bind", "/etc/hostname", &["rbind"]));
        let made = make(&root, &binds).unwrap();
        assert_eq!(made, ["nowhere/x", "usr/share/zone", "escaped"].map(PathBuf::from));
        for path in ["nowhere/x", "usr/share/zone", "escaped"] {
            assert!(at(path).is_file(), "{path}");
        }
        assert!(at("dangling").is_symlink());
        symlink("gone", at("folder")).unwrap();
        assert_eq!(make(&root, &[mount("/folder/in", "tmpfs", "tmpfs", &[])]).unwrap(), [Path::new("gone/in")]);
        symlink("loop2", at("loop1")).unwrap();
        symlink("loop1", at("loop2")).unwrap();
        assert!(make(&root, &[mount("/loop1", "tmpfs", "tmpfs", &[])]).is_err());
    }

    #[test]
    fn dockers_own_files_are_made_once_and_are_no_changes() {
        let (folder, root) = root();
        let made = furnish(&root).unwrap();
        assert_eq!(made, [Path::new(".dockerenv"), Path::new("etc/mtab")]);
        assert!(made.iter().all(|path| is_unchanged(&root, path)));
        assert!(furnish(&root).unwrap().is_empty());
        fs::write(folder.path().join(".dockerenv"), "changed").unwrap();
        fs::remove_file(folder.path().join("etc/mtab")).unwrap();
        symlink("/elsewhere", folder.path().join("etc/mtab")).unwrap();
        assert!(made.iter().all(|path| !is_unchanged(&root, path)));
        let (_folder, bare) = {
            let folder = tempfile::tempdir().unwrap();
            let root = Root::open(folder.path()).unwrap();
            (folder, root)
        };
        assert_eq!(furnish(&bare).unwrap(), [Path::new(".dockerenv")], "an image without /etc gets none");
    }

    #[test]
    fn a_folder_of_the_image_has_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, root) = root();
        fs::set_permissions(folder.path().join("etc"), fs::Permissions::from_mode(0o2750)).unwrap();
        symlink("etc", folder.path().join("link")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(folder_mode(&root, Path::new("/etc")).unwrap(), Some(0o2750));
        assert_eq!(folder_mode(&root, Path::new("/link")).unwrap(), Some(0o2750));
        assert_eq!(folder_mode(&root, Path::new("/file")).unwrap(), None);
        assert_eq!(folder_mode(&root, Path::new("/new")).unwrap(), None);
    }
}
