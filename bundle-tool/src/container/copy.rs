//! Files between a container and this host, as docker cp has it: where a copy lands, and its way there as a tar archive.
//!
//! A container that runs is reached through its own mounts (/proc/PID/root). For one that does not, its binds and volumes are mounted on its
//! root file system, where nobody else sees them. Either way every path is resolved beneath its root, so links in the container end in the
//! container.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::beneath::{self, Root, Time, open_in_root};
use image_tool::error::During as _;
use image_tool::layer::apply::{self, Applier};
use image_tool::layer::entry::{Entry, Kind, Writer};
use image_tool::layer::owner::Owners;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde_json::Value as Json;

use super::layers;
use super::userns::Ids;
use crate::bundle::Bundle;
use crate::option::path::clean;
use crate::rootfs;

/// Why nothing can be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source does not exist.
    #[error("{}: no such file or directory", .0.display())]
    NoSource(PathBuf),
    /// The folder that is to hold the copy does not exist.
    #[error("{}: no such directory", .0.display())]
    NoFolder(PathBuf),
    /// A file is to become what only a folder can be: its path ends with a slash.
    #[error("{}: no such directory", .0.display())]
    NotMade(PathBuf),
    /// The container must not change its root file system, or a volume, and neither may anybody for it.
    #[error("{}: {what} is marked read-only", .path.display())]
    ReadOnly {
        /// The destination.
        path: PathBuf,
        /// What it is in, in docker's words.
        what: &'static str,
    },
    /// A directory is to replace a file.
    #[error("{}: cannot copy a directory to a file", .0.display())]
    NotAFolder(PathBuf),
    /// An archive is unpacked into directories only.
    #[error("{}: destination must be a directory", .0.display())]
    NotUnpacked(PathBuf),
    /// A path has more links than the kernel would follow.
    #[error("{}: too many symbolic links", .0.display())]
    Loop(PathBuf),
    /// A path could not be resolved or opened.
    #[error(transparent)]
    Beneath(#[from] beneath::Error),
    /// An archive could not be unpacked.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// An archive could not be written.
    #[error("write the archive")]
    Write(#[source] io::Error),
    /// The root file system cannot be mounted.
    #[error("mount the root file system")]
    Mount(#[source] Box<super::Error>),
    /// The binds and volumes of a container that does not run cannot be mounted.
    #[error("show the container's binds and volumes (they can be reached while it runs)")]
    Show(#[source] rootfs::Error),
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// One side of a copy: a root, and a path beneath it as it was given.
#[derive(Debug)]
pub struct Side {
    root: Root,
    /// The absolute path beneath the root, cleaned as text, as docker does.
    path: PathBuf,
    /// The path as it was given.
    shown: PathBuf,
    /// The ids of the container on this host, if they are others.
    ids: Option<Ids>,
    /// What is mounted in the container, its root file system too, and whether it must not be changed.
    mounts: Vec<(PathBuf, bool)>,
}

/// How files are copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether owners are kept; else files belong to whoever has the destination: the container's root, or the caller.
    pub archive: bool,
    /// Whether a link that is the source is followed.
    pub follow: bool,
}

impl Side {
    /// A path of this host.
    pub fn host(path: &Path) -> Result<Self, Error> {
        let absolute = std::path::absolute(path).during("find", path)?;
        Ok(Self {
            root: Root::open("/")?,
            path: clean(absolute),
            shown: path.to_owned(),
            ids: None,
            mounts: Vec::new(),
        })
    }

    /// A path of a container. If it does not run, the process moves to a mount namespace of its own.
    pub fn container(home: &Home, bundle: &Bundle, path: &Path) -> Result<Self, Error> {
        let root = match bundle.occupant() {
            Some(pid) => Root::open(format!("/proc/{pid}/root"))?,
            None => {
                layers::mount_files(home, bundle).map_err(|error| Error::Mount(Box::new(error)))?;
                show_binds(bundle)?
            }
        };
        Ok(Self {
            root,
            path: clean(path),
            shown: path.to_owned(),
            ids: Ids::of(bundle),
            mounts: mounts_of(bundle.config()),
        })
    }

    /// The path with all its links resolved, the last one too with `follow`; and what is there. `..` ends at the root.
    fn resolve(&self, follow: bool) -> Result<(PathBuf, Option<Stat>), Error> {
        let mut left: Vec<OsString> =
            self.path.components().rev().map(|component| component.as_os_str().to_owned()).collect();
        let mut found = PathBuf::new();
        let mut links = 40;
        while let Some(component) = left.pop() {
            match Path::new(&component).components().next() {
                Some(Component::ParentDir) => {
                    found.pop();
                    continue;
                }
                Some(Component::Normal(_)) => {}
                _ => continue,
            }
            let path = found.join(&component);
            match self.root.lstat(&path)? {
                Some(stat) if kind_of(&stat) == FileType::Symlink && (!left.is_empty() || follow) => {
                    links -= 1;
                    if links == 0 {
                        return Err(Error::Loop(self.shown.clone()));
                    }
                    let target = self.root.read_link(&path)?;
                    if target.is_absolute() {
                        found = PathBuf::new();
                    }
                    left.extend(target.components().rev().map(|component| component.as_os_str().to_owned()));
                }
                _ => found = path,
            }
        }
        let stat = self.root.lstat(&found)?;
        Ok((found, stat))
    }

    /// Whether the content of a folder is meant, and not the folder itself: `FOLDER/.`, and the root, which has no name.
    fn is_content(&self) -> bool {
        self.name().is_none() || ends_with_dot(&self.shown)
    }

    /// Whether it must be a folder.
    fn is_folder(&self) -> bool {
        self.shown.as_os_str().as_bytes().ends_with(b"/") || ends_with_dot(&self.shown)
    }

    /// The last name, under which a copy goes into a folder; none of the root.
    fn name(&self) -> Option<&OsStr> {
        self.path.file_name()
    }

    /// Refuses a destination, a resolved path, that the container must not change.
    fn writable(&self, target: &Path) -> Result<(), Error> {
        let target = clean(target);
        let holder = self.mounts.iter().filter(|(path, _)| target.starts_with(path));
        match holder.max_by_key(|(path, _)| path.components().count()) {
            Some((path, true)) => {
                let what = if path == Path::new("/") { "container rootfs" } else { "mounted volume" };
                Err(Error::ReadOnly { path: self.shown.clone(), what })
            }
            _ => Ok(()),
        }
    }
}

/// Whether the last name of a path is `.`, which cleaning takes away.
fn ends_with_dot(path: &Path) -> bool {
    path.as_os_str().as_bytes().split(|byte| *byte == b'/').rfind(|name| !name.is_empty()) == Some(b".".as_slice())
}

/// What is mounted in a container, its root file system first, and whether it must not be changed.
fn mounts_of(config: &Json) -> Vec<(PathBuf, bool)> {
    let root = (PathBuf::from("/"), config.pointer("/root/readonly") == Some(&Json::Bool(true)));
    let mounts = config["mounts"].as_array().into_iter().flatten().filter_map(|mount| {
        let options = mount["options"].as_array().into_iter().flatten();
        let is_read_only = options.filter_map(Json::as_str).any(|option| ["ro", "rro"].contains(&option));
        Some((clean(mount["destination"].as_str()?), is_read_only))
    });
    std::iter::once(root).chain(mounts).collect()
}

/// Mounts the binds and volumes of a container that does not run on its root file system, in a mount namespace of this process alone, and
/// returns the root. What is gone on either side is left out.
fn show_binds(bundle: &Bundle) -> Result<Root, Error> {
    let mounts = bundle.config()["mounts"].as_array().into_iter().flatten().filter(|mount| mount["type"] == "bind");
    let binds: Vec<_> =
        mounts.filter_map(|mount| Some((mount["source"].as_str()?, mount["destination"].as_str()?))).collect();
    if !binds.is_empty() {
        rootfs::own_namespace().map_err(Error::Show)?;
    }
    let root = Root::open(bundle.rootfs())?;
    for (source, destination) in binds {
        let Ok(target) = open_in_root(&root, Path::new(destination), OFlags::PATH, Mode::empty()) else { continue };
        let place = format!("/proc/self/fd/{}", target.as_raw_fd());
        match rustix::mount::mount_bind_recursive(source, place.as_str()) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno).during("mount", source).map_err(Error::Io),
        }
    }
    Ok(root)
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Copies a file or a folder. `owner` is whom the copies belong to unless owners are kept.
pub fn copy(from: &Side, to: &Side, owner: (u32, u32), options: Options) -> Result<(), Error> {
    let (source, stat) = from.resolve(options.follow || from.is_folder())?;
    let stat = stat.ok_or_else(|| Error::NoSource(from.shown.clone()))?;
    let is_folder = kind_of(&stat) == FileType::Directory;
    let place = landing(from, to, is_folder)?;
    to.writable(&place)?;
    let pack = Pack { owner: (!options.archive).then_some(owner), ids: from.ids.clone(), links: HashMap::new() };
    let (reader, writer) = io::pipe().during("create", "a pipe")?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| pack.write(from, &source, &stat, &place, writer));
        let unpacked = unpack(to, Path::new(""), reader);
        // The reader has gone if unpacking failed, whose error is the one to report.
        let packed = packing.join().expect("packing does not panic");
        unpacked.and(packed)
    })
}

