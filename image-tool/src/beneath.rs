//! File operations beneath a directory descriptor, for trees that strangers filled.
//!
//! A path is resolved by the kernel (`openat2` with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`, Linux 5.6): the root
//! directory is `/` to every link on the way, `..` stops at it, and nobody can swap a component between a check and
//! its use, as they could if strings were joined. The last component of a path is never followed by an operation that
//! changes it. Links to directories are followed inside the root, because images depend on it (`/lib` → `usr/lib`).
//!
//! What is left to others: the meaning of the paths (whiteouts, layers), and ownership maps.

mod name;
mod remove;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::{During, Io};

pub(crate) use self::name::{create, names, set_xattr, xattrs};
pub(crate) use self::remove::remove;

/// Why an operation beneath a root did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a call; the path is as seen from the root.
    #[error(transparent)]
    Io(#[from] Io),
    /// The path has a `..`, which no tool writes and only an attack needs.
    #[error("path {path:?} holds a \"..\"")]
    DotDot {
        /// The path.
        path: PathBuf,
    },
    /// The path names the root itself where something in it is needed.
    #[error("path {path:?} names no file")]
    Nameless {
        /// The path.
        path: PathBuf,
    },
    /// A regular file was wanted; a FIFO would hang its reader and a device could do anything.
    #[error("{path:?} is not a regular file")]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// The file is larger than its reader is ready for.
    #[error("{path:?} is larger than {limit} bytes")]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// The most that was accepted.
        limit: u64,
    },
    /// Links lead in a circle, or through more of them than the kernel would follow.
    #[error("{path:?} leads through too many symbolic links")]
    Loop {
        /// The path.
        path: PathBuf,
    },
}

impl Error {
    /// The kernel's reason, if the kernel refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io(refused) => Errno::from_io_error(&refused.source),
            _ => None,
        }
    }

    /// Whether the reason is that there is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NOTDIR))
    }
}

/// The result of an operation beneath a root.
pub type Result<T> = std::result::Result<T, Error>;

/// Brings a path into the form `a/b/c`: no leading, trailing or double `/`, no `.`.
///
/// # Errors
/// [`Error::DotDot`]: `a/../b` is refused too, since it means different things to a string and to a link.
pub fn clean(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => return Err(Error::DotDot { path: path.to_path_buf() }),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}

