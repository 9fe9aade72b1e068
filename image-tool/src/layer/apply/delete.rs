//! Whiteouts: deletions in a tree, marks of overlayfs in a lower directory.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::place::{Existing, Place, Spot};
use super::{Applier, Error, Target};
use crate::beneath::{self, Time, open_in_root};
use crate::error::{During, Io};

impl Applier {
    pub(super) fn whiteout(&mut self, above: &Path, target: &OsStr, time: Time) -> Result<(), Error> {
        let path = above.join(target);
        let Target::Lower(marks) = self.options.target else {
            // Do not create directories just to delete from them.
            let fd = match open_in_root(&self.root, above, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
                Err(errno) => return Err(Io::new("open", above, errno).into()),
            };
            let place = self.remember(above, fd)?;
            self.purge(&Spot { place: &place, name: target, path: &path })?;
            return Ok(());
        };
        let place = self.place(above, time)?;
        let at = Spot { place: &place, name: target, path: &path };
        if self.brought.contains(&self.key(&at)) {
            // A file of this layer hides the lower one anyway; a directory must be marked.
            if self.existing(&at)? == Existing::Directory {
                self.set_opaque(&at)?;
            }
            return Ok(());
        }
        match rustix::fs::mknodat(&place.fd, target, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => {
                rustix::fs::fsetxattr(&place.fd, marks.origin(), b"", XattrFlags::empty()).during("mark", above)?;
                let stamps = time.stamps();
                Ok(rustix::fs::utimensat(&place.fd, target, &stamps, AtFlags::SYMLINK_NOFOLLOW)
                    .during("set time of", &path)?)
            }
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Io::new("make whiteout", &path, errno).into()),
        }
    }

    pub(super) fn opaque(&mut self, directory: &Path, time: Time) -> Result<(), Error> {
        match self.options.target {
            Target::Lower(marks) => {
                let place = self.place(directory, time)?;
                let set = rustix::fs::fsetxattr(&place.fd, marks.opaque(), b"y", XattrFlags::empty());
                Ok(set.during("make opaque", directory)?)
            }
            Target::Tree => {
                let place = self.place(directory, time)?;
                for name in beneath::names(&place.fd).during("list", directory)? {
                    self.purge(&Spot { place: &place, name: &name, path: &directory.join(&name) })?;
                }
                Ok(())
            }
        }
    }

    pub(super) fn set_opaque(&self, at: &Spot<'_>) -> Result<(), Error> {
        let Target::Lower(marks) = self.options.target else { return Ok(()) };
        Ok(beneath::set_xattr(&at.place.fd, at.name, OsStr::new(marks.opaque()), b"y")
            .during("make opaque", at.path)?)
    }

    /// Removes files of lower layers at this name, and keeps those of this layer. Returns whether something is left.
    pub(super) fn purge(&mut self, at: &Spot<'_>) -> Result<bool, Error> {
        let ours = self.brought.contains(&self.key(at));
        if self.existing(at)? != Existing::Directory {
            if !ours {
                self.remove(at)?;
            }
            return Ok(ours);
        }
        if self.brought.is_empty() {
            self.remove(at)?;
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&at.place.fd, at.name, flags, Mode::empty()).during("open", at.path)?;
        let inode = rustix::fs::fstat(&fd).during("stat", at.path)?.st_ino;
        let below = Place { fd, inode, setgid: false };
        let mut stays = ours;
        let names: Vec<OsString> = beneath::names(&below.fd).during("list", at.path)?;
        for child in names {
            stays |= self.purge(&Spot { place: &below, name: &child, path: &at.path.join(&child) })?;
        }
        if !stays {
            self.remove(at)?;
        }
        Ok(stays)
    }
}
