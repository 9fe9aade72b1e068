//! Where a mount is made ready before it is attached, so that nobody can reach it until it has all its flags.
//!
//! Since Linux 5.12 the kernel has such mounts: they are detached, in no namespace. Where one of the calls for them is missing or
//! forbidden, the mount is made in a tmpfs instead, and moved from there. The tmpfs covers a directory of the container's mount
//! namespace for a while, and only this process has a descriptor of it. In both cases everything acts on descriptors: the file that
//! was opened is mounted on the file that was opened.

use std::cell::Cell;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Result, bail};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};

use super::mount::Mount;
use super::option::{self, Options};
use crate::kernel::error::{Fails, lacks};
use crate::kernel::procfs::Procfs;
use crate::kernel::syscall::{self, MountAttributes};

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const ON_PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The place for mounts that are not attached yet.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The host's procfs, for the names of descriptors: the container's may be missing or fake.
    proc: Procfs,
    tmpfs: Option<OwnedFd>,
    made: Cell<u32>,
}

/// Whether the kernel's detached mounts can be had, with all that is needed to change and attach them.
fn has_detached(any: BorrowedFd<'_>) -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // Each call fails for its arguments, unless it is not to be had.
    let there = |answer: rustix::io::Result<()>| answer.err().is_none_or(|error| !lacks(error));
    *FOUND.get_or_init(|| {
        let here = rustix::fs::CWD;
        let nothing = MountAttributes::default();
        let changed = syscall::mount_setattr(any, false, &nothing);
        there(rustix::mount::open_tree(here, "", OpenTreeFlags::empty()).map(drop))
            && there(rustix::mount::move_mount(here, "", here, "", MoveMountFlags::empty()))
            && there(rustix::mount::fsopen("", FsOpenFlags::empty()).map(drop))
            && there(rustix::mount::fsconfig_create(any))
            && there(rustix::mount::fsmount(any, FsMountFlags::empty(), MountAttrFlags::empty()).map(drop))
            && there(changed.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOSYS)))
    })
}

