//! The directories that entries go into: opened, created if missing, and cached.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Applier, Error, Pending, Target};
use crate::beneath::{self, Time, open_in_root};
use crate::error::{During, Io};
use crate::layer::entry::{Entry, Kind};

/// A directory that entries are created in.
pub(super) struct Place {
    pub(super) fd: OwnedFd,
    pub(super) inode: u64,
    /// Whether new files in it inherit its group.
    pub(super) setgid: bool,
}

/// A name in a directory, and its path from the root.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) place: &'a Place,
    pub(super) name: &'a OsStr,
    pub(super) path: &'a Path,
}

/// What is at a name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Nothing,
    Directory,
    /// A whiteout of overlayfs, made earlier by this layer.
    Whiteout,
    Other,
}

impl Applier {
    /// Opens the parent directory `path` of an entry; creates it and its parents if the layer does not name them.
    pub(super) fn place(&mut self, path: &Path, time: Time) -> Result<Rc<Place>, Error> {
        let mut missing = Vec::new();
        let mut next = path;
        // Not recursive: a hostile path can have two thousand components.
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
        if self.options.keeps_times && !self.pending.contains_key(&stat.st_ino) {
            let path = self.real(&place.fd, path);
            self.pending.insert(stat.st_ino, Pending { path, time: Time::modified(&stat), mode: None });
        }
        if self.places.len() >= 128 {
            self.places.clear();
        }
        self.places.insert(path.to_path_buf(), Rc::clone(&place));
        Ok(place)
    }

    /// Creates the directory `path`, replacing what is in the way.
    pub(super) fn missing(&mut self, above: &Place, path: &Path, time: Time) -> Result<OwnedFd, Error> {
        let name = path.file_name().unwrap_or_default();
        let at = Spot { place: above, name, path };
        let existing = self.existing(&at)?;
        match existing {
            Existing::Directory => {}
            // The target of a dangling link (/var/run -> /run before /run exists) is created; everything else is
            // replaced.
            Existing::Other if rustix::fs::readlinkat(&above.fd, name, Vec::new()).is_ok() => {
                let mut made = Vec::new();
                let created = self.root.create_directories_noting(path, 0o755, &mut made);
                self.dress_made(made, time)?;
                match created {
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

    /// Gives directories that were made for a link what those have that no entry names.
    fn dress_made(&mut self, made: Vec<PathBuf>, time: Time) -> Result<(), Error> {
        for path in made {
            let fd = self.root.directory(&path)?;
            let inode = rustix::fs::fstat(&fd).during("stat", &path)?.st_ino;
            let above = self.root.directory(path.parent().unwrap_or(Path::new("")))?;
            let above_inode = rustix::fs::fstat(&above).during("stat", &path)?.st_ino;
            let entry = Entry { modified: time, ..Entry::new(&path, Kind::Directory, 0o755) };
            self.dress_directory(fd.as_fd(), inode, &path, &entry)?;
            let place = Place { fd: above, inode: above_inode, setgid: false };
            let name = path.file_name().unwrap_or_default();
            self.brought.insert(self.key(&Spot { place: &place, name, path: &path }));
        }
        Ok(())
    }

    /// Returns what is at the name.
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

    /// Removes what is at the name, with everything beneath it.
    pub(super) fn remove(&mut self, at: &Spot<'_>) -> Result<(), Error> {
        // It may be a directory, or a link to one, that cached directories were opened through.
        self.places.clear();
        Ok(beneath::remove(&at.place.fd, at.name).during("remove", at.path)?)
    }
}