/// Opens `path` beneath `root`, where `root` is `/` to every link met on the way.
///
/// # Errors
/// The kernel's.
pub fn open_in_root(root: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    loop {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            // openat2(2): a rename elsewhere on the system made a ".." in a link uncertain; trying again is the remedy.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// When a file was last changed: seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// The rest, 0 to 999,999,999, always counted forward.
    pub nanoseconds: u32,
}

impl Time {
    pub(crate) fn stamps(self) -> Timestamps {
        let spec = Timespec { tv_sec: self.seconds, tv_nsec: self.nanoseconds.into() };
        Timestamps { last_access: spec, last_modification: spec }
    }

    /// The modification time in `stat`.
    #[must_use]
    pub fn modified(stat: &Stat) -> Self {
        Self { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 }
    }
}

/// A directory that nothing leads out of.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Root {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl Root {
    /// Opens the directory `path` of the host, following links as any program does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).during("open", path)?;
        Ok(Self { fd })
    }

    /// Opens the directory `path`, following links inside the root.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn directory(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        let path = path.as_ref();
        Ok(open_in_root(&self.fd, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).during("open", path)?)
    }

    /// The directory `path` as a root of its own.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn subroot(&self, path: impl AsRef<Path>) -> Result<Self> {
        self.directory(path).map(Self::from)
    }

    /// The directory that holds `path`, opened, and the name in it.
    ///
    /// # Errors
    /// [`Error::DotDot`], [`Error::Nameless`], [`Error::Io`].
    pub fn parent(&self, path: impl AsRef<Path>) -> Result<(OwnedFd, OsString)> {
        let (parent, name) = split(path.as_ref())?;
        Ok((self.directory(&parent)?, name))
    }

    /// Opens the regular file `path` for reading, following links inside the root.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotRegular`].
    pub fn file(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        // Without O_NONBLOCK the open of a FIFO would wait for a writer that never comes.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = open_in_root(&self.fd, path, flags, Mode::empty()).during("open", path)?;
        let stat = rustix::fs::fstat(&fd).during("stat", path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::NotRegular { path: path.to_path_buf() });
        }
        Ok(File::from(fd))
    }

    /// Reads the whole regular file `path`, if it is not larger than `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotRegular`], [`Error::TooLarge`].
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        let read = self.file(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.during("read", path)?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge { path: path.to_path_buf(), limit });
        }
        Ok(bytes)
    }

    /// What `path` is, following links inside the root; `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Option<Stat>> {
        self.stat_opened(path.as_ref(), OFlags::PATH)
    }

    /// What `path` itself is, be it a link; `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn lstat(&self, path: impl AsRef<Path>) -> Result<Option<Stat>> {
        self.stat_opened(path.as_ref(), OFlags::PATH | OFlags::NOFOLLOW)
    }

    fn stat_opened(&self, path: &Path, flags: OFlags) -> Result<Option<Stat>> {
        match open_in_root(&self.fd, path, flags, Mode::empty()) {
            Ok(fd) => Ok(rustix::fs::fstat(&fd).map(Some).during("stat", path)?),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(Io::new("stat", path, errno).into()),
        }
    }

    /// Where the link `path` points, unresolved.
    ///
    /// # Errors
    /// [`Error::DotDot`], [`Error::Nameless`], [`Error::Io`].
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        let target = rustix::fs::readlinkat(&parent, &name, Vec::new()).during("read link", path)?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// The names in the directory `path`, sorted by their bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn names(&self, path: impl AsRef<Path>) -> Result<Vec<OsString>> {
        let path = path.as_ref();
        Ok(names(&self.directory(path)?).during("list", path)?)
    }

    /// Makes the directory `path` and those above it that are missing, and opens it. Links on the way are followed
    /// inside the root; where one points to nothing, the directory is made there.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Loop`].
    pub fn create_directories(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        self.create_directories_from(&clean(path.as_ref())?, mode, 40)
    }

    fn create_directories_from(&self, path: &Path, mode: u32, links: u32) -> Result<OwnedFd> {
        let mut missing = Vec::new();
        let mut next = path;
        // Not by recursion: a hostile path has two thousand parts.
        let mut directory = loop {
            match self.directory(next) {
                Err(error) if error.errno() == Some(Errno::NOENT) && !next.as_os_str().is_empty() => {
                    missing.push(next);
                    next = next.parent().unwrap_or(Path::new(""));
                }
                result => break result?,
            }
        };
        for path in missing.into_iter().rev() {
            let name = path.file_name().unwrap_or_default();
            match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(mode)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Io::new("make directory", path, errno).into()),
            }
            directory = match self.directory(path) {
                // It exists and yet it does not: a link that dangles.
                Err(error) if error.errno() == Some(Errno::NOENT) => {
                    let links = links.checked_sub(1).ok_or_else(|| Error::Loop { path: path.to_path_buf() })?;
                    let target = rustix::fs::readlinkat(&directory, name, Vec::new()).during("read link", path)?;
                    let above = path.parent().unwrap_or(Path::new(""));
                    let target = lexical(above, Path::new(OsStr::from_bytes(target.as_bytes())));
                    drop(self.create_directories_from(&target, mode, links)?);
                    self.directory(path)?
                }
                result => result?,
            };
        }
        Ok(directory)
    }

    /// Creates the regular file `path`, which must not exist, and opens it for reading and writing.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn create(&self, path: impl AsRef<Path>, mode: u32) -> Result<File> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        Ok(create(&parent, &name, mode).during("create", path)?)
    }

    /// Puts a regular file with these bytes at `path`, in place of whatever is there. The file is complete from the
    /// first moment it is seen; a link at `path` is replaced, not followed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn write(&self, path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<()> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        let temporary = OsString::from(format!(".{}.tmp", std::process::id()));
        remove(&parent, &temporary).during("remove", path)?;
        let write = || -> std::result::Result<(), Io> {
            let mut file = create(&parent, &temporary, mode).during("create", path)?;
            file.write_all(bytes).during("write", path)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).during("set mode of", path)?;
            rustix::fs::renameat(&parent, &temporary, &parent, &name).during("rename", path)
        };
        let written = write();
        if written.is_err() {
            // The first error is the one to tell.
            let _ = remove(&parent, &temporary);
        }
        Ok(written?)
    }

    /// Makes `path` a symbolic link that holds `target`. The target is text: it is not resolved, now or here.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::symlinkat(target.as_ref(), &parent, &name).during("link", path)?)
    }

    /// Makes `path` another name of the file `existing`; if that is a symbolic link, of the link.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn hard_link(&self, existing: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (from, source) = self.parent(existing)?;
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::linkat(&from, &source, &parent, &name, AtFlags::empty()).during("link", path)?)
    }

    /// Renames, replacing `to` if it is a file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let to = to.as_ref();
        let (source, old) = self.parent(from)?;
        let (parent, name) = self.parent(to)?;
        Ok(rustix::fs::renameat(&source, &old, &parent, &name).during("rename", to)?)
    }

    /// Removes `path`, and all beneath it if it is a directory. That it is not there is no error. A link is removed,
    /// not followed; nor is a mount point entered: removing it fails.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DotDot`], [`Error::Nameless`].
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        match self.parent(path) {
            Ok((parent, name)) => Ok(remove(&parent, &name).during("remove", path)?),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets user and group of `path` itself. The kernel drops setuid and setgid bits; set the mode afterwards.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_owner(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
        let path = path.as_ref();
        let fd = self.node(path)?;
        let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        Ok(rustix::fs::chownat(&fd, "", Some(user), Some(group), AtFlags::EMPTY_PATH).during("set owner of", path)?)
    }

    /// Sets the permission bits of `path` itself, setuid, setgid and sticky among them.
    ///
    /// # Errors
    /// [`Error::Io`]; a link has no mode of its own and the kernel says so.
    pub fn set_mode(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let fd = self.node(path)?;
        // fchmod refuses an O_PATH descriptor, and fchmodat2 came with Linux 6.6 only.
        Ok(rustix::fs::chmod(self_fd(&fd), Mode::from_raw_mode(mode)).during("set mode of", path)?)
    }

    /// Sets access and modification time of `path` itself.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_modified(&self, path: impl AsRef<Path>, time: Time) -> Result<()> {
        let path = path.as_ref();
        let fd = self.node(path)?;
        Ok(rustix::fs::utimensat(&fd, "", &time.stamps(), AtFlags::EMPTY_PATH).during("set time of", path)?)
    }

    /// Sets an extended attribute of `path` itself.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_xattr(&self, path: impl AsRef<Path>, name: &OsStr, value: &[u8]) -> Result<()> {
        let path = path.as_ref();
        let (parent, last) = self.parent_or_root(path)?;
        Ok(set_xattr(&parent, &last, name, value).during("set attribute of", path)?)
    }

    /// The extended attributes of `path` itself, sorted by name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn xattrs(&self, path: impl AsRef<Path>) -> Result<Vec<(OsString, Vec<u8>)>> {
        let path = path.as_ref();
        let (parent, last) = self.parent_or_root(path)?;
        Ok(xattrs(&parent, &last).during("read attributes of", path)?)
    }

    /// As [`Root::parent`], but the root itself is `.` in the root.
    fn parent_or_root(&self, path: &Path) -> Result<(OwnedFd, OsString)> {
        match self.parent(path) {
            Err(Error::Nameless { .. }) => Ok((self.directory("")?, ".".into())),
            other => other,
        }
    }

    /// A descriptor for `path` itself that only names it.
    fn node(&self, path: &Path) -> Result<OwnedFd> {
        Ok(open_in_root(&self.fd, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).during("open", path)?)
    }
}

