//! A layer's archive becomes files in a directory.
//!
//! One pass over the stream; nothing is read twice and no file is buffered. Every path is resolved beneath the root's
//! descriptor ([`crate::beneath`]), files are created anew and never opened through a name that was there before, so a
//! link in the archive can neither leave the root nor lend its name to a write.
//!
//! The same archive has two targets. In a [`Target::Tree`] a whiteout deletes; layers are applied one upon the other.
//! A [`Target::Lower`] is one layer alone, as overlayfs wants a lower directory: deletions are kept in overlayfs's own
//! signs, a character device 0:0 and an attribute on a directory.
//!
//! The order of entries does not matter, though tools write them sorted: whiteouts spare what their own layer brings,
//! hard links wait for their target, and times of directories are set when everything else has been done. A directory
//! that a layer fills but does not name keeps the time that it had, so that the result does not depend on the clock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::entry::{self, Entry, Kind, Reader};
use super::owner::{Owners, ROOTLESS, Unmapped, in_user_namespace, to_rootless};
use super::whiteout::{self, Whiteout};
use crate::beneath::{self, Root, Time, clean, io_error, open_in_root};

/// Why a layer could not be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive is not one.
    #[error(transparent)]
    Archive(#[from] entry::Error),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] beneath::Error),
    /// The data of an entry could not be written.
    #[error("write {path:?}")]
    Write {
        /// The entry.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The root of the layer is something else than a directory.
    #[error("entry {path:?}: the root is not a directory")]
    Root {
        /// The entry.
        path: PathBuf,
    },
    /// A whiteout of nothing, of `.` or of `..`.
    #[error("entry {path:?}: whiteout without a name")]
    Whiteout {
        /// The entry.
        path: PathBuf,
    },
    /// A hard link to something that is not there.
    #[error("entry {path:?}: hard link to {target:?}, which is not there")]
    Link {
        /// The entry.
        path: PathBuf,
        /// What it links to.
        target: PathBuf,
    },
    /// The owner has no place in the id map.
    #[error("entry {path:?}")]
    Owner {
        /// The entry.
        path: PathBuf,
        /// Which id.
        source: Unmapped,
    },
    /// There are more entries than any real layer has.
    #[error("more than {limit} entries")]
    TooMany {
        /// The most that is accepted.
        limit: u64,
    },
}

/// What a layer is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The tree of the layers below; whiteouts delete in it.
    Tree,
    /// An empty directory that overlayfs will have as a lower one; whiteouts stay as overlayfs's signs.
    Lower(Marks),
}

/// The extended attributes in which overlayfs keeps its signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// `trusted.overlay.*`: only root of the host may set them.
    Trusted,
    /// `user.overlay.*`: for a mount with the option `userxattr` in a user namespace.
    User,
}

impl Marks {
    /// Those that an overlay mount of this process reads.
    #[must_use]
    pub fn here() -> Self {
        if rustix::process::geteuid().is_root() && !in_user_namespace() { Self::Trusted } else { Self::User }
    }

    /// The attribute that makes a directory opaque, where its value is `y`.
    #[must_use]
    pub fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }
}

/// How a layer is applied.
#[derive(Debug, Clone)]
pub struct Options {
    /// To what.
    pub target: Target,
    /// Whose the files become.
    pub owners: Owners,
    /// The most entries of a layer.
    pub entries: u64,
}

impl Options {
    /// For a plain tree, as this process can.
    #[must_use]
    pub fn tree() -> Self {
        Self { target: Target::Tree, owners: Owners::here(), entries: 10_000_000 }
    }

    /// For a lower directory of overlayfs, as this process can.
    #[must_use]
    pub fn lower() -> Self {
        Self { target: Target::Lower(Marks::here()), ..Self::tree() }
    }
}

/// What could not be carried over because the caller has no right to, or the file system no room for it, and how often.
pub type Skipped = BTreeMap<String, u64>;

