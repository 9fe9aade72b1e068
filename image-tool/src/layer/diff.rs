//! Packing layers: a directory becomes an archive, whole or as the difference from another.
//!
//! Equal input gives equal bytes: entries are sorted, owners are numeric, and times are whole seconds that can be
//! clamped. Nothing depends on the host or the clock. Long runs of zeros in a file are stored as holes, whether the file system
//! has them as holes or not. Hard links are kept and sockets left out. Extended attributes are
//! kept, except those of the host (marks of overlayfs, SELinux labels, IMA and EVM signatures).
//!
//! A difference includes the parent directories of every change, even unchanged ones: otherwise overlayfs would show
//! made-up ones when the layer is a lower directory.

mod holes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::apply::{has_overlay_mark, is_overlay_mark};
use super::entry::{Entry, Kind, Writer};
use super::owner::{Owners, ROOTLESS, Unmapped, of_rootless};
use super::whiteout;
use crate::beneath::{self, Root, Time};
use crate::error::{During, Io};

/// Why a directory could not be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a file of the directory failed.
    #[error(transparent)]
    Io(#[from] Io),
    /// A path of the directory could not be opened.
    #[error(transparent)]
    File(#[from] beneath::Error),
    /// The archive could not be written.
    #[error("write the archive")]
    Write(#[source] io::Error),
    /// A file changed while it was read.
    #[error("{path:?} changed while it was read")]
    Changed {
        /// The path of the file.
        path: PathBuf,
    },
    /// A file has a name that marks a deletion in layers.
    #[error("{path:?} cannot be stored in a layer: its name would read as a deletion")]
    Name {
        /// The path of the file.
        path: PathBuf,
    },
    /// The upper directory refers to lower layers.
    #[error("{path:?} refers to a lower layer (mount the overlay with redirect_dir=off,metacopy=off)")]
    Redirect {
        /// The path of the file.
        path: PathBuf,
    },
    /// The owner is not in the ID map.
    #[error("{path:?}")]
    Owner {
        /// The path of the file.
        path: PathBuf,
        /// The user or group.
        source: Unmapped,
    },
}

/// How to pack a directory.
#[derive(Debug, Clone)]
pub struct Options {
    /// How owners on disk are translated.
    pub owners: Owners,
    /// The latest modification time, in seconds since 1970; later ones are clamped (`SOURCE_DATE_EPOCH`).
    pub latest: Option<i64>,
    /// Paths to leave out with everything beneath them, such as mount points.
    pub exclude: BTreeSet<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { owners: Owners::here(), latest: None, exclude: BTreeSet::new() }
    }
}

/// Packs the upper directory of an overlay mount, with whiteouts for the deletions of overlayfs. Returns `output`.
///
/// # Errors
/// [`Error`].
pub fn upper<W: Write>(upper: &Root, output: W, options: &Options) -> Result<W, Error> {
    let mut packer = Packer::new(output, options);
    packer.overlay = true;
    packer.directory(upper.as_fd(), Path::new(""))?;
    packer.finish()
}

/// Packs a whole directory, including its own mode and owner.
///
/// # Errors
/// [`Error`].
pub fn tree<W: Write>(root: &Root, output: W, options: &Options) -> Result<W, Error> {
    let mut packer = Packer::new(output, options);
    let stat = rustix::fs::fstat(root).during("stat", "")?;
    packer.entry(root.as_fd(), OsStr::new("."), Path::new("."), &stat)?;
    packer.directory(root.as_fd(), Path::new(""))?;
    packer.finish()
}

/// Packs the changes from the directory `lower` to `upper`.
///
/// # Errors
/// [`Error`].
pub fn trees<W: Write>(lower: &Root, upper: &Root, output: W, options: &Options) -> Result<W, Error> {
    let mut comparison = Comparison { options, changes: BTreeMap::new(), links: HashMap::new() };
    let stats = (rustix::fs::fstat(lower).during("stat", "")?, rustix::fs::fstat(upper).during("stat", "")?);
    let root_changed = !same_metadata(&stats.0, &stats.1)
        || xattrs(lower, OsStr::new("."), Path::new(""))? != xattrs(upper, OsStr::new("."), Path::new(""))?;
    comparison.directory(lower.as_fd(), upper.as_fd(), Path::new(""))?;
    comparison.close_links();
    let mut packer = Packer::new(output, options);
    if root_changed {
        packer.entry(upper.as_fd(), OsStr::new("."), Path::new("."), &stats.1)?;
    }
    // Byte order would put "a-b" between "a" and "a/b". In the order of components, a directory is followed by its
    // content.
    for (path, change) in comparison.changes {
        let name = path.file_name().unwrap_or_default();
        match change {
            Change::Deleted => packer.whiteout(&path)?,
            Change::Changed => {
                let above = upper.directory(path.parent().unwrap_or(Path::new("")))?;
                let stat = rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW).during("stat", &path)?;
                packer.entry(above.as_fd(), name, &path, &stat)?;
            }
        }
    }
    packer.finish()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Changed,
    Deleted,
}