/// Splits a path into the directory and the name in it.
fn split(path: &Path) -> Result<(PathBuf, OsString)> {
    let clean = clean(path)?;
    match clean.file_name() {
        Some(name) => Ok((clean.parent().unwrap_or(Path::new("")).to_path_buf(), name.to_os_string())),
        None => Err(Error::Nameless { path: path.to_path_buf() }),
    }
}

/// Where a link in `directory` leads if no other link is on the way. Only ever a proposal of a place to make: the
/// kernel resolves it again, inside the root.
fn lexical(directory: &Path, target: &Path) -> PathBuf {
    let mut path = if target.is_absolute() { PathBuf::new() } else { directory.to_path_buf() };
    for component in target.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
    path
}

/// The path through procfs of an open descriptor: the kernel's way to name the very same file once more.
pub(crate) fn self_fd(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn a_path_is_cleaned_or_refused() {
        for (path, expected) in [("/a//b/./c/", "a/b/c"), ("./", ""), ("/", ""), ("a", "a"), ("...", "...")] {
            assert_eq!(clean(Path::new(path)).unwrap(), Path::new(expected), "{path}");
        }
        for path in ["..", "a/..", "/../a", "a/../../b"] {
            assert!(matches!(clean(Path::new(path)), Err(Error::DotDot { .. })), "{path}");
        }
    }

    #[test]
    fn links_end_inside_the_root_wherever_they_point() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "host").unwrap();
        for target in [outside.path().to_path_buf(), "../../../../../../..".into(), "/proc/self/root".into()] {
            let (folder, root) = root();
            symlink(&target, folder.path().join("link")).unwrap();
            let made = root.create_directories("link/x", 0o755);
            if made.is_ok() {
                root.write("link/x/secret", b"image", 0o644).unwrap();
                assert_eq!(root.read("link/x/secret", 10).unwrap(), b"image", "{target:?}");
            }
            assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"host");
            assert!(!outside.path().join("x").exists(), "{target:?}");
        }
    }

    #[test]
    fn a_dangling_link_gets_the_directory_it_wants() {
        let (folder, root) = root();
        symlink("/run", folder.path().join("b")).unwrap();
        fs::create_dir(folder.path().join("var")).unwrap();
        symlink("../run", folder.path().join("var/run")).unwrap();
        root.create_directories("var/run/lock", 0o755).unwrap();
        assert!(folder.path().join("run/lock").is_dir());
        symlink("loop2", folder.path().join("loop1")).unwrap();
        symlink("loop1", folder.path().join("loop2")).unwrap();
        assert!(root.create_directories("loop1/x", 0o755).is_err());
    }

    #[test]
    fn what_changes_a_name_does_not_follow_it() {
        let (folder, root) = root();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "old").unwrap();
        fs::set_permissions(at("file"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("file", at("link")).unwrap();
        root.set_modified("link", Time { seconds: 5, nanoseconds: 7 }).unwrap();
        assert_eq!(
            (at("link").symlink_metadata().unwrap().mtime(), at("link").symlink_metadata().unwrap().mtime_nsec()),
            (5, 7)
        );
        assert_ne!(at("file").metadata().unwrap().mtime(), 5);
        root.write("link", b"new", 0o644).unwrap();
        assert_eq!(fs::read(at("file")).unwrap(), b"old");
        assert!(at("link").symlink_metadata().unwrap().is_file());
        root.set_mode("link", 0o4755).unwrap();
        assert_eq!(root.lstat("link").unwrap().unwrap().st_mode & 0o7777, 0o4755);
        symlink("file", at("again")).unwrap();
        root.remove("again").unwrap();
        assert!(at("file").exists());
        root.remove("not/there").unwrap();
        root.hard_link("file", "other").unwrap();
        assert_eq!(at("file").metadata().unwrap().nlink(), 2);
    }

    #[test]
    fn a_fifo_is_refused_instead_of_waited_for() {
        let (_folder, root) = root();
        rustix::fs::mknodat(&root, "fifo", FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(matches!(root.read("fifo", 10), Err(Error::NotRegular { .. })));
        root.write("file", b"0123456789", 0o644).unwrap();
        assert!(root.read("file", 10).is_ok());
        assert!(matches!(root.read("file", 9), Err(Error::TooLarge { .. })));
    }
}
