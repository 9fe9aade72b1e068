//! Mounting EROFS images from files, without a block device (Linux 6.12).
//!
//! What the kernel wants here was found by trying it (6.18):
//!
//! - The image's own file must lie on a file system with a page cache of its own kind: ext4, xfs, btrfs. A tmpfs, an overlay and a memfd
//!   are refused with ENOTBLK. Its devices may lie anywhere.
//! - mount(2)'s page of options ends at some forty devices, and mount(8) insists on a loop device. So every device is an option of
//!   its own (fsconfig(2)), by descriptor: the path is short, and names the file that was checked.
//! - Nothing is checked: a device too few is refused, but a wrong order or a shortened file gives EIO or other bytes, later. Who
//!   calls has checked them.
//!
//! Every mount has a page cache of its own. So an image is mounted once for all who use it; `stack` does that.
//!
//! The pages of a file that was read are in the page cache twice, as the image's and as the archive's. The option `directio` (Linux 6.15)
//! avoids that, but reads nothing ahead, and waits for the disk where an archive has just been written: all files of an image of 195 MB were
//! read cold in 4.0 to 6.8 s with it and in 1.7 to 5.4 s without, each time slower than the run beside it, warm in the same time. Pages that
//! were read once are the first that the kernel takes back, so the time is worth more, and the option is not used.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};

use super::entry::{Entry, Kind};
use super::erofs::{self, Content, Node};
use crate::beneath::self_fd;
use crate::error::{During, Io};

/// Why an image cannot be mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel was built without EROFS, or is older than Linux 5.2.
    #[error("this kernel has no EROFS (modprobe erofs)")]
    NoErofs,
    /// The user is not root of the host.
    #[error("only root of the host may mount EROFS")]
    NotPermitted,
    /// The file system cannot back EROFS, or the kernel is older than Linux 6.12.
    #[error("{}: the file system cannot back EROFS (Linux 6.12 on ext4, xfs or btrfs can)", .0.display())]
    Unsuitable(PathBuf),
    /// The kernel does not take the image.
    #[error("{}: the kernel refused the EROFS image{}", .path.display(), .log)]
    Refused {
        /// The image.
        path: PathBuf,
        /// What the kernel wrote about it, after a colon.
        log: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// A mount is in use.
    #[error("unmount {}: in use (stop who uses it)", .0.display())]
    Busy(PathBuf),
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] Io),
}

/// An image that is mounted, but not at a place yet. Dropped, it is gone.
#[derive(Debug)]
pub struct Mount(OwnedFd);

impl Mount {
    /// Mounts the image in `image`, read-only, with the files of its devices in the image's order. `path` is for errors.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(path: &Path, image: &File, devices: &[File]) -> Result<Self, Error> {
        use rustix::mount::{fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen};
        let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| match errno {
            Errno::NODEV | Errno::NOSYS => Error::NoErofs,
            Errno::PERM => Error::NotPermitted,
            errno => Io::new("open a context for", path, errno).into(),
        })?;
        let configure = || -> rustix::io::Result<()> {
            fsconfig_set_flag(&context, "ro")?;
            fsconfig_set_string(&context, "source", self_fd(image))?;
            for device in devices {
                fsconfig_set_string(&context, "device", self_fd(device))?;
            }
            fsconfig_create(&context)
        };
        configure().map_err(|errno| match errno {
            Errno::NOTBLK => Error::Unsuitable(path.parent().unwrap_or(path).to_owned()),
            Errno::PERM | Errno::ACCESS => Error::NotPermitted,
            errno => Error::Refused { path: path.to_owned(), log: log(&context), source: errno.into() },
        })?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes);
        Ok(Self(mount.during("mount", path)?))
    }

    /// Gives the mount a place, an existing directory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn attach(&self, target: &Path) -> Result<(), Error> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        Ok(rustix::mount::move_mount(&self.0, "", CWD, target, flags).during("mount", target)?)
    }
}

impl AsFd for Mount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the kernel has to say about a context, each line after a colon. It has a letter and a blank in front.
fn log(context: impl AsFd) -> String {
    let mut lines = String::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = rustix::io::read(&context, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..count]);
        lines = format!("{lines}: {}", line.get(2..).unwrap_or_default().trim());
    }
    lines
}

/// Tries whether images in the folder `folder` can be mounted, with an empty one.
///
/// # Errors
/// [`Error`], why not.
pub fn probe(folder: &Path) -> Result<(), Error> {
    let root = Entry::new("", Kind::Directory, 0o755);
    let node = Node { entry: &root, content: Content::Directory { parent: 0, names: Vec::new() } };
    let mut file = tempfile::tempfile_in(folder).during("create a file in", folder)?;
    let written = erofs::write(&[node], &[], [0; 16], &file).map_err(io::Error::other);
    written.and_then(|_| file.flush()).during("write", folder)?;
    Mount::new(&folder.join("probe"), &file, &[]).map(drop)
}

