//! Creating files, directories, links and nodes, with owner, mode, attributes and time.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::place::{Existing, Spot};
use super::{Applier, Error, Pending, is_overlay_mark};
use crate::beneath::{self, Time, clean};
use crate::error::{During, Io};
use crate::layer::entry::{self, Entry, Kind, Reader};
use crate::layer::owner::{Owners, ROOTLESS, to_rootless};

impl Applier {
    /// Creates the file of an entry, replacing what is there. A directory stays and gets the new mode and owner.
    pub(super) fn make<R: BufRead>(
        &mut self,
        at: &Spot<'_>,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<Existing, Error> {
        let mut existing = Existing::Nothing;
        loop {
            let made = match &entry.kind {
                Kind::File => self.file(at, entry, reader)?,
                Kind::Directory => match rustix::fs::mkdirat(&at.place.fd, at.name, Mode::RWXU) {
                    Ok(()) => {
                        self.directory(at, entry)?;
                        true
                    }
                    Err(Errno::EXIST) => false,
                    Err(errno) => return Err(Io::new("make directory", at.path, errno).into()),
                },
                Kind::Symlink(target) => match rustix::fs::symlinkat(target, &at.place.fd, at.name) {
                    Ok(()) => {
                        self.node(at, entry)?;
                        true
                    }
                    Err(Errno::EXIST) => false,
                    Err(errno) => return Err(Io::new("link", at.path, errno).into()),
                },
                Kind::Character(major, minor) => self.device(at, entry, FileType::CharacterDevice, (*major, *minor))?,
                Kind::Block(major, minor) => self.device(at, entry, FileType::BlockDevice, (*major, *minor))?,
                Kind::Fifo => self.device(at, entry, FileType::Fifo, (0, 0))?,
                Kind::HardLink(_) => unreachable!("hard links are made elsewhere"),
            };
            if made {
                return Ok(existing);
            }
            existing = self.existing(at)?;
            match existing {
                Existing::Directory if entry.kind == Kind::Directory => {
                    self.directory_again(at, entry)?;
                    return Ok(existing);
                }
                Existing::Nothing => {}
                _ => {
                    self.remove(at)?;
                    if entry.kind != Kind::Directory {
                        existing = Existing::Nothing;
                    }
                }
            }
        }
    }

