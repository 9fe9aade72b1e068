//! Applying layers: an archive becomes files in a directory.
//!
//! The stream is read once and no file is buffered. Every path is resolved beneath the descriptor of the root
//! ([`crate::beneath`]). Files are always created anew, never opened by an existing name. So links in the archive
//! cannot lead out of the root, and cannot redirect a write.
//!
//! There are two targets. In a [`Target::Tree`], whiteouts delete; layers are applied one upon the other. A
//! [`Target::Lower`] is a single layer, as a lower directory of overlayfs: deletions are stored in overlayfs's way, as
//! character devices 0:0 and as an attribute of directories.
//!
//! The order of entries does not matter, although tools sort them: whiteouts do not affect files of their own layer,
//! hard links wait for their target, and the times of directories are set last. A directory that a layer fills without
//! naming it keeps its time, so that the result does not depend on the clock; that of the root is [`Applier::in_empty`]'s.
//!
//! `make` creates files, `delete` carries out whiteouts, and `place` finds the directories for both. The room may know
//! the rest of `layer` except `cache`, `diff`, `pack` and `stream`.

mod delete;
mod make;
mod place;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::BufRead;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::LazyLock;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use self::place::{Existing, Place, Spot};
use super::entry::{self, Entry, Kind, Reader, WHITEOUT};
use super::owner::{Owners, Unmapped, in_user_namespace};
use super::progress;
use super::whiteout::{self, Whiteout};
use crate::beneath::{self, Root, Time, clean, open_in_root};
use crate::error::{During, Io};

/// Why a layer could not be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The layer is not a tar archive.
    #[error(transparent)]
    Archive(#[from] entry::Error),
    /// A path cannot be opened beneath the root.
    #[error(transparent)]
    File(#[from] beneath::Error),
    /// A system call on a file beneath the root failed.
    #[error(transparent)]
    Io(#[from] Io),
    /// The layer has an entry for its root that is not a directory.
    #[error("entry {path:?}: the root is not a directory")]
    Root {
        /// The name of the entry.
        path: PathBuf,
    },
    /// A whiteout without a name, or of `.` or `..`.
    #[error("entry {path:?}: whiteout without a name")]
    Whiteout {
        /// The name of the entry.
        path: PathBuf,
    },
    /// The name would read as a deletion in a layer.
    #[error("entry {path:?}: in a directory whose name reads as a deletion")]
    Name {
        /// The name of the entry.
        path: PathBuf,
    },
    /// A hard link to a file that does not exist.
    #[error("entry {path:?}: hard link to {target:?}, which does not exist")]
    Link {
        /// The name of the entry.
        path: PathBuf,
        /// The target of the link.
        target: PathBuf,
    },
    /// The owner is not in the ID map.
    #[error("entry {path:?}")]
    Owner {
        /// The name of the entry.
        path: PathBuf,
        /// The user or group.
        source: Unmapped,
    },
    /// The layer has more entries than any real one.
    #[error("more than {limit} entries")]
    TooMany {
        /// The maximum number of entries.
        limit: u64,
    },
}

/// The maximum number of entries in a layer: more than any real one has.
pub const ENTRIES: u64 = 10_000_000;

/// What a layer is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The tree of the layers below; whiteouts delete from it.
    Tree,
    /// An empty directory that becomes a lower directory of overlayfs; whiteouts are stored as overlayfs's marks.
    Lower(Marks),
}

/// The extended attributes that overlayfs uses for its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// `trusted.overlay.*`, which only root of the host may set.
    Trusted,
    /// `user.overlay.*`, for a mount with the option `userxattr` in a user namespace.
    User,
}

impl Marks {
    /// The marks that an overlay mount by this process reads.
    #[must_use]
    pub fn here() -> Self {
        if rustix::process::geteuid().is_root() && !in_user_namespace() { Self::Trusted } else { Self::User }
    }

    /// The attribute that makes a directory opaque if its value is `y`.
    #[must_use]
    pub fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    /// The attribute for the origin of a copied-up directory; an empty value means unknown. If a directory has it,
    /// overlayfs looks for whiteouts when it is listed, even if no other layer has the directory. Without it, `ls`
    /// would show whiteouts that delete nothing (fs/overlayfs/inode.c, "non-merge dir that may have whiteouts").
    #[must_use]
    pub fn origin(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.origin",
            Self::User => "user.overlay.origin",
        }
    }
}

/// How to apply a layer.
#[derive(Debug, Clone)]
pub struct Options {
    /// The target.
    pub target: Target,
    /// The owners of the files.
    pub owners: Owners,
    /// The maximum number of entries in a layer.
    pub entries: u64,
    /// Whether directories that exist keep their times when something is put into them, as beneath an image's layers.
    pub keeps_times: bool,
    /// The maximum size of a layer's archive, if it is not that of any real one.
    pub size: Option<u64>,
}

impl Options {
    /// For a plain tree, with the rights of this process.
    #[must_use]
    pub fn tree() -> Self {
        Self { target: Target::Tree, owners: Owners::here(), entries: ENTRIES, keeps_times: true, size: None }
    }

    /// For a lower directory of overlayfs, with the rights of this process.
    #[must_use]
    pub fn lower() -> Self {
        Self { target: Target::Lower(Marks::here()), ..Self::tree() }
    }
}

