//! The directories that entries go into: found, made where they are missing, and remembered.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Applier, Error, Pending, Target};
use crate::beneath::{self, Time, open_in_root};
use crate::error::{During, Io};
use crate::layer::entry::{Entry, Kind};

/// A directory that entries were put in.
pub(super) struct Place {
    pub(super) fd: OwnedFd,
    pub(super) inode: u64,
    /// New files in it get its group.
    pub(super) setgid: bool,
}

/// A name in a directory that an entry is about, and its path from the root.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) place: &'a Place,
    pub(super) name: &'a OsStr,
    pub(super) path: &'a Path,
}

/// What has a name already when an entry wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Nothing,
    Directory,
    /// A deletion in overlayfs's signs, which this layer made before.
    Whiteout,
    Other,
}

impl Applier {
    /// Opens the directory `path` that an entry goes into; makes it, and those above it, where the layer does not name it.
    pub(super) fn place(&mut self, path: &Path, time: Time) -> Result<Rc<Place>, Error> {
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
                Err(errno) => return Err(Io::new("open", next, errno).into()),
            }
        };
        for path in missing.into_iter().rev() {
            let fd = self.missing(&place, path, time)?;
            place = self.remember(path, fd)?;
        }
        Ok(place)
    }

    pub(super) fn remember(&mut self, path: &Path, fd: OwnedFd) -> Result<Rc<Place>, Error> {
        let stat = rustix::fs::fstat(&fd).during("stat", path)?;
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
    pub(super) fn missing(&mut self, above: &Place, path: &Path, time: Time) -> Result<OwnedFd, Error> {
        let name = path.file_name().unwrap_or_default();
        let at = Spot { place: above, name, path };
        let existing = self.existing(&at)?;
        match existing {
            Existing::Directory => {}
            // A link that dangles (/var/run -> /run before there is /run) gets what it wants; all else gives way.
            Existing::Other if rustix::fs::readlinkat(&above.fd, name, Vec::new()).is_ok() => {
                match self.root.create_directories(path, 0o755) {
                    Ok(fd) => return Ok(fd),
                    Err(_) => self.remove(&at)?,
                }
            }
            Existing::Other | Existing::Whiteout => self.remove(&at)?,
            Existing::Nothing => {}
        }
        if existing != Existing::Directory {
            let directory = Entry { modified: time, ..Entry::new(path, Kind::Directory, 0o755) };
            rustix::fs::mkdirat(&above.fd, name, Mode::RWXU).during("make directory", path)?;
            self.directory(&at, &directory)?;
            self.brought.insert(self.key(&at));
            if existing == Existing::Whiteout {
                self.set_opaque(&at)?;
            }
        }
        Ok(open_in_root(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).during("open", path)?)
    }

    /// What has the name already.
    pub(super) fn existing(&self, at: &Spot<'_>) -> Result<Existing, Error> {
        let stat = match rustix::fs::statat(&at.place.fd, at.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Existing::Nothing),
            Err(errno) => return Err(Io::new("stat", at.path, errno).into()),
        };
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Existing::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 && self.options.target != Target::Tree => Existing::Whiteout,
            _ => Existing::Other,
        })
    }

    /// Removes what has the name, with all beneath it.
    pub(super) fn remove(&mut self, at: &Spot<'_>) -> Result<(), Error> {
        // A directory or a link to one may go, and with it what was opened through it.
        self.places.clear();
        Ok(beneath::remove(&at.place.fd, at.name).during("remove", at.path)?)
    }
}