    pub(super) fn root_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        let place = self.place(Path::new(""), entry.modified)?;
        strip(place.fd.as_fd(), entry).during("remove attributes of", Path::new(""))?;
        self.dress_directory(place.fd.as_fd(), place.inode, Path::new(""), entry)?;
        // The setgid bit may be new.
        self.places.remove(Path::new(""));
        Ok(())
    }

    pub(super) fn directory(&mut self, at: &Spot<'_>, entry: &Entry) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&at.place.fd, at.name, flags, Mode::empty()).during("open", at.path)?;
        let inode = rustix::fs::fstat(&fd).during("stat", at.path)?.st_ino;
        self.dress_directory(fd.as_fd(), inode, at.path, entry)?;
        self.places.remove(at.path);
        Ok(())
    }

    /// A directory that is named again has the attributes of the last entry and no others.
    fn directory_again(&mut self, at: &Spot<'_>, entry: &Entry) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&at.place.fd, at.name, flags, Mode::empty()).during("open", at.path)?;
        strip(fd.as_fd(), entry).during("remove attributes of", at.path)?;
        self.directory(at, entry)
    }

    pub(super) fn dress_directory(
        &mut self,
        fd: BorrowedFd<'_>,
        inode: u64,
        path: &Path,
        entry: &Entry,
    ) -> Result<(), Error> {
        if let Some((uid, gid)) = self.owner(entry)? {
            rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).during("set owner of", path)?;
        }
        // Only root may write to a directory with such a mode.
        let later = !self.privileged && entry.mode & 0o700 != 0o700;
        let mode = if later { entry.mode | 0o700 } else { entry.mode };
        rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)).during("set mode of", path)?;
        self.attributes(entry, path, |key, value| rustix::fs::fsetxattr(fd, key, value, XattrFlags::empty()))?;
        let pending = Pending { path: self.real(fd, path), time: entry.modified, mode: later.then_some(entry.mode) };
        self.pending.insert(inode, pending);
        Ok(())
    }

    pub(super) fn file<R: BufRead>(
        &mut self,
        at: &Spot<'_>,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<bool, Error> {
        let mut file = match beneath::create(&at.place.fd, at.name, entry.mode & 0o777) {
            Ok(file) => file,
            Err(Errno::EXIST) => return Ok(false),
            Err(errno) => return Err(Io::new("create", at.path, errno).into()),
        };
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::Archive(entry::Error::Truncated),
            io::ErrorKind::InvalidData => Error::Archive(entry::Error::Io(source)),
            _ => Io::new("write", at.path, source).into(),
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
        let owner = self.owner(entry)?.filter(|owner| *owner != self.me || at.place.setgid);
        if let Some((uid, gid)) = owner {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .during("set owner of", at.path)?;
        }
        // The mode given at creation is final unless the umask cleared bits. Setuid and setgid come after the owner,
        // whose change clears them.
        if entry.mode & (self.umask | 0o7000) != 0 {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode)).during("set mode of", at.path)?;
        }
        self.attributes(entry, at.path, |key, value| rustix::fs::fsetxattr(&file, key, value, XattrFlags::empty()))?;
        rustix::fs::futimens(&file, &entry.modified.stamps()).during("set time of", at.path)?;
        Ok(true)
    }

    pub(super) fn device(
        &mut self,
        at: &Spot<'_>,
        entry: &Entry,
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Result<bool, Error> {
        let device = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(&at.place.fd, at.name, kind, Mode::from_raw_mode(entry.mode & 0o777), device) {
            Ok(()) => {
                self.node(at, entry)?;
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            // Only root of the host can create devices, and a container has its own /dev anyway.
            Err(Errno::PERM) if !self.privileged => {
                *self.skipped.entry("device node".to_string()).or_default() += 1;
                Ok(true)
            }
            Err(errno) => Err(Io::new("make node", at.path, errno).into()),
        }
    }

    /// Sets owner, mode, attributes and time of something that cannot be opened.
    pub(super) fn node(&mut self, at: &Spot<'_>, entry: &Entry) -> Result<(), Error> {
        let owner = self.owner(entry)?.filter(|owner| *owner != self.me || at.place.setgid);
        if let Some((uid, gid)) = owner {
            let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(&at.place.fd, at.name, user, group, AtFlags::SYMLINK_NOFOLLOW)
                .during("set owner of", at.path)?;
        }
        if !matches!(entry.kind, Kind::Symlink(_)) && entry.mode & (self.umask | 0o7000) != 0 {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&at.place.fd, at.name, flags, Mode::empty()).during("open", at.path)?;
            rustix::fs::chmod(beneath::self_fd(&fd), Mode::from_raw_mode(entry.mode)).during("set mode of", at.path)?;
        }
        self.attributes(entry, at.path, |key, value| beneath::set_xattr(&at.place.fd, at.name, key, value))?;
        rustix::fs::utimensat(&at.place.fd, at.name, &entry.modified.stamps(), AtFlags::SYMLINK_NOFOLLOW)
            .during("set time of", at.path)?;
        Ok(())
    }

    pub(super) fn owner(&self, entry: &Entry) -> Result<Option<(u32, u32)>, Error> {
        self.options
            .owners
            .on_disk(entry.uid, entry.gid)
            .map_err(|source| Error::Owner { path: entry.path.clone(), source })
    }

    pub(super) fn attributes(
        &mut self,
        entry: &Entry,
        path: &Path,
        set: impl Fn(&OsStr, &[u8]) -> rustix::io::Result<()>,
    ) -> Result<(), Error> {
        let rootless = match self.options.owners {
            // Not on links and devices, which cannot have user.* attributes (xattr(7)).
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
                // Not supported by the file system, or only allowed for root.
                Err(Errno::OPNOTSUPP) => self.skip_attribute(key),
                Err(Errno::PERM | Errno::INVAL) if !self.privileged => self.skip_attribute(key),
                // Only files and directories can have user.* attributes (xattr(7)), but archives contain them
                // elsewhere.
                Err(Errno::PERM) if !matches!(entry.kind, Kind::File | Kind::Directory) => self.skip_attribute(key),
                Err(errno) => return Err(Io::new("set attribute of", path, errno).into()),
            }
        }
        Ok(())
    }

    pub(super) fn skip_attribute(&mut self, key: &OsStr) {
        *self.skipped.entry(format!("extended attribute {}", key.to_string_lossy())).or_default() += 1;
    }

    /// Creates a hard link; returns `false` if its target does not exist yet.
    pub(super) fn link(&mut self, path: &Path, target: &Path) -> Result<bool, Error> {
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
            Err(errno) => return Err(Io::new("stat", &target, errno).into()),
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(Error::Link { path: path.to_path_buf(), target });
        }
        let place = self.place(path.parent().unwrap_or(Path::new("")), time)?;
        let at = Spot { place: &place, name, path };
        loop {
            match rustix::fs::linkat(&from, source, &place.fd, name, AtFlags::empty()) {
                Ok(()) => break,
                Err(Errno::EXIST) => {
                    let stat = rustix::fs::statat(&place.fd, name, AtFlags::SYMLINK_NOFOLLOW).during("stat", path)?;
                    if same_file(&stat, &found) {
                        break;
                    }
                    self.remove(&at)?;
                    // Removing a tree may have removed the target.
                    if rustix::fs::statat(&from, source, AtFlags::SYMLINK_NOFOLLOW).is_err() {
                        return Ok(false);
                    }
                }
                Err(errno) => return Err(Io::new("link", path, errno).into()),
            }
        }
        self.brought.insert(self.key(&at));
        Ok(true)
    }
}

/// Removes the extended attributes of a directory that an entry does not have, except those of the host and the marks of overlayfs.
fn strip(fd: BorrowedFd<'_>, entry: &Entry) -> rustix::io::Result<()> {
    const HOST: [&[u8]; 4] = [b"security.selinux", b"security.ima", b"security.evm", b"system."];
    // XATTR_LIST_MAX: no list is longer.
    let mut names = vec![0; 65536];
    let size = match rustix::fs::flistxattr(fd, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    for name in names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let is_kept = entry.xattrs.iter().any(|(key, _)| key.as_bytes() == name)
            || HOST.iter().any(|host| name.starts_with(host))
            || name.starts_with(b"trusted.overlay.")
            || name.starts_with(b"user.overlay.");
        if !is_kept {
            match rustix::fs::fremovexattr(fd, name) {
                // Only root of the host may.
                Ok(()) | Err(Errno::PERM | Errno::NODATA) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
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
