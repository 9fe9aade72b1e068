//! What docker adds to an image's files before a container starts: the mount points that the image lacks, and a few files of its own.

use std::path::{Path, PathBuf};

use image_tool::beneath::{self, Root, Time};
use oci_spec::runtime::Mount;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::Error;

/// The file by which programs know that they are in a container.
const MARK: &str = ".dockerenv";

/// The list of mounts, as old programs know it, and what it leads to.
const MTAB: (&str, &str) = ("etc/mtab", "/proc/mounts");

/// The most links from one to the next, the kernel's MAXSYMLINKS.
const LINKS: usize = 40;

/// Where what an image lacks is made.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    /// The image's files.
    image: &'a Root,
    /// The layer that will lie on them, if they are not to be changed themselves.
    layer: Option<&'a Root>,
}

impl<'a> Ground<'a> {
    /// A tree that is changed itself.
    pub(super) fn tree(tree: &'a Root) -> Self {
        Self { image: tree, layer: None }
    }

    /// A layer on an image.
    pub(super) fn layer(image: &'a Root, layer: &'a Root) -> Self {
        Self { image, layer: Some(layer) }
    }

    /// Creates missing mount points and returns their paths. The times of their parents are kept.
    pub(super) fn make(self, mounts: &[Mount]) -> Result<Vec<PathBuf>, Error> {
        let mut made = Vec::new();
        for mount in uncovered(mounts) {
            let path = mount.destination();
            if exists(self.image, path)? {
                continue;
            }
            let inside = path.strip_prefix("/").unwrap_or(path);
            let failed = |source| Error::MountPoint { path: path.clone(), source };
            // A runtime follows links of the image when it mounts, so a link that leads nowhere gets what it wants.
            let place = destination(self.image, inside).map_err(failed)?;
            if self.find(&place).map_err(failed)?.is_some() {
                continue;
            }
            self.add(&place, path, |target| {
                if is_file(mount) {
                    let parent = target.create_directories(place.parent().unwrap_or(Path::new("")), 0o755)?;
                    Root::from(parent).create(place.file_name().unwrap_or_default(), 0o644).map(drop)
                } else {
                    target.create_directories(&place, 0o755).map(drop)
                }
            })?;
            made.push(place);
        }
        Ok(made)
    }

    /// Creates docker's own files where the image has none, and returns their paths: /.dockerenv, and /etc/mtab as a link to
    /// /proc/mounts.
    pub(super) fn furnish(self) -> Result<Vec<PathBuf>, Error> {
        let mut made = Vec::new();
        let missing = |path: &str| self.image.lstat(path).map(|found| found.is_none());
        if missing(MARK)? {
            self.add(Path::new(MARK), Path::new("/.dockerenv"), |target| target.create(MARK, 0o755).map(drop))?;
            made.push(MARK.into());
        }
        let (path, target) = MTAB;
        let parent = destination(self.image, Path::new("etc"))?;
        let is_folder = |stat: Stat| FileType::from_raw_mode(stat.st_mode).is_dir();
        if missing(path)? && self.find(&parent)?.is_some_and(is_folder) {
            let place = parent.join("mtab");
            self.add(&place, Path::new("/etc/mtab"), |root| root.symlink(target, &place))?;
            made.push(place);
        }
        Ok(made)
    }

    /// The status of what is at a path without links.
    fn find(self, place: &Path) -> beneath::Result<Option<Stat>> {
        match self.layer.map(|layer| layer.stat(place)).transpose()?.flatten() {
            Some(found) => Ok(Some(found)),
            None => self.image.stat(place),
        }
    }

    /// Makes something at `place` and sets the time of its lowest existing parent back. `shown` is the path for an error.
    fn add(self, place: &Path, shown: &Path, make: impl FnOnce(&Root) -> beneath::Result<()>) -> Result<(), Error> {
        let failed = |source| Error::MountPoint { path: shown.to_owned(), source };
        let mut above = place.parent().unwrap_or(Path::new(""));
        while self.find(above).map_err(failed)?.is_none() && !above.as_os_str().is_empty() {
            above = above.parent().unwrap_or(Path::new(""));
        }
        self.raise(above).map_err(failed)?;
        keeping_time(self.layer.unwrap_or(self.image), above, make).map_err(failed)
    }

    /// Gives the layer a folder of the image with its attributes, so that it looks the same with something in it: what overlayfs does
    /// when something in a folder changes.
    fn raise(self, folder: &Path) -> beneath::Result<()> {
        let Some(layer) = self.layer else { return Ok(()) };
        let mut path = PathBuf::new();
        for part in folder {
            let above = path.clone();
            path.push(part);
            if layer.stat(&path)?.is_some() {
                continue;
            }
            let Some(stat) = self.image.stat(&path)? else { return Ok(()) };
            keeping_time(layer, &above, |layer| {
                layer.create_directories(&path, 0o700)?;
                layer.set_owner(&path, stat.st_uid, stat.st_gid)?;
                for (name, value) in self.image.xattrs(&path)? {
                    match layer.set_xattr(&path, &name, &value) {
                        Err(error) if error.errno() == Some(Errno::NOTSUP) => {}
                        other => other?,
                    }
                }
                layer.set_mode(&path, stat.st_mode & 0o7777)?;
                layer.set_modified(&path, Time::modified(&stat))
            })?;
        }
        Ok(())
    }
}

/// The mounts that do not lie in another.
pub(super) fn uncovered(mounts: &[Mount]) -> impl Iterator<Item = &Mount> {
    mounts.iter().filter(|mount| {
        let path = mount.destination();
        mounts.iter().all(|other| other.destination() == path || !path.starts_with(other.destination()))
    })
}

