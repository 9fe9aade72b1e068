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

mod delete;
mod make;
mod place;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use self::place::{Existing, Place, Spot};
use super::entry::{self, Entry, Kind, Reader};
use super::owner::{Owners, Unmapped, in_user_namespace};
use super::whiteout::{self, Whiteout};
use crate::beneath::{self, Root, Time, clean, open_in_root};
use crate::error::{During, Io};

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
    /// The kernel refused an operation on a file beneath the root.
    #[error(transparent)]
    Io(#[from] Io),
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
    #[error("entry {path:?}: hard link to {target:?}, which does not exist")]
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

    /// The attribute that says where a directory was copied up from; empty, that nobody knows. A directory that has it is
    /// searched for whiteouts when it is listed, even if no other layer has the same directory: without it `ls` would show
    /// the names of whiteouts that delete nothing (fs/overlayfs/inode.c, "non-merge dir that may have whiteouts").
    #[must_use]
    pub fn origin(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.origin",
            Self::User => "user.overlay.origin",
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

    /// What stands for a name in [`Self::brought`].
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

/// The process's umask, which only /proc tells without changing it for every thread. Unknown, it counts as taking all.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}