/// Opens the source of a bind mount for another process, which may have no access to it, in the mount namespace of both.
pub(crate) fn lend(mount: &Mount) -> rustix::io::Result<OwnedFd> {
    let root = rustix::fs::open("/", DIRECTORY, Mode::empty())?;
    if has_detached(root.as_fd()) {
        return open_tree(rustix::fs::CWD, &mount.source, OpenTreeFlags::empty(), mount.is_recursive());
    }
    rustix::fs::open(&mount.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn open_tree(at: BorrowedFd<'_>, path: &Path, flags: OpenTreeFlags, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = flags | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(at, path, flags)
}

impl Stage {
    /// Finds out how mounts are made. `/proc` must be the host's.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { proc: Procfs::mounted()?, tmpfs: None, made: Cell::new(0) })
    }

    /// Begins to make mounts. Where detached ones are not to be had, a tmpfs covers the directory `at` until `end`. That must be the
    /// root of a mount of this process's own namespace.
    pub(crate) fn begin(&mut self, at: &Path) -> Result<()> {
        if has_detached(self.proc.as_fd()) {
            return Ok(());
        }
        const TMPFS_MAGIC: i64 = 0x0102_1994;
        let fail = || format!("mount a tmpfs on {}", at.display());
        let below = rustix::fs::open(at, DIRECTORY, Mode::empty()).fails(fail)?;
        let options = CString::new("mode=700").expect("no NUL");
        rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::NODEV | MountFlags::NOSUID, options.as_c_str())
            .fails(fail)?;
        // A lookup of `/` ends below what is mounted there; one of `/..` ends above it.
        let above = if at == Path::new("/") { Path::new("/..") } else { at };
        let tmpfs = rustix::fs::open(above, DIRECTORY, Mode::empty()).fails(fail)?;
        let (found, under) = (rustix::fs::fstat(&tmpfs).fails(fail)?, rustix::fs::fstat(&below).fails(fail)?);
        if rustix::fs::fstatfs(&tmpfs).fails(fail)?.f_type != TMPFS_MAGIC || found.st_dev == under.st_dev {
            bail!("{}: not the tmpfs that was mounted", at.display());
        }
        // From a shared mount nothing can be moved, and what is made here concerns nobody else.
        self.by_name(|name| rustix::mount::mount_change(name(tmpfs.as_fd()), MountPropagationFlags::PRIVATE))
            .fails(fail)?;
        self.tmpfs = Some(tmpfs);
        Ok(())
    }

    /// Ends what `begin` has begun, and removes the mounts that were not attached.
    pub(crate) fn end(&mut self) -> Result<()> {
        let Some(tmpfs) = self.tmpfs.take() else { return Ok(()) };
        self.by_name(|name| rustix::mount::unmount(name(tmpfs.as_fd()), UnmountFlags::DETACH))
            .fails(|| "unmount the tmpfs of mounts in the making")?;
        Ok(())
    }

    /// Makes a mount of what is at a path, with the mounts below it if `recursive`.
    pub(super) fn copy_path(&self, source: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
        if self.tmpfs.is_none() {
            return open_tree(rustix::fs::CWD, source, OpenTreeFlags::empty(), recursive);
        }
        let source = rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        self.copy(source.as_fd(), recursive)
    }

    /// Makes a mount of an open file or directory, with the mounts below it if `recursive`.
    pub(super) fn copy(&self, of: BorrowedFd<'_>, recursive: bool) -> rustix::io::Result<OwnedFd> {
        let Some(tmpfs) = &self.tmpfs else {
            return open_tree(of, Path::new(""), OpenTreeFlags::AT_EMPTY_PATH, recursive);
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(of)?.st_mode);
        self.make(tmpfs, kind == FileType::Directory, |name, place| {
            if recursive {
                rustix::mount::mount_bind_recursive(name(of), name(place))
            } else {
                rustix::mount::mount_bind(name(of), name(place))
            }
        })
    }

    /// Takes over what `lend` has opened in another process.
    pub(super) fn take(&self, lent: OwnedFd, recursive: bool) -> rustix::io::Result<OwnedFd> {
        if self.tmpfs.is_none() { Ok(lent) } else { self.copy(lent.as_fd(), recursive) }
    }

    /// Mounts a new file system. `flags` are those of mount(2).
    pub(super) fn create(&self, kind: &str, source: &Path, flags: u64, data: &str) -> rustix::io::Result<OwnedFd> {
        let Some(tmpfs) = &self.tmpfs else { return detached(kind, source, flags, data) };
        let data = CString::new(data).map_err(|_| Errno::INVAL)?;
        self.make(tmpfs, true, |name, place| {
            let flags = MountFlags::from_bits_retain(flags as u32);
            rustix::mount::mount(source, name(place), kind, flags, data.as_c_str())
        })
    }

    /// Changes the flags or the propagation of a mount, attached or not, and with `recursive` those of the mounts below it.
    pub(crate) fn change(&self, tree: &OwnedFd, recursive: bool, changes: &MountAttributes) -> std::io::Result<()> {
        if has_detached(self.proc.as_fd()) {
            return syscall::mount_setattr(tree.as_fd(), recursive, changes);
        }
        if changes.set | changes.clear != 0 {
            // mount(2) changes one mount at a time, and maps no ids.
            if recursive || changes.set & option::ATTR_IDMAP != 0 {
                return Err(std::io::Error::from_raw_os_error(libc::ENOSYS));
            }
            let before = rustix::fs::fstatfs(tree)?.f_flags as u64;
            let flags = MountFlags::BIND | MountFlags::from_bits_retain(option::remount_flags(before, changes) as u32);
            self.by_name(|name| rustix::mount::mount_remount(name(tree.as_fd()), flags, c""))?;
        }
        if changes.propagation != 0 {
            let recursive = if recursive { MountPropagationFlags::REC } else { MountPropagationFlags::empty() };
            let flags = MountPropagationFlags::from_bits_retain(changes.propagation as u32) | recursive;
            self.by_name(|name| rustix::mount::mount_change(name(tree.as_fd()), flags))?;
        }
        Ok(())
    }

    /// Attaches a mount to the file or directory that a descriptor refers to.
    pub(super) fn attach(&self, tree: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<()> {
        let attached = if self.tmpfs.is_some() {
            self.by_name(|name| rustix::mount::mount_move(name(tree.as_fd()), name(target.as_fd())))
        } else {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            rustix::mount::move_mount(tree, "", target, "", flags)
        };
        match attached {
            // A directory on a file, or a file on a directory. For that mount(2) returns ENOTDIR, and docker recognises its message
            // to add a hint.
            Err(Errno::INVAL) if is_directory(tree)? != is_directory(target)? => Err(Errno::NOTDIR),
            result => result,
        }
    }

    /// Makes a mount on a new file or directory of the tmpfs, and opens it. Each has a name of its own: of mounts on top of each
    /// other, the lower one cannot be moved alone.
    fn make(
        &self,
        tmpfs: &OwnedFd,
        directory: bool,
        mount: impl FnOnce(&dyn Fn(BorrowedFd<'_>) -> String, BorrowedFd<'_>) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<OwnedFd> {
        self.made.set(self.made.get() + 1);
        let name = self.made.get().to_string();
        if directory {
            rustix::fs::mkdirat(tmpfs, &name, Mode::from_raw_mode(0o700))?;
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::WRONLY;
            rustix::fs::openat(tmpfs, &name, flags, Mode::from_raw_mode(0o600))?;
        }
        let place = rustix::fs::openat(tmpfs, &name, ON_PATH, Mode::empty())?;
        self.by_name(|link| mount(link, place.as_fd()))?;
        rustix::fs::openat(tmpfs, &name, ON_PATH, Mode::empty())
    }

    /// Calls a function that needs names of descriptors. They are relative to the host's `/proc`, which is the working directory
    /// meanwhile.
    fn by_name<T>(
        &self,
        act: impl FnOnce(&dyn Fn(BorrowedFd<'_>) -> String) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        rustix::process::fchdir(&self.proc)?;
        let done = act(&|fd| format!("self/fd/{}", fd.as_raw_fd()));
        // Nothing of the host may stay the working directory (CVE-2024-21626).
        rustix::process::chdir("/")?;
        done
    }
}

fn is_directory(fd: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}

/// Creates a detached mount of a new file system.
fn detached(kind: &str, source: &Path, flags: u64, data: &str) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !source.as_os_str().is_empty() {
        rustix::mount::fsconfig_set_string(&context, "source", source)?;
    }
    // These flags belong to the file system, not only to the mount.
    for (flag, name) in [
        (libc::MS_RDONLY, "ro"),
        (libc::MS_SYNCHRONOUS, "sync"),
        (libc::MS_DIRSYNC, "dirsync"),
        (libc::MS_LAZYTIME, "lazytime"),
        (libc::MS_MANDLOCK, "mand"),
    ] {
        if flags & flag != 0 {
            rustix::mount::fsconfig_set_flag(&context, name)?;
        }
    }
    for option in option::split(data) {
        match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&context, key, value.trim_matches('"'))?,
            None => rustix::mount::fsconfig_set_flag(&context, option)?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    let options = Options { flags, ..Options::default() };
    let attributes = option::bind_attributes(&options, true).unwrap_or_default().set;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