/// Where a copy lands: its path beneath the root of the destination.
fn landing(from: &Side, to: &Side, is_folder: bool) -> Result<PathBuf, Error> {
    let (target, found) = to.resolve(true)?;
    match found {
        Some(stat) if kind_of(&stat) == FileType::Directory => Ok(from
            .name()
            .filter(|_| !is_folder || !from.is_content())
            .map_or(target.clone(), |name| target.join(name))),
        Some(_) if is_folder => Err(Error::NotAFolder(to.shown.clone())),
        Some(_) if to.is_folder() => Err(Error::NotMade(to.shown.clone())),
        Some(_) => Ok(target),
        None if !is_folder && to.is_folder() => Err(Error::NotMade(to.shown.clone())),
        None => {
            let parent = target.parent().unwrap_or(Path::new(""));
            let holds = to.root.stat(parent)?.is_some_and(|stat| kind_of(&stat) == FileType::Directory);
            if holds { Ok(target) } else { Err(Error::NoFolder(to.shown.clone())) }
        }
    }
}

/// Writes a file or a folder as a tar archive, under its own name.
pub fn write(from: &Side, output: impl Write, options: Options) -> Result<(), Error> {
    let (source, stat) = from.resolve(options.follow || from.is_folder())?;
    let stat = stat.ok_or_else(|| Error::NoSource(from.shown.clone()))?;
    let place = from.name().filter(|_| !from.is_content()).map_or(PathBuf::from("."), PathBuf::from);
    Pack { owner: None, ids: from.ids.clone(), links: HashMap::new() }.write(from, &source, &stat, &place, output)
}