/// Whether the image has a mount point, be it behind links.
pub(super) fn exists(image: &Root, path: &Path) -> Result<bool, Error> {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let found = || image.stat(inside).map_err(|source| Error::MountPoint { path: path.to_owned(), source });
    Ok(inside.as_os_str().is_empty() || found()?.is_some())
}

/// Whether the mount point is a file: that of a bind mount of one.
pub(super) fn is_file(mount: &Mount) -> bool {
    let bind = mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind");
    bind && mount.source().as_ref().is_some_and(|source| source.metadata().is_ok_and(|found| !found.is_dir()))
}

/// Whether what was made at `path` of a plain tree is still as it was made: an empty file or folder, or docker's link.
pub(super) fn is_unchanged(root: &Root, path: &Path) -> bool {
    let Ok(Some(stat)) = root.lstat(path) else { return false };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => root.names(path).is_ok_and(|names| names.is_empty()),
        FileType::Symlink => root.read_link(path).is_ok_and(|to| to == Path::new(MTAB.1)),
        _ => stat.st_size == 0,
    }
}

/// Makes something in a folder and sets the time of the folder back.
fn keeping_time(root: &Root, folder: &Path, make: impl FnOnce(&Root) -> beneath::Result<()>) -> beneath::Result<()> {
    let stat = root.stat(folder)?;
    make(root)?;
    let Some(stat) = stat else { return Ok(()) };
    root.set_modified(folder, Time::modified(&stat))
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
        let made = Ground::tree(&root).make(&binds).unwrap();
        assert_eq!(made, ["nowhere/x", "usr/share/zone", "escaped"].map(PathBuf::from));
        for path in ["nowhere/x", "usr/share/zone", "escaped"] {
            assert!(at(path).is_file(), "{path}");
        }
        assert!(at("dangling").is_symlink());
        symlink("gone", at("folder")).unwrap();
        assert_eq!(
            Ground::tree(&root).make(&[mount("/folder/in", "tmpfs", "tmpfs", &[])]).unwrap(),
            [Path::new("gone/in")]
        );
        symlink("loop2", at("loop1")).unwrap();
        symlink("loop1", at("loop2")).unwrap();
        assert!(Ground::tree(&root).make(&[mount("/loop1", "tmpfs", "tmpfs", &[])]).is_err());
    }

    #[test]
    fn a_layer_has_what_the_image_lacks_in_folders_that_look_as_in_the_image() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let (image, below) = root();
        let at = |path: &str| image.path().join(path);
        fs::create_dir_all(at("usr/etc/deep")).unwrap();
        fs::remove_dir(at("etc")).unwrap();
        symlink("usr/etc", at("etc")).unwrap();
        symlink("/usr/run", at("run")).unwrap();
        fs::write(at("usr/etc/hosts"), "").unwrap();
        fs::set_permissions(at("usr/etc/deep"), fs::Permissions::from_mode(0o2750)).unwrap();
        for path in ["usr/etc/deep", "usr/etc", "usr"] {
            below.set_modified(path, Time { seconds: 1000, nanoseconds: 7 }).unwrap();
        }
        let top = tempfile::tempdir().unwrap();
        let layer = Root::open(top.path()).unwrap();
        let bind = |target| mount(target, "bind", "/etc/hostname", &["rbind"]);
        let folder = |target| mount(target, "tmpfs", "tmpfs", &[]);
        let mounts = [bind("/etc/hosts"), bind("/etc/deep/x"), folder("/run/a"), folder("/usr/run/a"), folder("/proc")];
        let ground = Ground::layer(&below, &layer);
        let made = ground.make(&mounts).unwrap();
        assert_eq!(made, ["usr/etc/deep/x", "usr/run/a", "proc"].map(PathBuf::from));
        assert_eq!(ground.furnish().unwrap(), [".dockerenv", "usr/etc/mtab"].map(PathBuf::from));
        for (path, mode) in [("usr", 0o755), ("usr/etc", 0o755), ("usr/etc/deep", 0o2750)] {
            let found = top.path().join(path).metadata().unwrap();
            assert_eq!((found.mode() & 0o7777, found.mtime(), found.mtime_nsec()), (mode, 1000, 7), "{path}");
        }
        assert!(!at("proc").exists() && !at("usr/etc/deep/x").exists(), "the image is as it was");
        assert_eq!(fs::read_dir(top.path().join("usr/etc")).unwrap().count(), 2, "only what is needed");
        assert!(ground.make(&mounts).unwrap().is_empty());
    }

    #[test]
    fn dockers_own_files_are_made_once_and_are_no_changes() {
        let (folder, root) = root();
        let made = Ground::tree(&root).furnish().unwrap();
        assert_eq!(made, [Path::new(".dockerenv"), Path::new("etc/mtab")]);
        assert!(made.iter().all(|path| is_unchanged(&root, path)));
        assert!(Ground::tree(&root).furnish().unwrap().is_empty());
        fs::write(folder.path().join(".dockerenv"), "changed").unwrap();
        fs::remove_file(folder.path().join("etc/mtab")).unwrap();
        symlink("/elsewhere", folder.path().join("etc/mtab")).unwrap();
        assert!(made.iter().all(|path| !is_unchanged(&root, path)));
        let (_folder, bare) = {
            let folder = tempfile::tempdir().unwrap();
            let root = Root::open(folder.path()).unwrap();
            (folder, root)
        };
        assert_eq!(
            Ground::tree(&bare).furnish().unwrap(),
            [Path::new(".dockerenv")],
            "an image without /etc gets none"
        );
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
