//! The root file system of one command: an overlay over the layers, with the mount points that the image lacks below
//! them.
//!
//! A mount point is where the image's links lead, and only the stack of layers tells where. So the stack is mounted, and
//! if a mount point is missing because a link leads elsewhere, it is put there and the stack is mounted again.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use bundle_tool::rootfs::{self, Overlay};
use image_tool::beneath::{Root, Time};
use image_tool::error::During;
use rustix::fs::FileType;

use super::error::Error;
use super::place::{self, Place, stub};
use super::runtime::CONFIG;
use super::site::Site;
use crate::source::files;

/// The directories of an overlay in a command's folder.
pub(super) const UPPER: &str = "upper";
const WORK: &str = "work";

/// A mount point that the runtime will create in the upper directory, since a deletion in the image hides it below.
#[derive(Debug)]
struct Made {
    /// The path relative to the root, its links followed.
    path: PathBuf,
    is_file: bool,
    /// The directory above it that is there already, and its modification time.
    above: PathBuf,
    modified: Time,
}

/// The root file system, mounted.
pub(super) struct Rootfs {
    root: Root,
    target: PathBuf,
    upper: PathBuf,
    made: Vec<Made>,
}

impl Rootfs {
    /// Mounts the directories `lower`, the lowest first, where the commands' root file systems are. What changes goes to
    /// `upper` in `folder`. `places` are the command's own mount points.
    pub(super) fn mount(folder: &Path, lower: &[PathBuf], places: &[Place], site: &Site) -> Result<Self, Error> {
        let make = |name: &str, mode: u32| -> Result<PathBuf, Error> {
            let path = folder.join(name);
            fs::create_dir(&path).during("create", &path)?;
            fs::set_permissions(&path, Permissions::from_mode(mode)).during("chmod", &path)?;
            Ok(path)
        };
        let (upper, work) = (make(UPPER, 0o755)?, folder.join(WORK));
        if work.exists() {
            rootfs::renew(&work)?;
        } else {
            make(WORK, 0o700)?;
        }
        if let Some(top) = lower.last() {
            // The root directory of an overlay takes owner and mode from its upper directory.
            let metadata = fs::metadata(top).during("stat", top)?;
            chown(&upper, Some(metadata.uid()), Some(metadata.gid())).during("chown", &upper)?;
            let mode = Permissions::from_mode(metadata.mode() & 0o7777);
            fs::set_permissions(&upper, mode).during("chmod", &upper)?;
        }
        let mut stack = vec![site.stubs()];
        let stubs = folder.join("stubs");
        if !places.is_empty() {
            stack.insert(0, make("stubs", 0o755)?);
        }
        for place in places {
            stub(&stubs, &place.relative(), place.is_file)?;
        }
        stack.extend_from_slice(lower);
        let target = site.rootfs();
        let mount = |stack: &[PathBuf]| -> Result<Root, Error> {
            // After a crash the command runs again, so what it wants on disk need not get there. Package managers want that for every
            // file.
            Overlay::new(stack.to_vec()).writable(&upper, &work).volatile().mount(&target)?;
            Ok(Root::open(&target)?)
        };
        let mut root = mount(&stack)?;
        let mut all = place::places();
        all.extend_from_slice(places);
        let mut absent = missing(&root, &all)?;
        let mut elsewhere = Vec::new();
        for place in &absent {
            let path = follow(&root, &place.relative())?;
            if path != place.relative() {
                elsewhere.push((path, place.is_file));
            }
        }
        if !elsewhere.is_empty() {
            drop(root);
            rootfs::unmount(&target, true)?;
            rootfs::renew(&work)?;
            if places.is_empty() {
                stack.insert(0, make("stubs", 0o755)?);
            }
            elsewhere.iter().try_for_each(|(path, is_file)| stub(&stubs, path, *is_file))?;
            root = mount(&stack)?;
            absent = missing(&root, &all)?;
        }
        let made = absent.into_iter().map(|place| Made::of(&root, place)).collect::<Result<_, _>>()?;
        Ok(Self { root, target, upper, made })
    }

    /// Creates the working directory if a layer or an earlier command has left none; it belongs to the command's user.
    pub(super) fn make_workdir(&self, path: &str, uid: u32, gid: u32) -> Result<(), Error> {
        let path = files::inside(path);
        if self.root.stat(&path)?.is_none() {
            drop(self.root.create_directories(&path, 0o755)?);
            self.root.set_owner(&path, uid, gid)?;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.target
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// Unmounts the file system. Then the upper directory holds what the command changed and nothing else.
    pub(super) fn unmount(self) -> Result<(), Error> {
        drop(self.root);
        rootfs::unmount(&self.target, true)?;
        if !self.made.is_empty() {
            let upper = Root::open(&self.upper)?;
            self.made.iter().try_for_each(|made| made.remove(&upper))?;
        }
        Ok(())
    }
}

/// Makes the folder of a command that has ended fit for the next one, if there is nothing in it but what that will replace: on a disk, it
/// takes longer to make and remove directories than to mount an overlay. Returns whether it is fit.
pub(super) fn clear(folder: &Path) -> bool {
    let kept = |name: &OsStr| name == WORK || name == CONFIG;
    // The upper directory is still there if it did not become a layer.
    let _ = fs::remove_dir_all(folder.join(UPPER));
    fs::read_dir(folder).is_ok_and(|names| names.flatten().all(|entry| kept(&entry.file_name())))
}

/// The mount points that are not there.
fn missing<'a>(root: &Root, places: &'a [Place]) -> Result<Vec<&'a Place>, Error> {
    let mut missing = Vec::new();
    for place in places {
        if root.stat(place.relative())?.is_none() {
            missing.push(place);
        }
    }
    Ok(missing)
}