/// Unpacks a tar archive into a folder.
pub fn read(to: &Side, input: impl Read) -> Result<(), Error> {
    let (target, found) = to.resolve(true)?;
    match found {
        None => return Err(Error::NoFolder(to.shown.clone())),
        Some(stat) if kind_of(&stat) != FileType::Directory => return Err(Error::NotUnpacked(to.shown.clone())),
        Some(_) => to.writable(&target)?,
    }
    unpack(to, &target, input)
}

/// Unpacks an archive beneath a folder, whose path is resolved.
fn unpack(to: &Side, folder: &Path, input: impl Read) -> Result<(), Error> {
    // The folder may be anybody's, such as /tmp, and its time says that something has come into it.
    let owners = to.ids.as_ref().map_or_else(Owners::here, Ids::owners);
    let options = apply::Options { keeps_times: false, owners, ..apply::Options::tree() };
    let mut applier = Applier::new(to.root.subroot(folder)?, options);
    applier.layer(BufReader::with_capacity(1 << 16, input))?;
    applier.finish()?;
    Ok(())
}

/// Packs what is copied.
struct Pack {
    /// Whom everything belongs to; absent if owners are kept.
    owner: Option<(u32, u32)>,
    /// The ids of the container that is copied from, if they are others on this host.
    ids: Option<Ids>,
    /// The first name of every file with several hard links.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Pack {
    fn write(mut self, from: &Side, source: &Path, stat: &Stat, place: &Path, output: impl Write) -> Result<(), Error> {
        let mut writer = Writer::new(io::BufWriter::with_capacity(1 << 16, output));
        self.node(&from.root, source, stat, place, &mut writer)?;
        writer.finish().and_then(|mut output| output.flush()).map_err(Error::Write)
    }

