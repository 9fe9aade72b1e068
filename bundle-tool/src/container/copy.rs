//! Files between a container and this host, as docker cp has it: where a copy lands, and its way there as a tar archive.
//!
//! A container that runs is reached through its own mounts (/proc/PID/root), one that does not through its root file system and the volumes
//! on it. Either way every path is resolved beneath its root, so links in the container end in the container.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::beneath::{self, Root, Time};
use image_tool::error::During as _;
use image_tool::layer::apply::{self, Applier};
use image_tool::layer::entry::{Entry, Kind, Writer};
use image_tool::layer::owner::Owners;
use rustix::fs::{FileType, Stat};

use super::layers;
use super::userns::Ids;
use crate::bundle::Bundle;

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
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// One side of a copy: a root, and a path beneath it as it was given.
#[derive(Debug)]
pub struct Side {
    root: Root,
    /// The path without the folder that the root stands for.
    path: PathBuf,
    /// The path as it was given.
    shown: PathBuf,
    /// The ids of the container on this host, if they are others.
    ids: Option<Ids>,
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
        // `absolute` drops what says that the content of a folder is meant.
        let mut inside = absolute.into_os_string();
        inside.push(end_of(path));
        Ok(Self { root: Root::open("/")?, path: inside.into(), shown: path.to_owned(), ids: None })
    }

    /// A path of a container.
    pub fn container(home: &Home, bundle: &Bundle, path: &Path) -> Result<Self, Error> {
        let (shown, ids) = (path.to_owned(), Ids::of(bundle));
        if let Some(pid) = bundle.occupant() {
            return Ok(Self { root: Root::open(format!("/proc/{pid}/root"))?, path: path.to_owned(), shown, ids });
        }
        layers::mount(home, bundle).map_err(|error| Error::Mount(Box::new(error)))?;
        let (folder, inside) = volume_of(bundle, path).unwrap_or_else(|| (bundle.rootfs(), path.to_owned()));
        Ok(Self { root: Root::open(folder)?, path: inside, shown, ids })
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
            let is_last = left.iter().all(|component| component == "." || component == "/");
            match self.root.lstat(&path)? {
                Some(stat) if kind_of(&stat) == FileType::Symlink && (!is_last || follow || self.is_content()) => {
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

    /// Whether the content of a folder is meant, and not the folder itself: `FOLDER/.`.
    fn is_content(&self) -> bool {
        end_of(&self.shown) == OsStr::new("/.") || self.shown == Path::new(".")
    }

    /// Whether it must be a folder.
    fn is_folder(&self) -> bool {
        !end_of(&self.shown).is_empty()
    }

    /// The last name, under which a copy goes into a folder.
    fn name(&self) -> OsString {
        self.path.file_name().unwrap_or(OsStr::new("/")).to_owned()
    }
}

/// What follows the last name of a path: `/`, `/.` or nothing.
fn end_of(path: &Path) -> &OsStr {
    let bytes = path.as_os_str().as_bytes();
    let end: &[u8] = if bytes.ends_with(b"/.") {
        b"/."
    } else if bytes.ends_with(b"/") {
        b"/"
    } else {
        b""
    };
    OsStr::from_bytes(end)
}

/// The volume that holds a path of a container which does not run, and the path in it.
fn volume_of(bundle: &Bundle, path: &Path) -> Option<(PathBuf, PathBuf)> {
    let clean = crate::option::path::clean(path);
    let mounts = bundle.config()["mounts"].as_array()?;
    let inside = |mount: &serde_json::Value| {
        let target = PathBuf::from(mount["destination"].as_str()?);
        let source = Path::new(mount["source"].as_str()?).to_owned();
        let rest = clean.strip_prefix(&target).ok()?.to_owned();
        (mount["type"] == "bind" && source.is_dir()).then_some((target, source, rest))
    };
    let (_, source, rest) = mounts.iter().filter_map(inside).max_by_key(|(target, ..)| target.components().count())?;
    let mut rest = rest.into_os_string();
    rest.push(end_of(path));
    Some((source, rest.into()))
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
    let pack = Pack { owner: (!options.archive).then_some(owner), ids: from.ids.clone(), links: HashMap::new() };
    let (reader, writer) = io::pipe().during("create", "a pipe")?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| pack.write(from, &source, &stat, &place, writer));
        let unpacked = unpack(to, reader);
        // The reader has gone if unpacking failed, whose error is the one to report.
        let packed = packing.join().expect("packing does not panic");
        unpacked.and(packed)
    })
}

/// Where a copy lands: its path beneath the root of the destination.
fn landing(from: &Side, to: &Side, is_folder: bool) -> Result<PathBuf, Error> {
    let (target, found) = to.resolve(true)?;
    match found {
        Some(stat) if kind_of(&stat) == FileType::Directory => {
            Ok(if is_folder && from.is_content() { target } else { target.join(from.name()) })
        }
        Some(_) if is_folder => Err(Error::NotAFolder(to.shown.clone())),
        Some(_) if to.is_folder() => Err(Error::NoFolder(to.shown.clone())),
        Some(_) => Ok(target),
        None => {
            let parent = target.parent().unwrap_or(Path::new(""));
            let holds = to.root.stat(parent)?.is_some_and(|stat| kind_of(&stat) == FileType::Directory);
            if holds && (is_folder || !to.is_folder()) { Ok(target) } else { Err(Error::NoFolder(to.shown.clone())) }
        }
    }
}

/// Writes a file or a folder as a tar archive, under its own name.
pub fn write(from: &Side, output: impl Write, options: Options) -> Result<(), Error> {
    let (source, stat) = from.resolve(options.follow || from.is_folder())?;
    let stat = stat.ok_or_else(|| Error::NoSource(from.shown.clone()))?;
    let place = if from.is_content() { PathBuf::from(".") } else { from.name().into() };
    Pack { owner: None, ids: from.ids.clone(), links: HashMap::new() }.write(from, &source, &stat, &place, output)
}

/// Unpacks a tar archive into a folder.
pub fn read(to: &Side, input: impl Read) -> Result<(), Error> {
    let (target, found) = to.resolve(true)?;
    match found {
        None => return Err(Error::NoFolder(to.shown.clone())),
        Some(stat) if kind_of(&stat) != FileType::Directory => return Err(Error::NotUnpacked(to.shown.clone())),
        Some(_) => {}
    }
    let (shown, ids) = (to.shown.clone(), to.ids.clone());
    let below = Side { root: to.root.subroot(&target)?, path: PathBuf::new(), shown, ids };
    unpack(&below, input)
}

fn unpack(to: &Side, input: impl Read) -> Result<(), Error> {
    // The folder may be anybody's, such as /tmp, and its time says that something has come into it.
    let owners = to.ids.as_ref().map_or_else(Owners::here, Ids::owners);
    let options = apply::Options { keeps_times: false, owners, ..apply::Options::tree() };
    let mut applier = Applier::new(to.root.subroot("")?, options);
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
        Side { root: Root::open(folder).unwrap(), path: path.into(), shown: path.into(), ids: None }
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