/// The differences between two trees, as far as they have been compared.
struct Comparison<'a> {
    options: &'a Options,
    changes: BTreeMap<PathBuf, Change>,
    /// The names of every file with several hard links in the upper tree.
    links: HashMap<(u64, u64), Vec<PathBuf>>,
}

impl Comparison<'_> {
    fn directory(&mut self, lower: BorrowedFd<'_>, upper: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
        let old = beneath::names(lower).during("list", path)?;
        let new = beneath::names(upper).during("list", path)?;
        let both: BTreeSet<&OsString> = old.iter().chain(&new).collect();
        for name in both {
            let path = path.join(name);
            if self.options.exclude.contains(&path) {
                continue;
            }
            let stat = |fd: BorrowedFd<'_>| match rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(Some(stat)),
                Err(Errno::NOENT) => Ok(None),
                Err(errno) => Err(Io::new("stat", &path, errno)),
            };
            match (stat(lower)?, stat(upper)?) {
                (Some(_), None) => self.change(&path, Change::Deleted),
                (None, Some(stat)) => self.added(upper, name, &path, &stat)?,
                (Some(old), Some(new)) => {
                    let same = || {
                        let (old, new) = (Side { directory: lower, stat: &old }, Side { directory: upper, stat: &new });
                        same(name, &path, &old, &new)
                    };
                    let directories = is_directory(&old) && is_directory(&new);
                    if directories {
                        if !same()? {
                            self.change(&path, Change::Changed);
                        }
                        self.directory(open(lower, name, &path)?.as_fd(), open(upper, name, &path)?.as_fd(), &path)?;
                    } else if is_directory(&new) {
                        // A directory replaces a file; its entry is enough.
                        self.added(upper, name, &path, &new)?;
                    } else {
                        self.remember(&path, &new);
                        if !same()? {
                            self.change(&path, Change::Changed);
                        }
                    }
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn added(&mut self, upper: BorrowedFd<'_>, name: &OsStr, path: &Path, stat: &Stat) -> Result<(), Error> {
        self.change(path, Change::Changed);
        self.remember(path, stat);
        if is_directory(stat) {
            let below = open(upper, name, path)?;
            for name in beneath::names(&below).during("list", path)? {
                let path = path.join(&name);
                if self.options.exclude.contains(&path) {
                    continue;
                }
                let stat = rustix::fs::statat(&below, &name, AtFlags::SYMLINK_NOFOLLOW).during("stat", &path)?;
                self.added(below.as_fd(), &name, &path, &stat)?;
            }
        }
        Ok(())
    }

    fn remember(&mut self, path: &Path, stat: &Stat) {
        if !is_directory(stat) && stat.st_nlink > 1 {
            self.links.entry((stat.st_dev, stat.st_ino)).or_default().push(path.to_path_buf());
        }
    }

    /// Records a change, and its parent directories.
    fn change(&mut self, path: &Path, change: Change) {
        self.changes.insert(path.to_path_buf(), change);
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            if self.changes.contains_key(above) {
                break;
            }
            self.changes.insert(above.to_path_buf(), Change::Changed);
        }
    }

    /// If one name of a file with several hard links changes, all of them are written.
    fn close_links(&mut self) {
        for names in std::mem::take(&mut self.links).into_values() {
            if names.iter().any(|name| self.changes.contains_key(name)) {
                for name in names {
                    self.change(&name, Change::Changed);
                }
            }
        }
    }
}

/// A name in one of two trees: its parent directory, and its status.
struct Side<'a> {
    directory: BorrowedFd<'a>,
    stat: &'a Stat,
}