/// What was left out because the caller has no right to create it or the file system does not support it, and how
/// often.
pub type Skipped = BTreeMap<String, u64>;

/// Whether an attribute is a mark of overlayfs, as mounts by this process read them. In a layer it is not content, because overlayfs
/// hides its marks in a mounted tree, but an attack on the mount of the layer. To root of the host, `user.overlay.*` is data.
#[must_use]
pub fn is_overlay_mark(name: &OsStr) -> bool {
    static HERE: LazyLock<Marks> = LazyLock::new(Marks::here);
    let name = name.as_bytes();
    name.starts_with(b"trusted.overlay.") || (name.starts_with(b"user.overlay.") && *HERE == Marks::User)
}

/// Whether one of these attributes is the mark of overlayfs that ends with `suffix`, with that value if one is given.
#[must_use]
pub fn has_overlay_mark(attributes: &[(OsString, Vec<u8>)], suffix: &str, value: Option<&[u8]>) -> bool {
    attributes.iter().any(|(key, actual)| {
        is_overlay_mark(key) && key.as_bytes().ends_with(suffix.as_bytes()) && value.is_none_or(|value| value == actual)
    })
}

/// A directory whose time is set at the end; also its mode, if that locks out the caller.
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
    /// The path of the root on this host.
    base: PathBuf,
    options: Options,
    /// Whether the caller is root of the host, to whom nothing is refused.
    privileged: bool,
    umask: u32,
    me: (u32, u32),
    places: HashMap<PathBuf, Rc<Place>>,
    pending: HashMap<u64, Pending>,
    /// Hashes of the directory and name of everything that the current layer created.
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
        let base = fs::read_link(beneath::self_fd(&root)).unwrap_or_default();
        Self {
            root,
            base,
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

    /// Applies layers to a directory that was made for them and is empty. Its time says when that was, and would make trees of one image
    /// differ: unless a layer has an entry for the root, the time becomes 0, as in an image that is mounted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn in_empty(root: Root, options: Options) -> Result<Self, Error> {
        let inode = rustix::fs::fstat(&root).during("stat", "")?.st_ino;
        let mut applier = Self::new(root, options);
        let time = Time { seconds: 0, nanoseconds: 0 };
        applier.pending.insert(inode, Pending { path: PathBuf::new(), time, mode: None });
        Ok(applier)
    }

    /// Applies one layer from its archive. What follows the end of the archive is not read.
    ///
    /// # Errors
    /// [`Error`]. The directory is then in an undefined state.
    pub fn layer<R: BufRead>(&mut self, reader: R) -> Result<(), Error> {
        self.brought.clear();
        let mut reader = Reader::new(reader);
        let mut count = 0;
        while let Some(entry) = reader.next_entry()? {
            count += 1;
            if count > self.options.entries {
                return Err(Error::TooMany { limit: self.options.entries });
            }
            progress::add_entry();
            self.entry(&entry, &mut reader)?;
        }
        for Link { path, target } in std::mem::take(&mut self.links) {
            if !self.link(&path, &target)? {
                return Err(Error::Link { path, target });
            }
        }
        Ok(())
    }

    /// Sets the times and modes of directories; returns what was left out.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<Skipped, Error> {
        self.places.clear();
        let mut pending: Vec<_> = self.pending.into_iter().collect();
        // The deepest first: a mode that locks out the caller must not block the way to those below.
        pending.sort_by(|(_, a), (_, b)| b.path.cmp(&a.path));
        for (inode, Pending { path, time, mode }) in pending {
            let fd = match open_in_root(&self.root, &path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
                Ok(fd) => fd,
                // A later entry replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(Io::new("open", &path, errno).into()),
            };
            if rustix::fs::fstat(&fd).during("stat", &path)?.st_ino != inode {
                continue;
            }
            if let Some(mode) = mode {
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).during("set mode of", &path)?;
            }
            rustix::fs::futimens(&fd, &time.stamps()).during("set time of", &path)?;
        }
        Ok(self.skipped)
    }

    /// The path of an open directory from the root, without the links that led there: they may change before the end.
    fn real(&self, fd: impl AsFd, path: &Path) -> PathBuf {
        let found = fs::read_link(beneath::self_fd(fd)).ok();
        let inside = found.as_deref().and_then(|found| found.strip_prefix(&self.base).ok());
        inside.unwrap_or(path).to_path_buf()
    }

    /// The hash of a name for [`Self::brought`].
    fn key(&self, at: &Spot<'_>) -> u128 {
        let half = |state: &RandomState| u128::from(state.hash_one((at.place.inode, at.name.as_bytes())));
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
        if entry.kind == WHITEOUT {
            return self.whiteout(above, name, entry.modified);
        }
        let place = self.place(above, entry.modified)?;
        if let Kind::HardLink(target) = &entry.kind {
            if !self.link(&path, target)? {
                self.links.push(Link { path, target: target.clone() });
            }
            return Ok(());
        }
        let at = Spot { place: &place, name, path: &path };
        let existing = self.make(&at, entry, reader)?;
        self.brought.insert(self.key(&at));
        if existing == Existing::Whiteout {
            self.set_opaque(&at)?;
        }
        Ok(())
    }
}

/// The umask of this process. Only /proc shows it without changing it for all threads. If it is unknown, assume the
/// strictest.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}