/// Whether `target` is a mount point; a missing path is not.
#[must_use]
pub fn is_mounted(target: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(CWD, target, flags, StatxFlags::TYPE).is_ok_and(|found| {
        found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
            && found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    })
}

/// Whether an EROFS image is mounted at `target`.
#[must_use]
pub fn is_erofs(target: &Path) -> bool {
    const MAGIC: u64 = 0xe0f5_e1e2;
    is_mounted(target) && rustix::fs::statfs(target).is_ok_and(|found| found.f_type as u64 == MAGIC)
}

/// Unmounts all that is mounted at `target`; returns whether there was anything.
///
/// # Errors
/// [`Error::Busy`] unless `lazily`, [`Error::NotPermitted`], [`Error::Io`].
pub fn unmount(target: &Path, lazily: bool) -> Result<bool, Error> {
    unmount_all(target, lazily).map_err(|errno| match errno {
        Errno::BUSY => Error::Busy(target.into()),
        Errno::PERM => Error::NotPermitted,
        errno => Io::new("unmount", target, errno).into(),
    })
}

/// As [`unmount`], for callers with errors of their own.
///
/// # Errors
/// That of umount2(2): EBUSY unless `lazily`, EPERM, and others.
pub fn unmount_all(target: &Path, lazily: bool) -> rustix::io::Result<bool> {
    let mut any = false;
    let flags = if lazily { UnmountFlags::NOFOLLOW | UnmountFlags::DETACH } else { UnmountFlags::NOFOLLOW };
    while is_mounted(target) {
        match rustix::mount::unmount(target, flags) {
            Ok(()) => any = true,
            // Unmounted meanwhile, or the root of this mount namespace.
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(any)
}

/// Whether an overlay of this mount namespace lies on the directory `lower`, or on one of which only a descriptor is known.
#[must_use]
pub fn is_under_overlay(lower: &Path) -> bool {
    let mut table = Vec::new();
    match File::open("/proc/self/mountinfo").and_then(|mut file| file.read_to_end(&mut table)) {
        Ok(_) => is_lower(&table, &fs::canonicalize(lower).unwrap_or_else(|_| lower.to_owned())),
        // Rather a mount too many than one too few.
        Err(_) => true,
    }
}

/// Whether a mount of /proc/self/mountinfo (proc(5)) is an overlay on the directory. The kernel writes each as an option of its own,
/// or all in one with colons between them, with octal escapes.
fn is_lower(table: &[u8], lower: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let lower = lower.as_os_str().as_bytes();
    table.split(|byte| *byte == b'\n').any(|line| {
        let mut fields = line.split(|byte| *byte == b' ').skip_while(|field| *field != b"-").skip(1);
        if fields.next() != Some(b"overlay") {
            return false;
        }
        let options = fields.nth(1).unwrap_or_default().split(|byte| *byte == b',');
        let is_it = |path: &[u8]| {
            let path = unescape(path);
            path == lower || path.starts_with(b"/proc/self/fd/")
        };
        options.into_iter().any(|option| match option.strip_prefix(b"lowerdir+=") {
            Some(path) => is_it(path),
            None => option.strip_prefix(b"lowerdir=").is_some_and(|all| all.split(|byte| *byte == b':').any(is_it)),
        })
    })
}

/// Replaces the octal escapes of the kernel's tables, a backslash and three digits (proc(5)).
#[must_use]
pub fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let octal = rest.get(..3).filter(|_| *first == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                text = &rest[3..];
            }
            None => {
                bytes.push(*first);
                text = rest;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_names_what_it_lies_on() {
        let table =
            b"1 0 0:1 / /m rw,relatime shared:1 - overlay overlay rw,lowerdir+=/a\\040b,lowerdir+=/c,upperdir=/u\n\
            2 0 0:2 / /n rw - overlay overlay rw,lowerdir=/d:/e,upperdir=/u,workdir=/w\n\
            3 0 0:3 / /f rw - ext4 /dev/x rw\n";
        for (path, is_used) in [("/a b", true), ("/c", true), ("/d", true), ("/e", true), ("/u", false), ("/f", false)]
        {
            assert_eq!(is_lower(table, Path::new(path)), is_used, "{path}");
        }
        let unknown = b"1 0 0:1 / /m rw - overlay overlay rw,lowerdir+=/proc/self/fd/7,upperdir=/u\n";
        assert!(is_lower(unknown, Path::new("/any")), "it may be this one");
        assert!(!is_lower(b"", Path::new("/a")) && !is_lower(b"short\n", Path::new("/a")));
    }
}