/// Whether a name is the same in two trees, without regard to the content of directories.
fn same(name: &OsStr, path: &Path, old: &Side<'_>, new: &Side<'_>) -> Result<bool, Error> {
    let (lower, upper) = (old.directory, new.directory);
    let (old, new) = (old.stat, new.stat);
    if !same_metadata(old, new) || xattrs(lower, name, path)? != xattrs(upper, name, path)? {
        return Ok(false);
    }
    if is_directory(new) {
        return Ok(true);
    }
    if old.st_nlink != new.st_nlink {
        return Ok(false);
    }
    Ok(match FileType::from_raw_mode(new.st_mode) {
        FileType::Symlink => read_link(lower, name, path)? == read_link(upper, name, path)?,
        FileType::CharacterDevice | FileType::BlockDevice => old.st_rdev == new.st_rdev,
        FileType::RegularFile if (old.st_dev, old.st_ino) != (new.st_dev, new.st_ino) => {
            old.st_size == new.st_size
                && same_bytes(open_file(lower, name, path)?, open_file(upper, name, path)?, path)?
        }
        _ => true,
    })
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Compares times by the second, as they are in the archive.
fn same_metadata(old: &Stat, new: &Stat) -> bool {
    (old.st_mode, old.st_uid, old.st_gid, old.st_mtime) == (new.st_mode, new.st_uid, new.st_gid, new.st_mtime)
}

fn same_bytes(mut one: std::fs::File, mut other: std::fs::File, path: &Path) -> Result<bool, Error> {
    let mut buffers = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = one.read(&mut buffers.0).during("read", path)?;
        if count == 0 {
            return Ok(other.read(&mut buffers.1).during("read", path)? == 0);
        }
        match other.read_exact(&mut buffers.1[..count]) {
            Ok(()) if buffers.0[..count] == buffers.1[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(Io::new("read", path, error).into()),
        }
    }
}

fn open(directory: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty()).during("open", path)?)
}

fn open_file(directory: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<std::fs::File, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(directory, name, flags, Mode::empty()).during("open", path)?;
    let stat = rustix::fs::fstat(&fd).during("stat", path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(fd.into())
    } else {
        Err(Error::Changed { path: path.to_path_buf() })
    }
}

fn read_link(directory: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<PathBuf, Error> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new()).during("read link", path)?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}

/// The attributes that belong to the image, not to the host.
fn xattrs(directory: impl AsFd, name: &OsStr, path: &Path) -> Result<Vec<(OsString, Vec<u8>)>, Error> {
    let mut attributes = beneath::xattrs(directory, name).during("read attributes of", path)?;
    attributes.retain(|(key, _)| {
        let host = [&b"security.selinux"[..], b"security.ima", b"security.evm"];
        !is_overlay_mark(key) && !host.contains(&key.as_bytes())
    });
    Ok(attributes)
}

struct Packer<'a, W: Write> {
    writer: Writer<W>,
    options: &'a Options,
    overlay: bool,
    /// The first name of every file with several hard links.
    links: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
}

impl<'a, W: Write> Packer<'a, W> {
    fn new(output: W, options: &'a Options) -> Self {
        Self {
            writer: Writer::new(output),
            options,
            overlay: false,
            links: HashMap::new(),
            buffer: vec![0; 256 * 1024],
        }
    }

    fn finish(self) -> Result<W, Error> {
        self.writer.finish().map_err(Error::Write)
    }