/// The part of a path that exists, links followed.
fn existing<'a>(root: &Root, path: &'a Path) -> Result<&'a Path, Error> {
    let mut above = path;
    while root.stat(above)?.is_none() {
        above = above.parent().unwrap_or(Path::new(""));
    }
    Ok(above)
}

/// Where a path leads that does not exist: its links followed inside the root, the last of which may be dangling.
fn follow(root: &Root, path: &Path) -> Result<PathBuf, Error> {
    // As for the kernel, more links are a loop.
    const LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let above = existing(root, &path)?;
        let below = path.strip_prefix(above).expect("it is a part of the path");
        let mut rest = below.components();
        let real = real(root, above)?;
        let Some(name) = rest.next() else { return Ok(real) };
        match root.lstat(real.join(name)) {
            Ok(Some(stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                let link = root.read_link(real.join(name))?;
                let from = if link.is_absolute() { Path::new("") } else { &real };
                path = files::inside(&from.join(link).join(rest.as_path()).to_string_lossy());
            }
            // To join an empty rest would append a slash.
            _ => return Ok(real.join(below)),
        }
    }
    Ok(path)
}

/// The path of what is at `path`, without links, relative to the root.
fn real(root: &Root, path: &Path) -> Result<PathBuf, Error> {
    let name = |fd: BorrowedFd<'_>| {
        let link = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        fs::read_link(&link).during("read", &link)
    };
    // Nothing can be mounted below a file; the runtime will say so.
    let Ok(directory) = root.directory(path) else { return Ok(path.to_owned()) };
    let whole = name(directory.as_fd())?;
    Ok(whole.strip_prefix(name(root.as_fd())?).map_or_else(|_| path.to_owned(), Path::to_owned))
}

impl Made {
    fn of(root: &Root, place: &Place) -> Result<Self, Error> {
        let path = follow(root, &place.relative())?;
        let above = existing(root, &path)?.to_owned();
        let stat = root.stat(&above)?;
        let modified = stat.map_or(Time { seconds: 0, nanoseconds: 0 }, |stat| Time::modified(&stat));
        Ok(Self { path, is_file: place.is_file, above, modified })
    }

    /// Removes what the runtime created from the upper directory. What the command has put into it is kept.
    fn remove(&self, upper: &Root) -> Result<(), Error> {
        let Some(stat) = upper.lstat(&self.path)? else { return Ok(()) };
        let before = upper.lstat(&self.above)?;
        let empty = |path: &Path| upper.names(path).is_ok_and(|names| names.is_empty());
        let unused = if self.is_file { stat.st_size == 0 } else { empty(&self.path) };
        if !unused || upper.remove(&self.path).is_err() {
            return Ok(());
        }
        let mut parent = self.path.parent();
        while let Some(path) = parent.filter(|path| *path != self.above && empty(path)) {
            upper.remove(path)?;
            parent = path.parent();
        }
        if let Some(before) = before {
            // In a directory that holds nothing else, nothing was changed.
            let time = if empty(&self.above) { self.modified } else { Time::modified(&before) };
            upper.set_modified(&self.above, time)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn place(path: &str, is_file: bool) -> Place {
        Place { path: path.to_owned(), is_file }
    }

    #[test]
    fn stubs_are_made_and_unmade() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        let places = [("/etc/hosts", true), ("/run/x/y", false), ("/etc/kept", true), ("/none", true)];
        let places = places.map(|(path, is_file)| place(path, is_file));
        let modified = Time::modified(&root.stat("etc").unwrap().unwrap());
        let made: Vec<Made> = places.iter().map(|place| Made::of(&root, place).unwrap()).collect();
        for place in &places[..3] {
            stub(folder.path(), &place.relative(), place.is_file).unwrap();
        }
        assert!(folder.path().join("etc/hosts").is_file() && folder.path().join("run/x/y").is_dir());
        fs::write(folder.path().join("etc/kept"), "x").unwrap();
        for made in &made {
            made.remove(&root).unwrap();
        }
        assert_eq!(root.names("").unwrap(), ["etc"]);
        assert_eq!(root.names("etc").unwrap(), ["kept"]);
        fs::remove_file(folder.path().join("etc/kept")).unwrap();
        stub(folder.path(), Path::new("etc/hosts"), true).unwrap();
        made[0].remove(&root).unwrap();
        assert_eq!(Time::modified(&root.stat("etc").unwrap().unwrap()), modified);
    }

    #[test]
    fn a_folder_is_fit_for_the_next_command_if_nothing_is_left_in_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(UPPER).join("etc")).unwrap();
        fs::create_dir(folder.path().join(WORK)).unwrap();
        fs::write(folder.path().join(CONFIG), "{}").unwrap();
        assert!(clear(folder.path()));
        assert!(!folder.path().join(UPPER).exists());
        fs::write(folder.path().join("secret-0"), "x").unwrap();
        assert!(!clear(folder.path()));
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("usr/lib")).unwrap();
        for (target, link) in [("/run", "var"), ("usr/lib", "lib"), ("../../up", "usr/lib/up"), ("loop", "loop")] {
            symlink(target, path(link)).unwrap();
        }
        let root = Root::open(folder.path()).unwrap();
        for (from, expected) in [
            ("var/lock", "run/lock"),
            ("lib/x/y", "usr/lib/x/y"),
            ("lib/up/x", "up/x"),
            ("plain/x", "plain/x"),
            ("usr/lib", "usr/lib"),
        ] {
            assert_eq!(follow(&root, Path::new(from)).unwrap(), Path::new(expected), "{from}");
        }
        assert!(follow(&root, Path::new("loop/x")).is_err(), "a loop is one for the runtime too");
    }
}