/// Whether an attribute is one of overlayfs's own. From a layer it is an attack on the mount that the layer ends up in,
/// never content: overlayfs hides its own from whoever packs a mounted tree.
#[must_use]
pub fn is_overlay_mark(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// A directory that entries were put in.
struct Place {
    fd: OwnedFd,
    inode: u64,
    /// New files in it get its group.
    setgid: bool,
}

/// A directory whose time, and mode where it would lock the caller out, is set last.
struct Pending {
    path: PathBuf,
    time: Time,
    mode: Option<u32>,
}

struct Link {
    path: PathBuf,
    target: PathBuf,
}

/// Applies layers to a directory.
pub struct Applier {
    root: Root,
    options: Options,
    /// The host's root: nothing is refused to it.
    privileged: bool,
    umask: u32,
    me: (u32, u32),
    places: HashMap<PathBuf, Rc<Place>>,
    pending: HashMap<u64, Pending>,
    /// What the current layer has brought, by directory and name.
    brought: HashSet<u128>,
    keys: [RandomState; 2],
    links: Vec<Link>,
    skipped: Skipped,
}

impl Applier {
    /// Applies layers to the directory `root`.
    #[must_use]
    pub fn new(root: Root, options: Options) -> Self {
        let privileged = rustix::process::geteuid().is_root() && !in_user_namespace();
        Self {
            root,
            options,
            privileged,
            umask: umask(),
            me: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            places: HashMap::new(),
            pending: HashMap::new(),
            brought: HashSet::new(),
            keys: [RandomState::new(), RandomState::new()],
            links: Vec::new(),
            skipped: Skipped::new(),
        }
    }

    /// Applies one layer, whose archive `reader` is. What is behind the archive's end is left unread.
    ///
    /// # Errors
    /// [`Error`]; the directory is then neither the old nor the new one.
    pub fn layer<R: BufRead>(&mut self, reader: R) -> Result<(), Error> {
        self.brought.clear();
        let mut reader = Reader::new(reader);
        let mut count = 0;
        while let Some(entry) = reader.next_entry()? {
            count += 1;
            if count > self.options.entries {
                return Err(Error::TooMany { limit: self.options.entries });
            }
            self.entry(&entry, &mut reader)?;
        }
        for Link { path, target } in std::mem::take(&mut self.links) {
            if !self.link(&path, &target)? {
                return Err(Error::Link { path, target });
            }
        }
        Ok(())
    }

    /// Sets what has to come last, times of directories above all, and tells what had to be left out.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn finish(mut self) -> Result<Skipped, Error> {
        self.places.clear();
        let mut pending: Vec<_> = self.pending.into_iter().collect();
        // The deepest first: a mode that locks the caller out must not be in the way to what is below.
        pending.sort_by(|(_, a), (_, b)| b.path.cmp(&a.path));
        for (inode, Pending { path, time, mode }) in pending {
            let fd = match open_in_root(&self.root, &path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
                Ok(fd) => fd,
                // A later entry replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(io_error("open", &path)(errno).into()),
            };
            if rustix::fs::fstat(&fd).map_err(io_error("stat", &path))?.st_ino != inode {
                continue;
            }
            if let Some(mode) = mode {
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).map_err(io_error("set mode of", &path))?;
            }
            rustix::fs::futimens(&fd, &time.stamps()).map_err(io_error("set time of", &path))?;
        }
        Ok(self.skipped)
    }

    fn key(&self, directory: u64, name: &OsStr) -> u128 {
        let half = |state: &RandomState| u128::from(state.hash_one((directory, name.as_bytes())));
        half(&self.keys[0]) << 64 | half(&self.keys[1])
    }

    fn entry<R: BufRead>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), Error> {
        let path = clean(&entry.path)?;
        let Some(name) = path.file_name() else {
            return if entry.kind == Kind::Directory {
                self.root_entry(entry)
            } else {
                Err(Error::Root { path: entry.path.clone() })
            };
        };
        let above = path.parent().unwrap_or(Path::new(""));
        if let Some(whiteout) = whiteout::parse(name) {
            return match whiteout {
                Whiteout::Invalid => Err(Error::Whiteout { path: entry.path.clone() }),
                Whiteout::Bookkeeping => Ok(()),
                Whiteout::Opaque => self.opaque(above, entry.modified),
                Whiteout::Of(target) => self.whiteout(above, target, entry.modified),
            };
        }
        let place = self.place(above, entry.modified)?;
        if let Kind::HardLink(target) = &entry.kind {
            if !self.link(&path, target)? {
                self.links.push(Link { path, target: target.clone() });
            }
            return Ok(());
        }
        let existing = self.make(&place, name, &path, entry, reader)?;
        self.brought.insert(self.key(place.inode, name));
        if existing == Existing::Whiteout {
            self.set_opaque(&place, name, &path)?;
        }
        Ok(())
    }

    /// Makes what the entry says, in place of what is there. A directory stays and gets its new mode and owner.
    fn make<R: BufRead>(
        &mut self,
        place: &Place,
        name: &OsStr,
        path: &Path,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<Existing, Error> {
        let mut existing = Existing::Nothing;
        loop {
            let made = match &entry.kind {
                Kind::File => self.file(place, name, path, entry, reader)?,
                Kind::Directory => match rustix::fs::mkdirat(&place.fd, name, Mode::RWXU) {
                    Ok(()) => {
                        self.directory(place, name, path, entry)?;
                        true
                    }
                    Err(Errno::EXIST) => false,
                    Err(errno) => return Err(io_error("make directory", path)(errno).into()),
                },
                Kind::Symlink(target) => match rustix::fs::symlinkat(target, &place.fd, name) {
                    Ok(()) => {
                        self.node(place, name, path, entry)?;
                        true
                    }
                    Err(Errno::EXIST) => false,
                    Err(errno) => return Err(io_error("link", path)(errno).into()),
                },
                Kind::Character(major, minor) => {
                    self.device(place, name, path, entry, FileType::CharacterDevice, (*major, *minor))?
                }
                Kind::Block(major, minor) => {
                    self.device(place, name, path, entry, FileType::BlockDevice, (*major, *minor))?
                }
                Kind::Fifo => self.device(place, name, path, entry, FileType::Fifo, (0, 0))?,
                Kind::HardLink(_) => unreachable!("hard links are made elsewhere"),
            };
            if made {
                return Ok(existing);
            }
            existing = self.existing(place, name, path)?;
            match existing {
                Existing::Directory if entry.kind == Kind::Directory => {
                    self.directory(place, name, path, entry)?;
                    return Ok(existing);
                }
                Existing::Nothing => {}
                _ => {
                    self.remove(place, name, path)?;
                    if entry.kind != Kind::Directory {
                        existing = Existing::Nothing;
                    }
                }
            }
        }
    }

    fn existing(&self, place: &Place, name: &OsStr, path: &Path) -> Result<Existing, Error> {
        let stat = match rustix::fs::statat(&place.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Existing::Nothing),
            Err(errno) => return Err(io_error("stat", path)(errno).into()),
        };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Existing::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 && self.options.target != Target::Tree => Existing::Whiteout,
            _ => Existing::Other,
        })
    }

    fn remove(&mut self, place: &Place, name: &OsStr, path: &Path) -> Result<(), Error> {
        // A directory or a link to one may go, and with it what was opened through it.
        self.places.clear();
        Ok(beneath::remove(&place.fd, name).map_err(io_error("remove", path))?)
    }

    /// Opens the directory `path` that an entry goes into; makes it, and those above it, where the layer does not name it.
    fn place(&mut self, path: &Path, time: Time) -> Result<Rc<Place>, Error> {
        let mut missing = Vec::new();
        let mut next = path;
        // Not by recursion: a hostile path has two thousand parts.
        let mut place = loop {
            if let Some(place) = self.places.get(next) {
                break Rc::clone(place);
            }
            match open_in_root(&self.root, next, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
                Ok(fd) => break self.remember(next, fd)?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !next.as_os_str().is_empty() => {
                    missing.push(next);
                    next = next.parent().unwrap_or(Path::new(""));
                }
                Err(errno) => return Err(io_error("open", next)(errno).into()),
            }
        };
        for path in missing.into_iter().rev() {
            let fd = self.missing(&place, path, time)?;
            place = self.remember(path, fd)?;
        }
        Ok(place)
    }

    fn remember(&mut self, path: &Path, fd: OwnedFd) -> Result<Rc<Place>, Error> {
        let stat = rustix::fs::fstat(&fd).map_err(io_error("stat", path))?;
        let place = Rc::new(Place { fd, inode: stat.st_ino, setgid: stat.st_mode & 0o2000 != 0 });
        self.pending.entry(stat.st_ino).or_insert_with(|| Pending {
            path: path.to_path_buf(),
            time: Time::modified(&stat),
            mode: None,
        });
        if self.places.len() >= 128 {
            self.places.clear();
        }
        self.places.insert(path.to_path_buf(), Rc::clone(&place));
        Ok(place)
    }

    /// Makes the directory `path`, which is missing or in the way of which something else stands.
    fn missing(&mut self, above: &Place, path: &Path, time: Time) -> Result<OwnedFd, Error> {
        let name = path.file_name().unwrap_or_default();
        let existing = self.existing(above, name, path)?;
        match existing {
            Existing::Directory => {}
            // A link that dangles (/var/run -> /run before there is /run) gets what it wants; all else gives way.
            Existing::Other if rustix::fs::readlinkat(&above.fd, name, Vec::new()).is_ok() => {
                match self.root.create_directories(path, 0o755) {
                    Ok(fd) => return Ok(fd),
                    Err(_) => self.remove(above, name, path)?,
                }
            }
            Existing::Other | Existing::Whiteout => self.remove(above, name, path)?,
            Existing::Nothing => {}
        }
        if existing != Existing::Directory {
            let directory = Entry { modified: time, ..Entry::new(path, Kind::Directory, 0o755) };
            rustix::fs::mkdirat(&above.fd, name, Mode::RWXU).map_err(io_error("make directory", path))?;
            self.directory(above, name, path, &directory)?;
            self.brought.insert(self.key(above.inode, name));
            if existing == Existing::Whiteout {
                self.set_opaque(above, name, path)?;
            }
        }
        Ok(open_in_root(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(io_error("open", path))?)
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        let place = self.place(Path::new(""), entry.modified)?;
        self.dress_directory(place.fd.as_fd(), place.inode, Path::new(""), entry)?;
        // Its setgid bit may be new.
        self.places.remove(Path::new(""));
        Ok(())
    }

    fn directory(&mut self, place: &Place, name: &OsStr, path: &Path, entry: &Entry) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&place.fd, name, flags, Mode::empty()).map_err(io_error("open", path))?;
        let inode = rustix::fs::fstat(&fd).map_err(io_error("stat", path))?.st_ino;
        self.dress_directory(fd.as_fd(), inode, path, entry)?;
        self.places.remove(path);
        Ok(())
    }

    fn dress_directory(&mut self, fd: BorrowedFd<'_>, inode: u64, path: &Path, entry: &Entry) -> Result<(), Error> {
        if let Some((uid, gid)) = self.owner(entry)? {
            rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(io_error("set owner of", path))?;
        }
        // Only root may write into a directory that its mode closes.
        let later = !self.privileged && entry.mode & 0o700 != 0o700;
        let mode = if later { entry.mode | 0o700 } else { entry.mode };
        rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)).map_err(io_error("set mode of", path))?;
        self.attributes(entry, path, |key, value| rustix::fs::fsetxattr(fd, key, value, XattrFlags::empty()))?;
        let pending = Pending { path: path.to_path_buf(), time: entry.modified, mode: later.then_some(entry.mode) };
        self.pending.insert(inode, pending);
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        place: &Place,
        name: &OsStr,
        path: &Path,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<bool, Error> {
        let mut file = match beneath::create(&place.fd, name, entry.mode & 0o777) {
            Ok(file) => file,
            Err(Errno::EXIST) => return Ok(false),
            Err(errno) => return Err(io_error("create", path)(errno).into()),
        };
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Archive(entry::Error::Truncated),
            io::ErrorKind::InvalidData => Error::Archive(entry::Error::Io(source)),
            _ => Error::Write { path: path.to_path_buf(), source },
        };
        if let Some(map) = &entry.sparse {
            sparse(&file, map, entry.size, reader).map_err(failed)?;
        } else {
            loop {
                let bytes = reader.fill_buf().map_err(failed)?;
                if bytes.is_empty() {
                    break;
                }
                file.write_all(bytes).map_err(failed)?;
                let count = bytes.len();
                reader.consume(count);
            }
        }
        let owner = self.owner(entry)?.filter(|owner| *owner != self.me || place.setgid);
        if let Some((uid, gid)) = owner {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(io_error("set owner of", path))?;
        }
        // The mode at creation holds unless the umask took from it; setuid and setgid come after the owner, whose
        // change drops them.
        if entry.mode & (self.umask | 0o7000) != 0 {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode)).map_err(io_error("set mode of", path))?;
        }
        self.attributes(entry, path, |key, value| rustix::fs::fsetxattr(&file, key, value, XattrFlags::empty()))?;
        rustix::fs::futimens(&file, &entry.modified.stamps()).map_err(io_error("set time of", path))?;
        Ok(true)
    }

    fn device(
        &mut self,
        place: &Place,
        name: &OsStr,
        path: &Path,
        entry: &Entry,
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Result<bool, Error> {
        let device = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(&place.fd, name, kind, Mode::from_raw_mode(entry.mode & 0o777), device) {
            Ok(()) => {
                self.node(place, name, path, entry)?;
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            // Nobody but the host's root makes devices; a container gets its own /dev anyway.
            Err(Errno::PERM) if !self.privileged => {
                *self.skipped.entry("device node".to_string()).or_default() += 1;
                Ok(true)
            }
            Err(errno) => Err(io_error("make node", path)(errno).into()),
        }
    }

    /// Owner, mode, attributes and time of something that cannot be opened.
    fn node(&mut self, place: &Place, name: &OsStr, path: &Path, entry: &Entry) -> Result<(), Error> {
        let owner = self.owner(entry)?.filter(|owner| *owner != self.me || place.setgid);
        if let Some((uid, gid)) = owner {
            let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(&place.fd, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(io_error("set owner of", path))?;
        }
        if !matches!(entry.kind, Kind::Symlink(_)) && entry.mode & (self.umask | 0o7000) != 0 {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&place.fd, name, flags, Mode::empty()).map_err(io_error("open", path))?;
            rustix::fs::chmod(beneath::self_fd(&fd), Mode::from_raw_mode(entry.mode))
                .map_err(io_error("set mode of", path))?;
        }
        self.attributes(entry, path, |key, value| beneath::set_xattr(&place.fd, name, key, value))?;
        rustix::fs::utimensat(&place.fd, name, &entry.modified.stamps(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(io_error("set time of", path))?;
        Ok(())
    }

    fn owner(&self, entry: &Entry) -> Result<Option<(u32, u32)>, Error> {
        self.options
            .owners
            .on_disk(entry.uid, entry.gid)
            .map_err(|source| Error::Owner { path: entry.path.clone(), source })
    }

    fn attributes(
        &mut self,
        entry: &Entry,
        path: &Path,
        set: impl Fn(&OsStr, &[u8]) -> rustix::io::Result<()>,
    ) -> Result<(), Error> {
        let rootless = match self.options.owners {
            // Not on links and devices: user.* belongs on files and directories only (xattr(7)).
            Owners::Caller if matches!(entry.kind, Kind::File | Kind::Directory) => to_rootless(entry.uid, entry.gid),
            _ => None,
        };
        let rootless = rootless.map(|value| (OsString::from(ROOTLESS), value));
        for (key, value) in entry.xattrs.iter().chain(&rootless) {
            if is_overlay_mark(key) {
                continue;
            }
            match set(key, value) {
                Ok(()) => {}
                // What the file system has no room for, and what only root may set.
                Err(Errno::OPNOTSUPP) => self.skip_attribute(key),
                Err(Errno::PERM | Errno::INVAL) if !self.privileged => self.skip_attribute(key),
                // user.* belongs on files and directories only (xattr(7)), though archives have it elsewhere.
                Err(Errno::PERM) if !matches!(entry.kind, Kind::File | Kind::Directory) => self.skip_attribute(key),
                Err(errno) => return Err(io_error("set attribute of", path)(errno).into()),
            }
        }
        Ok(())
    }

    fn skip_attribute(&mut self, key: &OsStr) {
        *self.skipped.entry(format!("extended attribute {}", key.to_string_lossy().escape_debug())).or_default() += 1;
    }

    /// Makes a hard link; answers `false` if its target is not there (yet).
    fn link(&mut self, path: &Path, target: &Path) -> Result<bool, Error> {
        let time = Time::default();
        let target = clean(target)?;
        let (Some(name), Some(source)) = (path.file_name(), target.file_name()) else {
            return Err(Error::Link { path: path.to_path_buf(), target: target.clone() });
        };
        let from = match self.root.directory(target.parent().unwrap_or(Path::new(""))) {
            Ok(from) => from,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let found = match rustix::fs::statat(&from, source, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(io_error("stat", &target)(errno).into()),
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(Error::Link { path: path.to_path_buf(), target });
        }
        let place = self.place(path.parent().unwrap_or(Path::new("")), time)?;
        loop {
            match rustix::fs::linkat(&from, source, &place.fd, name, AtFlags::empty()) {
                Ok(()) => break,
                Err(Errno::EXIST) => {
                    let stat = rustix::fs::statat(&place.fd, name, AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(io_error("stat", path))?;
                    if same_file(&stat, &found) {
                        break;
                    }
                    self.remove(&place, name, path)?;
                    // Removing a tree may have taken the target along.
                    if rustix::fs::statat(&from, source, AtFlags::SYMLINK_NOFOLLOW).is_err() {
                        return Ok(false);
                    }
                }
                Err(errno) => return Err(io_error("link", path)(errno).into()),
            }
        }
        self.brought.insert(self.key(place.inode, name));
        Ok(true)
    }

    fn whiteout(&mut self, above: &Path, target: &OsStr, time: Time) -> Result<(), Error> {
        let path = above.join(target);
        let Target::Lower(_) = self.options.target else {
            // Nothing is to be made for the sake of a deletion.
            let fd = match open_in_root(&self.root, above, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                Err(errno) => return Err(io_error("open", above)(errno).into()),
            };
            let place = self.remember(above, fd)?;
            self.purge(&place, target, &path)?;
            return Ok(());
        };
        let place = self.place(above, time)?;
        if self.brought.contains(&self.key(place.inode, target)) {
            // The layer's own file hides the lower one by itself; its directory must be told to.
            if self.existing(&place, target, &path)? == Existing::Directory {
                self.set_opaque(&place, target, &path)?;
            }
            return Ok(());
        }
        match rustix::fs::mknodat(&place.fd, target, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => {
                let stamps = time.stamps();
                Ok(rustix::fs::utimensat(&place.fd, target, &stamps, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(io_error("set time of", &path))?)
            }
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(io_error("make whiteout", &path)(errno).into()),
        }
    }

    fn opaque(&mut self, directory: &Path, time: Time) -> Result<(), Error> {
        match self.options.target {
            Target::Lower(marks) => {
                let place = self.place(directory, time)?;
                let set = rustix::fs::fsetxattr(&place.fd, marks.opaque(), b"y", XattrFlags::empty());
                Ok(set.map_err(io_error("make opaque", directory))?)
            }
            Target::Tree => {
                let place = self.place(directory, time)?;
                for name in beneath::names(&place.fd).map_err(io_error("list", directory))? {
                    self.purge(&place, &name, &directory.join(&name))?;
                }
                Ok(())
            }
        }
    }

    fn set_opaque(&self, place: &Place, name: &OsStr, path: &Path) -> Result<(), Error> {
        let Target::Lower(marks) = self.options.target else { return Ok(()) };
        Ok(beneath::set_xattr(&place.fd, name, OsStr::new(marks.opaque()), b"y")
            .map_err(io_error("make opaque", path))?)
    }

    /// Removes what lower layers put at `name`, and keeps what this layer did. Answers whether something stays.
    fn purge(&mut self, place: &Place, name: &OsStr, path: &Path) -> Result<bool, Error> {
        let ours = self.brought.contains(&self.key(place.inode, name));
        if self.existing(place, name, path)? != Existing::Directory {
            if !ours {
                self.remove(place, name, path)?;
            }
            return Ok(ours);
        }
        if self.brought.is_empty() {
            self.remove(place, name, path)?;
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&place.fd, name, flags, Mode::empty()).map_err(io_error("open", path))?;
        let inode = rustix::fs::fstat(&fd).map_err(io_error("stat", path))?.st_ino;
        let below = Place { fd, inode, setgid: false };
        let mut stays = ours;
        let names: Vec<OsString> = beneath::names(&below.fd).map_err(io_error("list", path))?;
        for child in names {
            stays |= self.purge(&below, &child, &path.join(&child))?;
        }
        if !stays {
            self.remove(place, name, path)?;
        }
        Ok(stays)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

fn same_file(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn sparse<R: BufRead>(file: &std::fs::File, map: &[(u64, u64)], size: u64, reader: &mut Reader<R>) -> io::Result<()> {
    file.set_len(size)?;
    for &(mut offset, mut length) in map {
        while length > 0 {
            let bytes = reader.fill_buf()?;
            let count = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            std::os::unix::fs::FileExt::write_all_at(file, &bytes[..count], offset)?;
            reader.consume(count);
            offset += count as u64;
            length -= count as u64;
        }
    }
    Ok(())
}

/// The process's umask, which only /proc tells without changing it for every thread. Unknown, it counts as taking all.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}