    fn node(
        &mut self,
        root: &Root,
        path: &Path,
        stat: &Stat,
        place: &Path,
        writer: &mut Writer<impl Write>,
    ) -> Result<(), Error> {
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = match kind_of(stat) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink(root.read_link(path)?),
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::Character(major, minor),
            FileType::BlockDevice => Kind::Block(major, minor),
            // A socket is nothing without its process.
            FileType::Socket | FileType::Unknown => return Ok(()),
        };
        let outside = (stat.st_uid, stat.st_gid);
        let kept = || self.ids.as_ref().map_or(outside, |ids| ids.inside(outside));
        let (uid, gid) = self.owner.unwrap_or_else(kept);
        let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { stat.st_mode & 0o7777 };
        let mut entry = Entry { uid, gid, modified: Time::modified(stat), ..Entry::new(place, kind, mode) };
        if entry.kind != Kind::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                entry.kind = Kind::HardLink(first.clone());
                return writer.entry(&entry).map_err(Error::Write);
            }
            self.links.insert((stat.st_dev, stat.st_ino), place.to_owned());
        }
        match entry.kind {
            Kind::File => {
                let mut file = root.file(path)?;
                entry.size = file.metadata().during("stat", path)?.len();
                writer.entry(&entry).map_err(Error::Write)?;
                content(&mut file, entry.size, writer).map_err(Error::Write)
            }
            Kind::Directory => {
                writer.entry(&entry).map_err(Error::Write)?;
                for name in root.names(path)? {
                    let below = path.join(&name);
                    // A file that went away meanwhile is not copied.
                    if let Some(stat) = root.lstat(&below)? {
                        self.node(root, &below, &stat, &place.join(&name), writer)?;
                    }
                }
                Ok(())
            }
            _ => writer.entry(&entry).map_err(Error::Write),
        }
    }
}