    fn directory(&mut self, directory: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
        for name in beneath::names(directory).during("list", path)? {
            let path = path.join(&name);
            if self.options.exclude.contains(&path) {
                continue;
            }
            let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW).during("stat", &path)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if self.overlay && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
                self.whiteout(&path)?;
                continue;
            }
            self.entry(directory, &name, &path, &stat)?;
            if kind == FileType::Directory {
                let below = open(directory, &name, &path)?;
                if self.overlay && self.is_opaque(directory, &name, &path)? {
                    self.empty(&path.join(whiteout::OPAQUE))?;
                }
                self.directory(below.as_fd(), &path)?;
            }
        }
        Ok(())
    }

    fn is_opaque(&self, directory: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<bool, Error> {
        let attributes = beneath::xattrs(directory, name).during("read attributes of", path)?;
        if has_overlay_mark(&attributes, ".redirect", None) {
            return Err(Error::Redirect { path: path.to_path_buf() });
        }
        Ok(has_overlay_mark(&attributes, ".opaque", Some(b"y")))
    }

    fn whiteout(&mut self, path: &Path) -> Result<(), Error> {
        let name = path.file_name().and_then(whiteout::of).ok_or_else(|| Error::Name { path: path.to_path_buf() })?;
        self.empty(&path.with_file_name(name))
    }

    fn empty(&mut self, path: &Path) -> Result<(), Error> {
        self.writer.entry(&Entry::new(path, Kind::File, 0o644)).map_err(Error::Write)
    }

    fn entry(&mut self, directory: BorrowedFd<'_>, name: &OsStr, path: &Path, stat: &Stat) -> Result<(), Error> {
        if whiteout::parse(name).is_some() {
            return Err(Error::Name { path: path.to_path_buf() });
        }
        let device = || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink(read_link(directory, name, path)?),
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::Character(device().0, device().1),
            FileType::BlockDevice => Kind::Block(device().0, device().1),
            // A socket is nothing without its process, and tar cannot store it.
            FileType::Socket | FileType::Unknown => return Ok(()),
        };
        let time = Time { nanoseconds: 0, ..Time::modified(stat) };
        let modified = match self.options.latest {
            Some(latest) if time.seconds > latest => Time { seconds: latest, nanoseconds: 0 },
            _ => time,
        };
        let owner = self.options.owners.in_layer(stat.st_uid, stat.st_gid);
        let (uid, gid) = owner.map_err(|source| Error::Owner { path: path.to_path_buf(), source })?;
        let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { stat.st_mode & 0o7777 };
        let mut entry = Entry { uid, gid, modified, ..Entry::new(path, kind, mode) };
        if entry.kind != Kind::Directory && stat.st_nlink > 1 {
            match self.links.entry((stat.st_dev, stat.st_ino)) {
                std::collections::hash_map::Entry::Occupied(first) => {
                    entry.kind = Kind::HardLink(first.get().clone());
                    return self.writer.entry(&entry).map_err(Error::Write);
                }
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(path.to_path_buf());
                }
            }
        }
        if self.overlay && entry.kind == Kind::File {
            let attributes = beneath::xattrs(directory, name).during("read attributes of", path)?;
            if has_overlay_mark(&attributes, ".metacopy", None) {
                return Err(Error::Redirect { path: path.to_path_buf() });
            }
        }
        entry.xattrs = xattrs(directory, name, path)?;
        if self.options.owners == Owners::Caller {
            // An unprivileged unpack recorded the owner in an attribute.
            if let Some(position) = entry.xattrs.iter().position(|(key, _)| key == ROOTLESS) {
                (entry.uid, entry.gid) = of_rootless(&entry.xattrs.remove(position).1);
            }
        }
        if entry.kind != Kind::File {
            return self.writer.entry(&entry).map_err(Error::Write);
        }
        self.file(open_file(directory, name, path)?, entry)
    }

    /// Writes a regular file, without its large holes. The size in the entry is not known yet.
    fn file(&mut self, mut file: std::fs::File, mut entry: Entry) -> Result<(), Error> {
        let path = entry.path.clone();
        let before = file.metadata().during("stat", &path)?;
        entry.size = before.len();
        entry.sparse = holes::pieces(&file, entry.size).during("read", &path)?;
        self.writer.entry(&entry).map_err(Error::Write)?;
        let Some(pieces) = entry.sparse else {
            file.rewind().during("read", &path)?;
            return self.data(&mut file, entry.size, &path);
        };
        for (offset, length) in pieces {
            file.seek(SeekFrom::Start(offset)).during("read", &path)?;
            self.data(&mut (&mut file).take(length), length, &path)?;
        }
        // What came into a hole meanwhile would be lost.
        let after = file.metadata().during("stat", &path)?;
        if (before.len(), before.modified().ok()) != (after.len(), after.modified().ok()) {
            return Err(Error::Changed { path });
        }
        Ok(())
    }

    /// Writes data of a file, which must have exactly this many bytes.
    fn data(&mut self, file: &mut impl Read, size: u64, path: &Path) -> Result<(), Error> {
        let changed = || Error::Changed { path: path.to_path_buf() };
        let mut left = size;
        loop {
            let count = match file.read(&mut self.buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Io::new("read", path, error).into()),
            };
            if count as u64 > left || (count == 0 && left > 0) {
                return Err(changed());
            }
            if count == 0 {
                return Ok(());
            }
            self.writer.write_all(&self.buffer[..count]).map_err(Error::Write)?;
            left -= count as u64;
        }
    }
}