/// Copies as many bytes as the header says, also of a file that grows or shrinks meanwhile.
fn content(file: &mut File, size: u64, writer: &mut impl Write) -> io::Result<()> {
    let copied = io::copy(&mut file.take(size), writer)?;
    io::copy(&mut io::repeat(0).take(size - copied), writer)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn side(folder: &Path, path: &str) -> Side {
        Side { root: Root::open(folder).unwrap(), path: clean(path), shown: path.into(), ids: None, mounts: Vec::new() }
    }

    fn own() -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    #[test]
    fn a_copy_lands_where_dockers_does() {
        for (from, to, lands) in [
            ("file", "tmp", Some("tmp/file")),
            ("file", "tmp/", Some("tmp/file")),
            ("file", "tmp/new", Some("tmp/new")),
            ("file", "tmp/old", Some("tmp/old")),
            ("file", "none/new", None),
            ("file", "none/", None),
            ("folder", "tmp", Some("tmp/folder/sub/f")),
            ("folder/", "tmp", Some("tmp/folder/sub/f")),
            ("folder/.", "tmp", Some("tmp/sub/f")),
            ("folder/./", "tmp", Some("tmp/sub/f")),
            ("folder/sub/..", "tmp", Some("tmp/folder/sub/f")),
            ("/", "tmp", Some("tmp/folder/sub/f")),
            ("folder/..", "tmp", Some("tmp/folder/sub/f")),
            ("/", "new", Some("new/folder/sub/f")),
            (".", "tmp", Some("tmp/folder/sub/f")),
            ("/", "tmp/old", None),
            ("folder", "new", Some("new/sub/f")),
            ("folder/.", "new", Some("new/sub/f")),
            ("folder", "tmp/old", None),
            ("folder", "none/new", None),
            ("nosuch", "tmp", None),
        ] {
            let source = tempfile::tempdir().unwrap();
            fs::create_dir_all(source.path().join("folder/sub")).unwrap();
            fs::write(source.path().join("folder/sub/f"), "one").unwrap();
            fs::write(source.path().join("file"), "one").unwrap();
            let target = tempfile::tempdir().unwrap();
            fs::create_dir(target.path().join("tmp")).unwrap();
            fs::write(target.path().join("tmp/old"), "old").unwrap();
            let copied = copy(&side(source.path(), from), &side(target.path(), to), own(), Options::default());
            match lands {
                Some(path) => {
                    copied.unwrap_or_else(|error| panic!("{from} {to}: {error}"));
                    assert_eq!(fs::read_to_string(target.path().join(path)).unwrap(), "one", "{from} {to}");
                }
                None => assert!(copied.is_err(), "{from} {to}"),
            }
        }
    }

    #[test]
    fn links_end_beneath_their_root() {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("file"), "new").unwrap();
        let target = tempfile::tempdir().unwrap();
        let outside = target.path().join("outside");
        let root = target.path().join("root");
        fs::create_dir_all(root.join("tmp")).unwrap();
        fs::write(&outside, "host").unwrap();
        fs::write(root.join("outside"), "container").unwrap();
        symlink("../../outside", root.join("tmp/up")).unwrap();
        copy(&side(source.path(), "file"), &side(&root, "tmp/up"), own(), Options::default()).unwrap();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "host");
        assert_eq!(fs::read_to_string(root.join("outside")).unwrap(), "new");
        symlink("loop", root.join("loop")).unwrap();
        assert!(matches!(side(&root, "loop/x").resolve(true), Err(Error::Loop(_))));
    }

    #[test]
    fn modes_are_kept_and_links_only_followed_when_asked() {
        let source = tempfile::tempdir().unwrap();
        fs::write(source.path().join("file"), "one").unwrap();
        fs::set_permissions(source.path().join("file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", source.path().join("link")).unwrap();
        let target = tempfile::tempdir().unwrap();
        let both = |options| copy(&side(source.path(), "link"), &side(target.path(), "x"), own(), options);
        both(Options::default()).unwrap();
        assert_eq!(fs::read_link(target.path().join("x")).unwrap(), Path::new("file"));
        fs::remove_file(target.path().join("x")).unwrap();
        both(Options { follow: true, ..Options::default() }).unwrap();
        let mode = fs::symlink_metadata(target.path().join("x")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
    }

    #[test]
    fn an_archive_goes_in_and_out() {
        let source = tempfile::tempdir().unwrap();
        fs::create_dir(source.path().join("folder")).unwrap();
        fs::write(source.path().join("folder/f"), "one").unwrap();
        let mut archive = Vec::new();
        write(&side(source.path(), "folder"), &mut archive, Options::default()).unwrap();
        let target = tempfile::tempdir().unwrap();
        read(&side(target.path(), "/"), archive.as_slice()).unwrap();
        assert_eq!(fs::read_to_string(target.path().join("folder/f")).unwrap(), "one");
        assert!(matches!(read(&side(target.path(), "folder/f"), archive.as_slice()), Err(Error::NotUnpacked(_))));
    }
}
